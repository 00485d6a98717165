import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ndjsonSource } from '../../src/sources/ndjson.js'
import { root } from '../support/root.js'
import { eventsOf, inClear } from '../support/source.js'

const path = join(root, 'docs/sample/events.ndjson')

test('the sample is what its maker prints', () => {
  const made = spawnSync(process.execPath, [join(root, 'bin/make-sample.mjs')], { encoding: 'utf8' })
  expect(made.stdout).toBe(readFileSync(path, 'utf8'))
})

test('every event of the sample is taken, in the order of time, and shows nobody', async () => {
  const events = await eventsOf(await ndjsonSource({ path, fingerprintKey: Buffer.alloc(32) }))
  expect(events).toHaveLength(400)
  expect(new Set(events.map(({ type }) => type)).size).toBeGreaterThan(12)
  const times = events.map(({ occurredAt }) => Date.parse(occurredAt ?? ''))
  expect(times).toEqual([...times].sort((a, b) => a - b))
  for (const event of events) expect(inClear(event)).not.toMatch(/Ada|Hopper|Müller|example\.(org|com)|192\.0\.2/)
})
