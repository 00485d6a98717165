import { MockActivityEnvironment } from '@temporalio/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { listReports } from '../../reports/recorded.js'
import { scheduledReports } from '../../reports/scheduled.js'
import { reportRunActivities } from '../../src/activities/report-run.js'
import { verificationActivities } from '../../src/activities/verification.js'
import { ReportFiles } from '../../src/blobs/files.js'
import { inTenant } from '../../src/db/database.js'
import { entryIndex } from '../../src/followers/entry-index.js'
import { reportsIndex } from '../../src/followers/reports.js'
import { createTenant, ensureTenant } from '../../src/keyring/tenants.js'
import { Appender } from '../../src/ledger/appender.js'
import { readStream } from '../../src/ledger/streams.js'
import { Follower } from '../../src/ledger/subscribe.js'
import { host, service } from '../../src/principal.js'
import { completeRun, setSchedule } from '../../src/schedules/commands.js'
import { findRun } from '../../src/schedules/queries.js'
import { runStream } from '../../src/schedules/run.js'
import { testDatabase, type TestDatabase } from '../support/database.js'

let own: TestDatabase
let appender: Appender
let followers: Follower[]
let activities: ReturnType<typeof reportRunActivities>

const run = { tenant: 'acme', schedule: 'daily', scheduledAt: '2026-11-20T04:15:00Z' }
const nobody = () => Promise.reject(new Error('nobody is told'))

beforeAll(async () => {
  own = await testDatabase()
  await createTenant(own.db, own.installation, 'acme')
  appender = new Appender(own.db)
  followers = [entryIndex(), reportsIndex()].map((consumer) => new Follower(own.db, consumer))
  for (const follower of followers) follower.start()
  const reports = { database: own.db, appender, files: new ReportFiles(own.home) }
  activities = reportRunActivities({ reports, kinds: scheduledReports, tell: nobody, publicUrl: undefined })
  const checks = new Map([...scheduledReports].map(([name, { check }]) => [name, check]))
  await setSchedule({ database: own.db, reports: checks }, host('acme'), 'daily', {
    kind: 'report',
    report: 'audit-trail',
    period: 'day',
    cron: '15 4 * * *',
    parameters: { formats: ['csv'] },
  })
})
afterAll(async () => {
  await Promise.all(followers.map((follower) => follower.stop()))
  await appender.close()
  await own.close()
})

const inActivity = <T>(work: () => Promise<T>): Promise<T> => new MockActivityEnvironment().run(work)

test('a worker that dies between making a report and saying so leaves one report', async () => {
  expect(await activities.beginReportRun(run)).toEqual({ state: 'open', untold: [] })
  const state = await findRun(own.db, 'acme', run)
  const { reportId: id = '', period = { from: '', to: '' } } = state?.order ?? {}
  // What the dead worker did: the report is in the log, the end of the run is not.
  const reports = { database: own.db, appender, files: new ReportFiles(own.home) }
  const order = { id, ...period, timeZone: 'UTC', parameters: { formats: ['csv'] } }
  const made = await scheduledReports.get('audit-trail')?.make(reports, service('acme'), order)

  expect(await activities.beginReportRun(run)).toEqual({ state: 'open', untold: [] })
  await inActivity(() => activities.makeReport(run))
  expect(await activities.beginReportRun(run)).toEqual({ state: 'ended', untold: [] })
  const entries = await inTenant(own.db.reader, 'acme', (tx) => readStream(tx, 'acme', runStream(run)))
  expect(entries.map(({ event }) => event.type)).toEqual(['run.started', 'run.completed'])
  expect(entries[1]?.event.data).toMatchObject({ report: id, seq: made?.seq })
  expect((await listReports(own.db, 'acme')).map((report) => report.id)).toEqual([id])
})

test('two attempts at once end a run once', async () => {
  const twice = { ...run, scheduledAt: '2026-11-19T04:15:00Z' }
  const begun = await Promise.all([1, 2, 3].map(() => activities.beginReportRun(twice)))
  expect(begun.map(({ state }) => state)).toEqual(['open', 'open', 'open'])
  await Promise.all(['A', 'B', 'C'].map((report) => completeRun(own.db, twice, { report })))
  const entries = await inTenant(own.db.reader, 'acme', (tx) => readStream(tx, 'acme', runStream(twice)))
  expect(entries.map(({ event }) => event.type)).toEqual(['run.started', 'run.completed'])
})

test('a verification that stopped half-way goes on: logs that have their entry get no second one', async () => {
  await ensureTenant(own.db, own.installation, 'system')
  const logged: object[] = []
  const log = { warn: (about: object) => logged.push(about), error: (about: object) => logged.push(about) }
  const verifying = verificationActivities({ database: own.db, tell: nobody, log })
  const scheduledAt = '2026-11-20T02:00:00Z'
  const verification = { schedule: 'verification', scheduledAt }
  await inActivity(() => verifying.verifyLogs({ tenant: 'acme', scheduledAt }))
  expect(await findRun(own.db, 'acme', verification)).toMatchObject({ version: 1, result: { scope: 'tenant' } })
  await inActivity(() => verifying.verifyLogs({ scheduledAt }))
  await inActivity(() => verifying.verifyLogs({ scheduledAt }))
  expect(await findRun(own.db, 'acme', verification)).toMatchObject({ version: 1, result: { scope: 'tenant' } })
  expect(await findRun(own.db, 'system', verification)).toMatchObject({
    version: 1,
    result: { scope: 'installation', installation: { tenants: 2, findings: 0, unrecorded: [] } },
  })
  expect(await verifying.untoldFindings({ scheduledAt })).toEqual([])
  expect(logged).toEqual([])
})
