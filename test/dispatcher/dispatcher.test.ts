import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { listParked, retryParked } from '../../src/dispatcher/parked.js'
import { Workflows } from '../../src/dispatcher/workflows.js'
import { Appender } from '../../src/ledger/appender.js'
import { DISPATCHER, lagOf, openByKind } from '../../src/ledger/subscriptions.js'
import { verify } from '../../src/ledger/verify.js'
import { host } from '../../src/principal.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { broken, heavy, job, jobFollower, jobRun, TEST_QUEUE } from '../support/jobs.js'
import { createTenants, report } from '../support/log.js'
import { root } from '../support/root.js'
import { testTemporal, type TestTemporal } from '../support/temporal.js'

let database: TestDatabase
let its: TestTemporal

beforeAll(async () => {
  database = await testDatabase()
  its = await testTemporal()
})

afterAll(async () => {
  expect((await verify(database.db)).findingCount).toBe(0)
  await its.close()
  await database.close()
})

const run = (tenant: string, id: string) => jobRun(database, its.temporal, tenant, id)

/** Dispatches what these tenants have by now. */
async function dispatch(tenants: readonly string[], deps: Parameters<typeof jobFollower>[2] = {}): Promise<void> {
  await jobFollower(database, its.temporal, deps).catchUp(tenants)
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  await vi.waitFor(async () => expect(await holds()).toBe(true), { timeout: 30_000, interval: 20 })
}

const caughtUp = (tenants: readonly string[]) => async () =>
  (await lagOf(database.db.operator, [DISPATCHER], tenants))[0]?.entries === 0

const streamsOpen = async (tenant: string) =>
  (
    await database.db.operator
      .selectFrom('open_processes')
      .select('stream')
      .where('tenant', '=', tenant)
      .orderBy('stream')
      .execute()
  ).map(({ stream }) => stream)

test('a stream starts its workflow once, and nudges it from then on; what is reported starts nothing', async () => {
  const [tenant = ''] = await createTenants(database, 'first', 1)
  const appender = new Appender(database.db)
  await report(appender, tenant, [{ type: 'job.requested', data: { stream: 'job/reported' } }])
  await appender.close()
  await job(database, tenant, 'a', 'requested')
  await job(database, tenant, 'b', 'requested', 'noted')
  await dispatch([tenant])
  const first = await run(tenant, 'a')
  expect(first).toMatchObject({ nudges: 0, status: 'RUNNING' })
  expect(await run(tenant, 'b')).toMatchObject({ nudges: 0, status: 'RUNNING' })
  expect(await run(tenant, 'reported')).toBeUndefined()

  await job(database, tenant, 'a', 'poked')
  await job(database, tenant, 'a', 'poked')
  await dispatch([tenant])
  expect(await run(tenant, 'a')).toMatchObject({ runId: first?.runId, nudges: 1 })
  expect(await streamsOpen(tenant)).toEqual(['job/a', 'job/b'])

  await job(database, tenant, 'a', 'done')
  await job(database, tenant, 'c', 'requested', 'done')
  await dispatch([tenant])
  expect(await run(tenant, 'a')).toMatchObject({ runId: first?.runId, nudges: 2 })
  // It was over before anybody could have started it.
  expect(await run(tenant, 'c')).toBeUndefined()
  expect(await streamsOpen(tenant)).toEqual(['job/b'])
})

test('who is not there to be nudged is started where the log goes on, and let be where it says it is over', async () => {
  const [tenant = ''] = await createTenants(database, 'gone', 1)
  for (const id of ['ended', 'lost', 'done']) await job(database, tenant, id, 'requested')
  await dispatch([tenant])
  const first = await run(tenant, 'ended')
  const end = (id: string) =>
    its.temporal.client.workflow.getHandle(`${database.installation.id}/${tenant}/job/${id}`).terminate('by hand')
  for (const id of ['ended', 'done']) await end(id)
  await job(database, tenant, 'ended', 'poked')
  await job(database, tenant, 'done', 'done')
  await dispatch([tenant])
  const second = await run(tenant, 'ended')
  expect(second).toMatchObject({ status: 'RUNNING', nudges: 0 })
  expect(second?.runId).not.toBe(first?.runId)
  expect(await run(tenant, 'done')).toMatchObject({ status: 'TERMINATED' })
})

test('a dispatcher that is killed between start and cursor has started once, and another goes on', async () => {
  const [tenant = ''] = await createTenants(database, 'killed', 1)
  await job(database, tenant, 'a', 'requested')
  const { address, namespace } = its.target
  const script = join(root, 'dist/test/support/dispatcher-process.js')
  const child = fork(script, [database.url, database.keyFile, address, namespace])
  await once(child, 'message')
  child.kill('SIGKILL')
  await once(child, 'exit')
  const first = await run(tenant, 'a')
  expect(await streamsOpen(tenant)).toEqual([])
  await job(database, tenant, 'a', 'poked')
  const follower = jobFollower(database, its.temporal, { follow: { leaseMs: 1_000 } })
  follower.start()
  await until(caughtUp([tenant]))
  await follower.stop()
  expect(await run(tenant, 'a')).toMatchObject({ runId: first?.runId, nudges: 1 })
  expect(await streamsOpen(tenant)).toEqual(['job/a'])
})

test('who loses his lease while Temporal is slow moves nothing', async () => {
  const [tenant = ''] = await createTenants(database, 'slow', 1)
  await job(database, tenant, 'a', 'requested')
  const taken: string[] = []
  class Slow extends Workflows {
    override async start(...words: Parameters<Workflows['start']>): Promise<'running' | 'over'> {
      const outcome = await super.start(...words)
      // Somebody else takes the lease over and gets past the entry, and one more comes.
      const { rows } = await (
        await database.superuser()
      ).query<{ owner: string }>(
        `update subscriptions set owner = 'other', until = clock_timestamp() + interval '1 hour', epoch = epoch + 1,
           next_seq = next_seq where consumer = $1 and tenant = $2 returning owner`,
        [DISPATCHER, tenant],
      )
      taken.push(rows[0]?.owner ?? '')
      return outcome
    }
  }
  const workflows = new Slow(its.temporal, { installation: database.installation.id, taskQueue: TEST_QUEUE })
  const follower = jobFollower(database, its.temporal, { workflows })
  follower.start()
  await until(async () => taken.length > 0)
  await delay(300)
  await follower.stop()
  const cursor = () =>
    database.db.operator
      .selectFrom('subscriptions')
      .select(['next_seq', 'owner'])
      .where('consumer', '=', DISPATCHER)
      .where('tenant', '=', tenant)
      .executeTakeFirst()
  expect(await cursor()).toEqual({ next_seq: 0, owner: 'other' })
  expect(taken).toHaveLength(1)
  expect(await streamsOpen(tenant)).toEqual([])
  const superuser = await database.superuser()
  await superuser.query(`update subscriptions set owner = null, until = null where consumer = $1`, [DISPATCHER])
  const first = await run(tenant, 'a')
  await dispatch([tenant])
  expect(await run(tenant, 'a')).toEqual(first)
  expect(await cursor()).toMatchObject({ next_seq: 2, owner: null })
})

test('what Temporal refuses for good is parked with its code, holds up its own stream, and is retried by command', async () => {
  const [tenant = '', other = ''] = await createTenants(database, 'poison', 2)
  heavy.add('heavy')
  await job(database, tenant, 'light', 'requested')
  await job(database, tenant, 'heavy', 'requested')
  await job(database, tenant, 'late', 'requested')
  await job(database, other, 'a', 'requested')
  const parked: string[] = []
  const onParked = (at: string, { stream }: { stream: string }) => void parked.push(`${at} ${stream}`)
  await dispatch([tenant, other], { onParked })
  expect(parked).toEqual([`${tenant} job/heavy`])
  for (const [at, id] of [
    [tenant, 'light'],
    [tenant, 'late'],
    [other, 'a'],
  ] as const) {
    expect(await run(at, id)).toMatchObject({ status: 'RUNNING' })
  }
  expect(await run(tenant, 'heavy')).toBeUndefined()

  await job(database, tenant, 'heavy', 'poked')
  await job(database, tenant, 'light', 'poked')
  await dispatch([tenant])
  const [entry, ...more] = await listParked(database.db.operator, tenant)
  expect(more).toEqual([])
  expect(entry).toMatchObject({ stream: 'job/heavy', type: 'job.requested', code: 'INVALID_ARGUMENT', behind: 1 })
  expect(await run(tenant, 'light')).toMatchObject({ nudges: 1 })
  expect(await run(tenant, 'heavy')).toBeUndefined()
  expect((await openByKind(database.db.operator)).find(({ kind }) => kind === 'parked')).toMatchObject({ count: 1 })

  // As long as nothing has changed it is parked again.
  await retryParked(database.db, host(tenant), 'job/heavy')
  await dispatch([tenant])
  expect(await listParked(database.db.operator, tenant)).toMatchObject([
    { stream: 'job/heavy', behind: expect.any(Number) },
  ])
  heavy.delete('heavy')
  await retryParked(database.db, host(tenant), 'job/heavy')
  await dispatch([tenant])
  expect(await listParked(database.db.operator, tenant)).toEqual([])
  expect(await run(tenant, 'heavy')).toMatchObject({ status: 'RUNNING' })
  expect((await openByKind(database.db.operator)).find(({ kind }) => kind === 'parked')).toBeUndefined()
  await expect(retryParked(database.db, host(tenant), 'job/heavy')).rejects.toMatchObject({
    code: 'DISPATCH_NOT_PARKED',
  })
})

test('what fails again and again, with nobody to say why, is parked after some tries', async () => {
  const [tenant = ''] = await createTenants(database, 'obscure', 1)
  broken.add('broken')
  for (const id of ['before', 'broken', 'after']) await job(database, tenant, id, 'requested')
  let troubles = 0
  const follower = jobFollower(database, its.temporal, { follow: { onTrouble: () => troubles++ } })
  follower.start()
  await until(caughtUp([tenant]))
  await follower.stop()
  // Of five tries the first kept what came before, and the last one parked.
  expect(troubles).toBe(3)
  expect(await listParked(database.db.operator, tenant)).toMatchObject([{ stream: 'job/broken', code: 'INTERNAL' }])
  for (const id of ['before', 'after']) expect(await run(tenant, id)).toMatchObject({ status: 'RUNNING' })
  broken.delete('broken')
})

test('one log does not keep the others waiting: who has much to start stops in between', async () => {
  const [large = '', small = ''] = await createTenants(database, 'budget', 2)
  for (let n = 0; n < 30; n++) await job(database, large, `j${n}`, 'requested')
  await job(database, small, 'a', 'requested')
  const order: string[] = []
  class Watched extends Workflows {
    override async start(...words: Parameters<Workflows['start']>): Promise<'running' | 'over'> {
      const outcome = await super.start(...words)
      order.push(`${words[0]} ${words[1]}`)
      return outcome
    }
  }
  const workflows = new Watched(its.temporal, { installation: database.installation.id, taskQueue: TEST_QUEUE })
  await dispatch([large, small], { workflows, budgetMs: 1 })
  // In the order of each log, each once.
  expect(order.filter((line) => line.startsWith(large))).toEqual(
    Array.from({ length: 30 }, (_, n) => `${large} job/j${n}`),
  )
  expect(order.indexOf(`${small} job/a`)).toBeLessThan(10)
  expect(order).toHaveLength(31)
})
