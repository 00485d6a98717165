import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { scheduledReports } from '../../reports/scheduled.js'
import { findReport, listReports } from '../../reports/recorded.js'
import { reportRunActivities } from '../../src/activities/report-run.js'
import type { Notification } from '../../src/sinks/notification.js'
import { verificationActivities } from '../../src/activities/verification.js'
import { ReportFiles } from '../../src/blobs/files.js'
import { readConfig } from '../../src/config.js'
import { inTenant } from '../../src/db/database.js'
import { entryIndex } from '../../src/followers/entry-index.js'
import { reportsIndex } from '../../src/followers/reports.js'
import { DomainError, messageOf } from '../../src/errors.js'
import { createTenant, ensureTenant } from '../../src/keyring/tenants.js'
import { append } from '../../src/ledger/append.js'
import { Appender } from '../../src/ledger/appender.js'
import { eventBytes } from '../../src/ledger/event.js'
import { readStream } from '../../src/ledger/streams.js'
import { Follower } from '../../src/ledger/subscribe.js'
import { verify } from '../../src/ledger/verify.js'
import { jsonLog } from '../../src/log.js'
import { host } from '../../src/principal.js'
import {
  pauseSchedule,
  removeSchedule,
  requestRuns,
  setSchedule,
  type ScheduleDeps,
} from '../../src/schedules/commands.js'
import { schedulesConsumer } from '../../src/schedules/keep.js'
import { findRun, listRuns } from '../../src/schedules/queries.js'
import { reconcile, startRun, syncSchedules, type ReconcileDeps } from '../../src/schedules/reconcile.js'
import { runStream, runTime, type RunState } from '../../src/schedules/run.js'
import type { ReportScheduleInput } from '../../src/schedules/schedule.js'
import { runWorkflowIdOf, scheduleIdOf, verificationIdOf } from '../../src/schedules/temporal-schedule.js'
import { startWorker, type RunningWorker } from '../../src/worker.js'
import { taskQueueOf } from '../../workflows/messages.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { keepHistory } from '../support/histories.js'
import { Tamperer } from '../support/tamper.js'
import { testTemporal, type TestTemporal } from '../support/temporal.js'

let own: TestDatabase
let temporal: TestTemporal
let appender: Appender
let followers: Follower[]
let deps: ScheduleDeps
let reconciling: ReconcileDeps
let worker: RunningWorker
let reportsFolder: string
/** What recipients were told. */
const told: (Notification & { webhook: string })[] = []
/** Webhooks that do not answer. */
const deaf = new Set<string>()
const logged: string[] = []
let installation: string

function work(): RunningWorker {
  const tell = async (webhook: string, notice: Notification) => {
    if (deaf.has(webhook)) throw new DomainError('WEBHOOK_UNKNOWN', 'no')
    told.push({ webhook, ...notice })
  }
  const log = jsonLog('warn', { write: (line: string) => logged.push(line) })
  const reports = { database: own.db, appender, files: new ReportFiles(reportsFolder) }
  return startWorker(readConfig({ COUNTERSIGN_HOME: own.home, COUNTERSIGN_SHUTDOWN_TIMEOUT_MS: '5000' }), {
    database: own.db,
    installation: own.installation,
    target: temporal.target,
    log,
    activities: {
      ...reportRunActivities({ reports, kinds: scheduledReports, tell, publicUrl: 'https://audit.example' }),
      ...verificationActivities({ database: own.db, tell, log }),
    },
  })
}

/** A webhook as the log has it. */
async function webhook(tenant: string, id: string): Promise<void> {
  const data = { id, url: `https://${id}.example/`, events: ['nothing.*'], authority: { setup: true } }
  await inTenant(own.db.command, tenant, (tx) =>
    append(tx, { by: host(tenant), stream: `webhook/${id}`, expectedVersion: 0 }, [
      { body: eventBytes({ type: 'webhook.set', data }), sealed: [] },
    ]),
  )
}

beforeAll(async () => {
  ;[own, temporal] = await Promise.all([testDatabase(), testTemporal()])
  await ensureTenant(own.db, own.installation, 'system')
  await createTenant(own.db, own.installation, 'acme')
  appender = new Appender(own.db)
  followers = [entryIndex(), reportsIndex()].map((consumer) => new Follower(own.db, consumer))
  for (const follower of followers) follower.start()
  reportsFolder = await mkdtemp(join(tmpdir(), 'countersign-test-'))
  installation = own.installation.id
  deps = { database: own.db, reports: new Map([...scheduledReports].map(([name, kind]) => [name, kind.check])) }
  reconciling = {
    database: own.db,
    temporal: temporal.temporal,
    installation,
    taskQueue: taskQueueOf(installation),
    verificationHour: 2,
  }
  worker = work()
}, 120_000)

afterAll(async () => {
  await worker.close()
  await Promise.all(followers.map((follower) => follower.stop()))
  await appender.close()
  await Promise.all([temporal.close(), own.close()])
  await rm(reportsFolder, { recursive: true })
})

const DAY_MS = 86_400_000
const by = host('acme')
const monthly: ReportScheduleInput = {
  kind: 'report',
  report: 'audit-trail',
  period: 'month',
  cron: '30 6 1 * *',
  timeZone: 'Europe/Berlin',
  parameters: { formats: ['csv'] },
}
const daily: ReportScheduleInput = { ...monthly, period: 'day', cron: '15 4 * * *', timeZone: 'UTC' }

async function until<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
  let last = ''
  for (const deadline = performance.now() + 60_000; performance.now() < deadline; await sleep(50)) {
    // A busy Temporal may let a call run into its deadline.
    const answer = await ask().catch((error: unknown) => void (last = messageOf(error)))
    if (answer !== undefined) return answer
  }
  throw new Error(`${what} did not come about; ${last} ${logged.slice(-3).join()}`)
}

const ended = (schedule: string, scheduledAt: string, tenant = 'acme'): Promise<RunState> =>
  until(`the end of ${schedule} ${scheduledAt}`, async () => {
    const run = await findRun(own.db, tenant, { schedule, scheduledAt })
    return run?.status === 'completed' || run?.status === 'failed' ? run : undefined
  })

const typesOn = async (stream: string, tenant = 'acme'): Promise<string[]> =>
  inTenant(own.db.reader, tenant, async (tx) => (await readStream(tx, tenant, stream)).map(({ event }) => event.type))

const handleOf = (id: string) => temporal.temporal.client.schedule.getHandle(scheduleIdOf(installation, 'acme', id))
const idsInTemporal = async (): Promise<string[]> => {
  const ids: string[] = []
  for await (const { scheduleId } of temporal.temporal.client.schedule.list()) ids.push(scheduleId)
  return ids.sort()
}
/** Temporal lists what changed a moment ago a moment later. */
const listed = (id: string, there: boolean): Promise<true> =>
  until(`${id} ${there ? 'listed' : 'gone'}`, async () =>
    (await idsInTemporal()).includes(id) === there ? true : undefined,
  )

test('a schedule that is set fires in Temporal, for the period before it was due, once however often it is backfilled', async () => {
  await setSchedule(deps, by, 'monthly', monthly)
  await new Follower(own.db, schedulesConsumer(reconciling)).catchUp(['acme'])
  const { spec, state, action } = await handleOf('monthly').describe()
  expect(state.paused).toBe(false)
  expect(spec.timezone).toBe('Europe/Berlin')
  expect(spec.calendars).toMatchObject([
    { minute: [{ start: 30 }], hour: [{ start: 6 }], dayOfMonth: [{ start: 1, end: 1 }] },
  ])
  expect(action.args).toEqual([{ tenant: 'acme', schedule: 'monthly' }])

  const scheduledAt = '2026-11-01T05:30:00Z'
  const backfill = { start: new Date(scheduledAt), end: new Date(scheduledAt) }
  await handleOf('monthly').backfill(backfill)
  const run = await ended('monthly', scheduledAt)
  expect(run).toMatchObject({
    status: 'completed',
    order: { due: true, period: { from: '2026-10-01', to: '2026-11-01' }, report: 'audit-trail' },
    result: { formats: ['csv', 'manifest'] },
  })
  const report = await findReport(own.db, 'acme', run.order?.reportId ?? '', 30_000)
  expect(report.generatedBy).toBe('service:countersign')
  expect(report.parameters).toMatchObject({ from: '2026-09-30T22:00:00.000Z', to: '2026-10-31T23:00:00.000Z' })

  const workflow = temporal.temporal.client.workflow.getHandle(
    runWorkflowIdOf(installation, 'acme', 'monthly', scheduledAt),
  )
  const first = (await workflow.describe()).runId
  await workflow.result()
  await keepHistory(temporal.temporal.client, 'reportRun.made', workflow.workflowId)
  await handleOf('monthly').backfill(backfill)
  await until('a second workflow', async () => ((await workflow.describe()).runId === first ? undefined : true))
  await workflow.result()
  expect(await typesOn(runStream(run))).toEqual(['run.started', 'run.completed'])
  expect(await listReports(own.db, 'acme')).toHaveLength(1)
})

test('a run that is asked for covers the last period before now, and so does each that was due in a period', async () => {
  await setSchedule(deps, by, 'asked', daily)
  const [now] = await requestRuns(own.db, by, 'asked')
  const week = { fromMs: Date.parse('2026-11-02T00:00:00Z'), toMs: Date.parse('2026-11-05T00:00:00Z') }
  const asked = await requestRuns(own.db, by, 'asked', week)
  expect(asked.map(({ scheduledAt }) => scheduledAt)).toEqual([
    '2026-11-02T04:15:00Z',
    '2026-11-03T04:15:00Z',
    '2026-11-04T04:15:00Z',
  ])
  await requestRuns(own.db, by, 'asked', week)
  await new Follower(own.db, schedulesConsumer(reconciling)).catchUp(['acme'])
  for (const { scheduledAt } of asked) {
    const run = await ended('asked', scheduledAt)
    expect(run.order).toMatchObject({ due: true, period: { to: scheduledAt.slice(0, 10) } })
    expect(await typesOn(runStream(run))).toEqual(['run.requested', 'run.started', 'run.completed'])
  }
  expect((await ended('asked', now?.scheduledAt ?? '')).order).toMatchObject({ due: false })
})

describe('what Temporal has is made to agree with the log', () => {
  test('deleted by hand, paused by hand, changed by hand, and what nobody set', async () => {
    const { schedule } = temporal.temporal.client
    for (const id of ['gone', 'halted', 'moved']) await setSchedule(deps, by, id, daily)
    await setSchedule(deps, by, 'resting', { ...daily, paused: true })
    await reconcile(reconciling)
    const orphan = scheduleIdOf(installation, 'acme', 'orphan')
    const action = { type: 'startWorkflow' as const, workflowType: 'reportRun', taskQueue: 'nowhere', workflowId: 'x' }
    await schedule.create({ scheduleId: orphan, spec: { intervals: [{ every: '1 day' }] }, action })
    const others = 'somebody-else/acme/schedule/theirs'
    await schedule.create({ scheduleId: others, spec: { intervals: [{ every: '1 day' }] }, action })
    await handleOf('gone').delete()
    await handleOf('halted').pause('by hand')
    await handleOf('resting').unpause('by hand')
    await handleOf('moved').update((before) => ({
      ...before,
      spec: { cronExpressions: ['0 0 * * *'] },
      state: { paused: false },
    }))
    await listed(scheduleIdOf(installation, 'acme', 'gone'), false)
    await Promise.all([orphan, others].map((id) => listed(id, true)))

    const repaired = await until('everything noticed', async () => {
      const { created, updated, removed } = await reconcile(reconciling)
      const states = await Promise.all(['gone', 'halted', 'resting', 'moved'].map((id) => handleOf(id).describe()))
      const paused = states.map(({ state }) => state.paused)
      const hours = states.map(({ spec }) => spec.calendars?.[0]?.hour)
      const four = [{ start: 4, end: 4, step: 1 }]
      const right =
        JSON.stringify([paused, hours]) ===
        JSON.stringify([
          [false, false, true, false],
          [four, four, four, four],
        ])
      const quiet = created + updated + removed === 0
      return right && quiet ? await idsInTemporal() : undefined
    })
    expect(repaired).not.toContain(orphan)
    expect(repaired).toContain(others)
    expect(repaired).toContain(verificationIdOf(installation))
    await schedule.getHandle(others).delete()
  })

  test('pausing, resuming and removing reach Temporal, whoever else is telling it', async () => {
    const tell = () => Promise.all([1, 2, 3].map(() => syncSchedules(reconciling, 'acme', new Set(['brief']))))
    const paused = async () => (await handleOf('brief').describe()).state.paused
    await setSchedule(deps, by, 'brief', daily)
    const telling = [tell()]
    for (const rests of [true, false, true]) {
      await pauseSchedule(own.db, by, 'brief', rests)
      telling.push(tell())
    }
    await Promise.all(telling)
    await until('the pause', async () => ((await paused()) ? true : undefined))
    await pauseSchedule(own.db, by, 'brief', false)
    await tell()
    await until('its end', async () => ((await paused()) ? undefined : true))
    await removeSchedule(own.db, by, 'brief')
    await tell()
    const gone = () =>
      handleOf('brief')
        .describe()
        .then(
          () => undefined,
          (error: Error) => error.name,
        )
    expect(await until('its removal', gone)).toBe('ScheduleNotFoundError')
  })
})

test('a whole outage is made up for, from the last run on record', async () => {
  await createTenant(own.db, own.installation, 'outage')
  const theirs = host('outage')
  await setSchedule(deps, theirs, 'daily', daily)
  // The days pass for the reconciler alone: Temporal had no chance to start anything.
  const now = Date.now()
  const at = (days: number) => runTime(Math.floor(now / DAY_MS) * DAY_MS + days * DAY_MS + (4 * 60 + 15) * 60_000)
  const first = now < Date.parse(at(0)) ? 0 : 1
  const due = [0, 1, 2].map((day) => at(first + day))
  const later = { ...reconciling, now: () => Date.parse(at(first + 2)) + 3_600_000 }
  await startRun(reconciling, 'outage', 'report', { schedule: 'daily', scheduledAt: due[0] ?? '' })
  await ended('daily', due[0] ?? '', 'outage')

  await reconcile(later)
  const runs = await Promise.all(due.map((scheduledAt) => ended('daily', scheduledAt, 'outage')))
  expect(runs.map(({ order }) => [order?.due, order?.period.to])).toEqual(due.map((time) => [true, time.slice(0, 10)]))
  await reconcile(later)
  const found = await inTenant(own.db.reader, 'outage', (tx) => listRuns(tx, 'outage', 'daily', { limit: 10 }))
  expect(found.map(({ scheduledAt }) => scheduledAt)).toEqual(due.toReversed())
  await Promise.all(runs.map(({ order }) => findReport(own.db, 'outage', order?.reportId ?? '', 30_000)))
  expect(await listReports(own.db, 'outage')).toHaveLength(3)
})

test('a run whose workflow was terminated by hand goes on', async () => {
  await setSchedule(deps, by, 'cut', daily)
  await worker.close()
  const [run] = await requestRuns(own.db, by, 'cut')
  if (!run) throw new Error('no run')
  await startRun(reconciling, 'acme', 'report', run)
  const id = runWorkflowIdOf(installation, 'acme', 'cut', run.scheduledAt)
  await temporal.temporal.client.workflow.getHandle(id).terminate('by hand')
  await reconcile(reconciling)
  worker = work()
  expect((await ended('cut', run.scheduledAt)).status).toBe('completed')
})

describe('recipients', () => {
  test('are told with links and never with content; who cannot be is on record', async () => {
    await Promise.all(['ops', 'audit'].map((id) => webhook('acme', id)))
    deaf.add('audit')
    await setSchedule(deps, by, 'told', { ...daily, recipients: ['ops', 'audit'] })
    const [run] = await requestRuns(own.db, by, 'told')
    await new Follower(own.db, schedulesConsumer(reconciling)).catchUp(['acme'])
    const state = await until('both recipients on record', async () => {
      const found = run && (await findRun(own.db, 'acme', run))
      return found?.announced.length === 2 ? found : undefined
    })
    expect(state.announced).toEqual(
      expect.arrayContaining([{ webhook: 'ops' }, { webhook: 'audit', code: 'WEBHOOK_UNKNOWN' }]),
    )
    const { order, scheduledAt } = state
    const workflow = temporal.temporal.client.workflow.getHandle(
      runWorkflowIdOf(installation, 'acme', 'told', scheduledAt),
    )
    await workflow.result()
    await keepHistory(temporal.temporal.client, 'reportRun.told', workflow.workflowId)
    expect(told.filter(({ webhook }) => webhook === 'ops')).toEqual([
      {
        tenant: 'acme',
        webhook: 'ops',
        id: `acme-${state.endedSeq}`,
        at: state.endedAt,
        type: 'run.completed',
        data: {
          schedule: 'told',
          scheduledAt,
          report: 'audit-trail',
          period: order?.period,
          links: {
            csv: `https://audit.example/v1/reports/${order?.reportId}/csv`,
            manifest: `https://audit.example/v1/reports/${order?.reportId}/manifest`,
          },
        },
      },
    ])
  })

  test('learn that a report could not be made', async () => {
    await webhook('acme', 'failures')
    await setSchedule(deps, by, 'failing', { ...daily, recipients: ['failures'] })
    const [run] = await requestRuns(own.db, by, 'failing')
    await removeSchedule(own.db, by, 'failing')
    await new Follower(own.db, schedulesConsumer(reconciling)).catchUp(['acme'])
    expect(await ended('failing', run?.scheduledAt ?? '')).toMatchObject({ status: 'failed', code: 'SCHEDULE_UNKNOWN' })
  })
})

describe('verification', () => {
  const start = (scheduledAt: string, tenant?: string) =>
    startRun(reconciling, tenant, 'verification', { schedule: 'verification', scheduledAt })

  test('is due every night in Temporal, and one pass leaves an entry in each log', async () => {
    await createTenant(own.db, own.installation, 'quiet')
    await reconcile(reconciling)
    const handle = temporal.temporal.client.schedule.getHandle(verificationIdOf(installation))
    expect((await handle.describe()).spec.calendars).toMatchObject([
      { hour: [{ start: 2, end: 2 }], minute: [{ start: 0 }] },
    ])
    const scheduledAt = '2026-11-20T02:00:00Z'
    const backfill = { start: new Date(scheduledAt), end: new Date(scheduledAt) }
    await handle.backfill(backfill)
    const whole = await ended('verification', scheduledAt, 'system')
    const each = await ended('verification', scheduledAt, 'quiet')
    expect(each.result).toMatchObject({
      scope: 'installation',
      result: 'ok',
      range: { from: 0, to: 1 },
      findings: 0,
      rules: [],
    })
    expect(each.result).not.toHaveProperty('installation')
    expect(whole.result).toMatchObject({ installation: { findings: 0, tenantsWithFindings: [], unrecorded: [] } })

    const workflow = temporal.temporal.client.workflow.getHandle(
      runWorkflowIdOf(installation, undefined, 'verification', scheduledAt),
    )
    await workflow.result()
    await keepHistory(temporal.temporal.client, 'verification.due', workflow.workflowId)
    const first = (await workflow.describe()).runId
    await handle.backfill(backfill)
    await until('a second workflow', async () => ((await workflow.describe()).runId === first ? undefined : true))
    await workflow.result()
    expect(await typesOn(runStream(each), 'quiet')).toEqual(['verification.completed'])
  })

  test('that was missed is made up for once, with the latest of the nights', async () => {
    const now = Date.now()
    const night = (days: number) => runTime((Math.floor(now / DAY_MS) + days) * DAY_MS + 2 * 3_600_000)
    const later = { ...reconciling, now: () => Date.parse(night(6)) + 3_600_000 }
    await reconcile(later)
    await ended('verification', night(6), 'system')
    await reconcile(later)
    const nights = await inTenant(own.db.reader, 'system', (tx) =>
      listRuns(tx, 'system', 'verification', { limit: 10 }),
    )
    // The reconciler's days of the test before reached as far as the third night.
    const missed = nights.map(({ scheduledAt }) => scheduledAt).filter((time) => time > night(3))
    expect(missed).toEqual([night(6)])
  })

  test('of one log is made for whoever asks', async () => {
    const [run] = await requestRuns(own.db, by, 'verification')
    await new Follower(own.db, schedulesConsumer(reconciling)).catchUp(['acme'])
    const state = await ended('verification', run?.scheduledAt ?? '')
    expect(state).toMatchObject({ requestedBy: 'service:host', result: { scope: 'tenant', result: 'ok' } })
  })

  test('names what it finds in the log, and tells whoever is to be told', async () => {
    await createTenant(own.db, own.installation, 'touched')
    await webhook('touched', 'watch')
    await inTenant(own.db.command, 'touched', (tx) =>
      append(tx, { by: host('touched'), stream: 'setting/verification', expectedVersion: 0 }, [
        {
          body: eventBytes({
            type: 'setting.set',
            data: { name: 'verification', value: { enabled: true, recipients: ['watch'] }, authority: { setup: true } },
          }),
          sealed: [],
        },
      ]),
    )
    const attack = new Tamperer(await own.superuser())
    await attack.disarm()
    await attack.edit('touched', 1, (leaf) => leaf.replace('watch.example', 'witch.example'))
    await start('2026-11-19T02:00:00Z')
    const whole = await ended('verification', '2026-11-19T02:00:00Z', 'system')
    expect(whole.result).toMatchObject({ installation: { findings: 1, tenantsWithFindings: ['touched'] } })
    const state = await until('the recipient on record', async () => {
      const found = await findRun(own.db, 'touched', { schedule: 'verification', scheduledAt: '2026-11-19T02:00:00Z' })
      return found?.announced.length === 1 ? found : undefined
    })
    expect(state.result).toMatchObject({ result: 'findings', findings: 1, rules: [{ rule: 'LINK_BROKEN', seqs: [1] }] })
    expect(told.filter(({ tenant }) => tenant === 'touched')).toMatchObject([
      { webhook: 'watch', type: 'verification.completed', data: { findings: 1, seq: 3 } },
    ])
    expect(logged.join()).toContain('a verification found what must not be')
    const { client } = temporal.temporal
    const id = runWorkflowIdOf(installation, undefined, 'verification', '2026-11-19T02:00:00Z')
    await client.workflow.getHandle(id).result()
    await keepHistory(client, 'verification.finding', id)
    await attack.edit('touched', 1, (leaf) => leaf.replace('witch.example', 'watch.example'))
  })
})

test('all of these logs verify', async () => {
  expect((await verify(own.db)).findings).toEqual([])
})
