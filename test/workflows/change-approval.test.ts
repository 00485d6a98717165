import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { withdrawChange } from '../../src/approvals/commands/withdraw.js'
import { verify } from '../../src/ledger/verify.js'
import type { RunningWorker } from '../../src/worker.js'
import { keepHistory } from '../support/histories.js'
import { changesBench, Tenant, type ChangesBench, type Person } from '../support/changes.js'
import { movingChanges, until, untilLast } from '../support/moving.js'
import { root } from '../support/root.js'
import { testTemporal, type TestTemporal } from '../support/temporal.js'

let bench: ChangesBench
let its: TestTemporal
let acme: Tenant
let ada: Person
let ben: Person
let cy: Person

beforeAll(async () => {
  bench = await changesBench()
  its = await testTemporal()
  acme = await Tenant.create(bench)
  ;[ada, ben, cy] = (await acme.people(3)) as [Person, Person, Person]
})

afterAll(async () => {
  expect((await verify(bench.server.db)).findingCount).toBe(0)
  await its.close()
  await bench.close()
})

async function withWorker(work: (worker: RunningWorker) => Promise<void>): Promise<void> {
  const worker = movingChanges(bench, its.target)
  try {
    await work(worker)
  } catch (error) {
    process.stdout.write(`${worker.log.lines.join('\n')}\n`)
    throw error
  } finally {
    await worker.close()
  }
}

const handleOf = (change: string) =>
  its.temporal.client.workflow.getHandle(`${bench.server.installation.id}/${acme.tenant}/change/${change}`)

const statusOf = async (change: string) => (await handleOf(change).describe()).status.name

const notes = async () => (await acme.types('setting/note')).length

test('a change is requested, approved and applied, once, and its workflow ends', async () => {
  await withWorker(async () => {
    const before = await notes()
    const change = await acme.request(ada)
    await until(async () => (await statusOf(change.id).catch(() => '')) === 'RUNNING')
    await acme.vote(ben, change)
    await acme.vote(cy, change)
    await untilLast(acme, change.id, 'change.applied')
    await until(async () => (await statusOf(change.id)) === 'COMPLETED')
    expect(await notes()).toBe(before + 1)
    await keepHistory(its.temporal.client, 'changeApproval.applied', handleOf(change.id).workflowId)
    // What Temporal keeps of it is references.
    const history = JSON.stringify(await handleOf(change.id).fetchHistory())
    for (const text of ['hello', ada.id, ben.id]) expect(history).not.toContain(text)
  })
})

test('a change that is closed before its workflow looks ends silently; one that was withdrawn ends by a nudge', async () => {
  const early = await acme.request(ada, { payload: { text: 'early' } })
  const late = await acme.request(ada, { payload: { text: 'late' } })
  await withWorker(async () => {
    await until(async () => (await statusOf(late.id).catch(() => '')) === 'RUNNING')
    await withdrawChange(bench.deps, ada, early.id)
    await withdrawChange(bench.deps, ada, late.id)
    for (const { id } of [early, late]) await until(async () => (await statusOf(id)) === 'COMPLETED')
    await keepHistory(its.temporal.client, 'changeApproval.withdrawn', handleOf(late.id).workflowId)
  })
  for (const { id } of [early, late]) {
    expect(await acme.types(`change/${id}`)).toEqual(['change.requested', 'change.withdrawn'])
  }
})

test('nudges that come twice, or many times, or for nothing, change nothing', async () => {
  await withWorker(async () => {
    const change = await acme.request(ada, { payload: { text: 'nudged' } })
    await until(async () => (await statusOf(change.id).catch(() => '')) === 'RUNNING')
    const handle = handleOf(change.id)
    const first = (await handle.describe()).runId
    // Enough for a history to become long, so that the workflow starts over as itself.
    for (let n = 0; n < 40; n++) await Promise.all(Array.from({ length: 5 }, () => handle.signal('nudge')))
    await until(async () => {
      await handle.signal('nudge')
      return (await handle.describe()).runId !== first
    })
    await keepHistory(its.temporal.client, 'changeApproval.long', handle.workflowId, first)
    expect(await acme.types(`change/${change.id}`)).toEqual(['change.requested'])
    await acme.vote(ben, change)
    await acme.vote(cy, change)
    await untilLast(acme, change.id, 'change.applied')
  })
}, 120_000)

test('a worker that is killed inside applying leaves nothing half done, and another applies it, once', async () => {
  const before = await notes()
  const change = await acme.request(ada, { payload: { text: 'killed' } })
  await acme.vote(ben, change)
  await acme.vote(cy, change)
  const { url, keyFile } = bench.server
  const { address, namespace } = its.target
  const script = join(root, 'dist/test/support/killed-worker.js')
  const child = fork(script, [url, keyFile, address, namespace, 'test-killed'])
  await once(child, 'message')
  child.kill('SIGKILL')
  await once(child, 'exit')
  expect((await acme.types(`change/${change.id}`)).at(-1)).toBe('change.approved')
  const worker = movingChanges(bench, its.target, { taskQueue: 'test-killed' })
  try {
    await untilLast(acme, change.id, 'change.applied')
    await until(async () => (await statusOf(change.id)) === 'COMPLETED')
  } finally {
    await worker.close()
  }
  await keepHistory(its.temporal.client, 'changeApproval.worker-killed', handleOf(change.id).workflowId)
  expect(await notes()).toBe(before + 1)
  const { events } = await handleOf(change.id).fetchHistory()
  const tries = (events ?? []).flatMap(({ activityTaskStartedEventAttributes: started }) => started?.attempt ?? [])
  expect(Math.max(...tries)).toBeGreaterThan(1)
}, 120_000)
