import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { listParked } from '../../src/dispatcher/parked.js'
import { refill, startRefill, type RefillDeps } from '../../src/dispatcher/refill.js'
import { DISPATCHER, lagOf } from '../../src/ledger/subscriptions.js'
import { verify } from '../../src/ledger/verify.js'
import { namespaceOf } from '../../src/temporal/connection.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { heavy, job, jobFollower, jobRoutes, jobRun, jobWorkflows } from '../support/jobs.js'
import { createTenants } from '../support/log.js'
import { ownTemporal, type OwnTemporal } from '../support/temporal.js'

let database: TestDatabase
let own: OwnTemporal
let deps: RefillDeps

beforeAll(async () => {
  database = await testDatabase()
  own = await ownTemporal()
  const { temporal } = own
  deps = { database: database.db, temporal, workflows: jobWorkflows(database, temporal), routes: jobRoutes }
})

afterAll(async () => {
  expect((await verify(database.db)).findingCount).toBe(0)
  await own.close()
  await database.close()
})

const run = (tenant: string, id: string) => jobRun(database, own.temporal, tenant, id)

async function until(holds: () => Promise<boolean>): Promise<void> {
  await vi.waitFor(async () => expect(await holds()).toBe(true), { timeout: 50_000, interval: 50 })
}

const caughtUp = (tenants: readonly string[]) => async () =>
  (await lagOf(database.db.operator, [DISPATCHER], tenants))[0]?.entries === 0

test('while Temporal is down nothing is lost and nothing is parked; it goes on in order when it is back', async () => {
  const tenants = await createTenants(database, 'down', 5)
  for (const tenant of tenants) await job(database, tenant, 'before', 'requested')
  await jobFollower(database, own.temporal).catchUp(tenants)
  const before = await run('down-0', 'before')
  await own.kill()

  const troubles = new Set<string | undefined>()
  const workflows = jobWorkflows(database, own.temporal, 1_000)
  const follower = jobFollower(database, own.temporal, {
    workflows,
    follow: { onTrouble: (_, tenant) => troubles.add(tenant) },
  })
  follower.start()
  for (const tenant of tenants) {
    await job(database, tenant, 'before', 'poked')
    for (let n = 0; n < 3; n++) await job(database, tenant, `j${n}`, 'requested')
    await job(database, tenant, 'j1', 'done')
  }
  await until(async () => tenants.every((tenant) => troubles.has(tenant)))
  for (const tenant of tenants) expect(await listParked(database.db.operator, tenant)).toEqual([])
  await own.start()
  await until(caughtUp(tenants))
  await follower.stop()
  expect(await run('down-0', 'before')).toEqual({ ...before, nudges: 1 })
  for (const tenant of tenants) {
    expect(await run(tenant, 'j0')).toMatchObject({ status: 'RUNNING' })
    expect(await run(tenant, 'j1')).toBeUndefined()
    expect(await run(tenant, 'j2')).toMatchObject({ status: 'RUNNING' })
    expect(await listParked(database.db.operator, tenant)).toEqual([])
  }
})

const namespacesOf = async (tenants: readonly string[]) =>
  new Set(
    (
      await database.db.operator
        .selectFrom('subscriptions')
        .select('namespace')
        .where('consumer', '=', DISPATCHER)
        .where('tenant', 'in', [...tenants])
        .execute()
    ).map(({ namespace }) => namespace),
  )

test('a Temporal whose database is gone is filled with what is open, and with nothing else', async () => {
  const tenants = await createTenants(database, 'filled', 20)
  for (const tenant of tenants) {
    await job(database, tenant, 'open', 'requested', 'noted')
    await job(database, tenant, 'over', 'requested')
    await job(database, tenant, 'over', 'done')
  }
  heavy.add('refused')
  await job(database, 'filled-0', 'refused', 'requested')
  await jobFollower(database, own.temporal).catchUp(tenants)
  // A look finds everything in place, as soon as Temporal's list has it.
  const due = (ago: number) =>
    database.db.operator
      .updateTable('subscriptions')
      .set({ refilled_at: new Date(Date.now() - ago).toISOString() })
      .where('consumer', '=', DISPATCHER)
      .execute()
  await until(async () => {
    await due(3_600_000)
    const { started, open } = await refill(deps)
    return started === 0 && open > 0
  })
  const first = await namespaceOf(own.temporal)
  expect(await namespacesOf(tenants)).toEqual(new Set([first?.id]))

  await own.kill()
  await own.deleteData()
  await own.start()
  const second = await namespaceOf(own.temporal)
  expect(second?.id).not.toBe(first?.id)
  expect(await run('filled-3', 'open')).toBeUndefined()
  const refilled: number[] = []
  // Looked at a moment ago, and due all the same: it is another Temporal. Two processes share the work.
  await due(60_000)
  const counts = await Promise.all([refill(deps), refill(deps)])
  for (const { started } of counts) refilled.push(started)
  const { rows } = await (
    await database.superuser()
  ).query<{ count: number }>(`select count(*)::int8 as count from open_processes where kind = 'job'`)
  // One is parked, and stays so.
  expect(refilled.reduce((sum, n) => sum + n, 0)).toBe((rows[0]?.count ?? 0) - 1)
  expect(await namespacesOf(tenants)).toEqual(new Set([second?.id]))
  for (const tenant of tenants) {
    expect(await run(tenant, 'open')).toMatchObject({ status: 'RUNNING', nudges: 0 })
    expect(await run(tenant, 'over')).toBeUndefined()
  }
  expect(await refill(deps)).toEqual({ started: 0, open: 0 })
  heavy.delete('refused')
})

test('what was lost while Temporal stayed the same is found missing, some time later', async () => {
  const [tenant = ''] = await createTenants(database, 'missing', 1)
  await job(database, tenant, 'a', 'requested')
  await job(database, tenant, 'b', 'requested')
  await jobFollower(database, own.temporal).catchUp([tenant])
  await refill(deps)
  const handle = own.temporal.client.workflow.getHandle(`${database.installation.id}/${tenant}/job/a`)
  await handle.terminate('by hand')
  await until(async () => (await run(tenant, 'a'))?.status === 'TERMINATED')
  const kept = await run(tenant, 'b')
  const end = startRefill(deps, { everyMs: 200, askMs: 200 })
  await until(async () => (await run(tenant, 'a'))?.status === 'RUNNING')
  await end()
  expect(await run(tenant, 'b')).toEqual(kept)
})

test('looking after what is open survives that Temporal is away', async () => {
  const [tenant = ''] = await createTenants(database, 'away', 1)
  await job(database, tenant, 'a', 'requested')
  await jobFollower(database, own.temporal).catchUp([tenant])
  await own.kill()
  await own.deleteData()
  const troubles: unknown[] = []
  const end = startRefill(deps, { everyMs: 200, askMs: 200, onTrouble: (error) => troubles.push(error) })
  await until(async () => troubles.length > 0)
  await own.start()
  await until(async () => (await run(tenant, 'a'))?.status === 'RUNNING')
  await end()
})
