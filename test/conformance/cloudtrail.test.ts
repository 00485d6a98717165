import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { checkEvent, type Json } from '../../src/ledger/event.js'
import { cloudtrailEvent } from '../../src/sources/cloudtrail.js'
import { cloudtrailSource } from '../../src/sources/cloudtrail-file.js'
import { importSource } from '../../src/sources/import.js'
import type { Source } from '../../src/sources/source.js'
import { personalTexts, recordOf } from '../support/cloudtrail.js'
import { testDatabase } from '../support/database.js'
import { ImportStores } from '../support/import-store.js'
import { root } from '../support/root.js'
import { inClear } from '../support/source.js'

/** 1,900 real records of a test account under simulated attack (invictus-ir/Sigma-AWS, MIT). */
const path = join(dirname(root), 'shared/data/cloudtrail.ndjson')
const records = readFileSync(path, 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as { [name: string]: Json })
const events = records.map((record) => cloudtrailEvent(structuredClone(record)))

test('all 1,900 records are events', () => {
  expect(events).toHaveLength(1900)
  for (const event of events) expect(checkEvent(event, '')).toBe(event)
})

test('no value of any record is lost', () => {
  for (const [index, event] of events.entries()) expect(recordOf(event)).toEqual(records[index])
})

test('no user name, ARN, key, address or agent stands in clear', () => {
  const everybody = new Set(records.flatMap(personalTexts))
  expect(everybody.size).toBeGreaterThan(150)
  for (const [index, event] of events.entries()) {
    const clear = inClear(event)
    for (const text of everybody) {
      // A role that is itself the target of an operation is named as such.
      if (clear.includes(text) && !isRoleTarget(text, index)) throw new Error(`record ${index + 1} shows ${text}`)
    }
  }
})

test('error messages and parameters are sealed', () => {
  for (const event of events) {
    for (const member of ['errorMessage', 'requestParameters', 'responseElements', 'additionalEventData']) {
      expect(event.data?.[member] ?? null).toBeNull()
    }
  }
})

test('every resource is a target, also where there are 2 or 10', () => {
  const several = events.filter((event, index) => {
    const resources = (records[index]?.['resources'] ?? []) as { ARN: string }[]
    expect(event.targets?.map((target) => 'id' in target && target.id) ?? []).toEqual([
      ...new Set(resources.map(({ ARN }) => ARN)),
    ])
    return resources.length > 1
  })
  expect(several).toHaveLength(14)
})

test('all of them import, once, and no leaf holds what was sealed', async () => {
  const stores = new ImportStores(await testDatabase())
  try {
    const store = await stores.open()
    const open = async (): Promise<Source> => cloudtrailSource({ path, fingerprintKey: Buffer.alloc(32, 1) })
    const both = await Promise.all([importSource(await open(), store), importSource(await open(), store)])
    expect(both.map(({ refused, complete }) => [refused, complete])).toEqual([
      [[], true],
      [[], true],
    ])
    expect(await store.ids()).toEqual(records.map((record) => record['eventID']))
    const leaves = (await store.leaves()).map((leaf) => leaf.toString())
    const everybody = new Set(records.flatMap(personalTexts))
    const shown = leaves.flatMap((leaf, index) =>
      [...everybody].filter((text) => leaf.includes(text) && !isRoleTarget(text, index)),
    )
    expect(shown).toEqual([])
  } finally {
    await stores.close()
  }
})

test('outcomes are those of the error codes', () => {
  const counts = { success: 0, failure: 0, denied: 0 }
  for (const { outcome } of events) counts[outcome ?? 'success'] += 1
  expect(counts).toEqual({ success: 1679, failure: 163, denied: 58 })
})

function isRoleTarget(text: string, index: number): boolean {
  const resources = (records[index]?.['resources'] ?? []) as { ARN: string; type?: string }[]
  return resources.some(({ ARN, type }) => type === 'AWS::IAM::Role' && ARN.includes(text))
}
