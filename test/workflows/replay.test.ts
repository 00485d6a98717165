import { DefaultLogger, Runtime, Worker } from '@temporalio/worker'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { dataConverter } from '../../src/temporal/data-converter.js'
import { recordedHistories } from '../support/histories.js'
import { root } from '../support/root.js'

// What workflows did once, the present code must do again: a worker of a new version takes over workflows of an old one. No
// server is needed.

const histories = recordedHistories()
const bundle = join(root, 'dist', 'workflow-bundle.js')

// One of these histories is meant to be refused.
Runtime.install({
  logger: new DefaultLogger('ERROR', () => undefined),
  telemetryOptions: { logging: { forward: {}, filter: 'OFF' } },
})

const replay = (history: unknown) =>
  Worker.runReplayHistory({ workflowBundle: { codePath: bundle }, dataConverter: dataConverter() }, history)

test.each(histories)('$name', async ({ history }) => {
  await replay(history)
})

test('every workflow has a history to be held against', () => {
  const index = readFileSync(join(root, 'workflows', 'index.ts'), 'utf8')
  const workflows = [...index.matchAll(/^export \{ (.*) \}/gm)].flatMap(([, names = '']) => names.split(', '))
  expect(workflows).toContain('changeApproval')
  const recorded = new Set(histories.map(({ name }) => name.split('.')[0]))
  expect(workflows.filter((name) => !recorded.has(name))).toEqual([])
})

test('a history that the code would not have made is refused', async () => {
  const applied = histories.find(({ name }) => name === 'changeApproval.applied')
  const other = JSON.parse(JSON.stringify(applied?.history).replaceAll('applyChange', 'expireChange')) as unknown
  await expect(replay(other)).rejects.toMatchObject({ name: 'DeterminismViolationError' })
})
