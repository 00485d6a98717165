import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { scheduledReports } from '../../reports/scheduled.js'
import { readConfig } from '../../src/config.js'
import { messageOf } from '../../src/errors.js'
import { entryIndex } from '../../src/followers/entry-index.js'
import { reportsIndex } from '../../src/followers/reports.js'
import { ensureTenant } from '../../src/keyring/tenants.js'
import { Follower } from '../../src/ledger/subscribe.js'
import { jsonLog } from '../../src/log.js'
import { host } from '../../src/principal.js'
import { requestRuns, setSchedule } from '../../src/schedules/commands.js'
import { findRun } from '../../src/schedules/queries.js'
import { scheduleIdOf } from '../../src/schedules/temporal-schedule.js'
import { startWorker, type RunningWorker } from '../../src/worker.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { ownTemporal, type OwnTemporal } from '../support/temporal.js'

let own: TestDatabase
let temporal: OwnTemporal
let worker: RunningWorker
let followers: Follower[]

beforeAll(async () => {
  ;[own, temporal] = await Promise.all([testDatabase(), ownTemporal()])
  for (const tenant of ['system', 'acme']) await ensureTenant(own.db, own.installation, tenant)
  followers = [entryIndex(), reportsIndex()].map((consumer) => new Follower(own.db, consumer))
  for (const follower of followers) follower.start()
  const { target } = temporal
  const config = readConfig({ COUNTERSIGN_HOME: own.home, COUNTERSIGN_SHUTDOWN_TIMEOUT_MS: '5000' })
  const log = jsonLog('silent', { write: () => undefined })
  worker = startWorker(config, { database: own.db, installation: own.installation, target, log })
}, 120_000)

afterAll(async () => {
  await worker.close()
  await Promise.all(followers.map((follower) => follower.stop()))
  await Promise.all([temporal.close(), own.close()])
})

async function until<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
  let last = ''
  for (const deadline = performance.now() + 90_000; performance.now() < deadline; await sleep(100)) {
    const answer = await ask().catch((error: unknown) => void (last = messageOf(error)))
    if (answer !== undefined) return answer
  }
  throw new Error(`${what} did not come about: ${last}`)
}

test('a Temporal that comes back without its database gets schedules and runs from the log', async () => {
  const by = host('acme')
  const reports = new Map([...scheduledReports].map(([name, { check }]) => [name, check]))
  const handle = temporal.temporal.client.schedule.getHandle(scheduleIdOf(own.installation.id, 'acme', 'daily'))
  const daily = {
    kind: 'report' as const,
    report: 'change-approvals',
    period: 'day' as const,
    cron: '15 4 * * *',
    parameters: { formats: ['csv'] },
  }
  await setSchedule({ database: own.db, reports }, by, 'daily', daily)
  const before = await until('the schedule in Temporal', async () => (await handle.describe()).info.createdAt)

  await temporal.kill()
  await temporal.deleteData()
  const [run] = await requestRuns(own.db, by, 'daily')
  if (!run) throw new Error('no run')
  await temporal.start()

  // The worker looks by itself whether Temporal is still the same one.
  const after = await until('the schedule in the new one', async () => (await handle.describe()).info.createdAt)
  expect(after.getTime()).toBeGreaterThan(before.getTime())
  const ended = await until('the end of the run', async () => {
    const state = await findRun(own.db, 'acme', run)
    return state?.status === 'completed' ? state : undefined
  })
  expect(ended).toMatchObject({ order: { report: 'change-approvals' }, result: { formats: ['csv', 'manifest'] } })
}, 240_000)
