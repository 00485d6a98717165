import { ScheduleAlreadyRunning, ScheduleNotFoundError, type ScheduleHandle } from '@temporalio/client'
import { WorkflowIdConflictPolicy, WorkflowIdReusePolicy } from '@temporalio/common'
import { sql } from 'kysely'
import type { Database } from '../db/database.js'
import { SYSTEM_TENANT } from '../principal.js'
import type { Temporal } from '../temporal/connection.js'
import { zoneClock } from '../../reports/zone.js'
import { patternsOfCalendar, type Pattern } from './calendar.js'
import { DAY_MS } from './fires.js'
import { missingRuns, openRuns } from './missing.js'
import { readStream } from '../ledger/streams.js'
import { listRuns, readRun, readSchedules } from './queries.js'
import type { RunId, RunState } from './run.js'
import { foldSchedules, patternsOf, SCHEDULES, scheduleStream, VERIFICATION, type ScheduleState } from './schedule.js'
import {
  isAsWanted,
  runWorkflowIdOf,
  scheduleIdOf,
  scheduleOfId,
  schedulePrefix,
  wantedReport,
  wantedVerification,
  type Place,
  type Wanted,
} from './temporal-schedule.js'

export interface ReconcileDeps extends Place {
  readonly database: Pick<Database, 'operator'>
  readonly temporal: Temporal
  /** Hour of the nightly verification, UTC. */
  readonly verificationHour: number
  readonly now?: () => number
}

/** What was not as the log has it, and was put right. */
export interface Reconciled {
  readonly created: number
  readonly updated: number
  readonly removed: number
  /** Runs that were due or asked for and not begun, or left half-way. */
  readonly started: number
}

/** Updating asks the schedule's own workflow first, which a busy Temporal answers late. */
const UPDATE_TIMEOUT_MS = 20_000
/** Of the list of all schedules, however many pages it has. */
const LIST_TIMEOUT_MS = 60_000
/** Runs of a schedule that are looked at: the last one that was due is among them, unless people ask for many. */
const LATEST_RUNS = 25
/** A verification that was missed is made up for within this: later ones look at the same. */
const VERIFICATION_WITHIN_MS = 2 * DAY_MS

/** Failures after which reconciling gives up for this time. */
const MOST_TROUBLES = 5

/**
 * Makes Temporal's schedules, and the runs that were due, agree with the log: of all tenants. What fails holds up nothing else.
 * @throws AggregateError of what failed, at the end
 */
export async function reconcile(deps: ReconcileDeps): Promise<Reconciled> {
  // What is there is read first: a schedule that is set meanwhile then looks missing, and not like one too many.
  const found = await foundSchedules(deps)
  const counts = { created: 0, updated: 0, removed: 0, started: 0 }
  const troubles: unknown[] = []
  const attempt = async (work: () => Promise<Partial<Reconciled>>): Promise<void> => {
    try {
      for (const [name, count] of Object.entries(await work())) counts[name as keyof Reconciled] += count
    } catch (error) {
      if (troubles.push(error) >= MOST_TROUBLES) throw failed(troubles)
    }
  }
  const names = new Set<string>()
  for (const { id: tenant, hasSchedules } of await tenantsOf(deps)) {
    const schedules = hasSchedules
      ? await readSchedules(deps.database.operator, tenant)
      : new Map<string, ScheduleState>()
    for (const { id, schedule } of schedules.values()) {
      if (!schedule) continue
      const wanted = wantedReport(deps, tenant, id, schedule)
      names.add(wanted.scheduleId)
      const summary = found.get(wanted.scheduleId)
      if (!summary || !isAsWanted(wanted, summary)) await attempt(async () => ({ [await agree(deps, tenant, id)]: 1 }))
    }
    await attempt(async () => ({ started: await startMissing(deps, tenant, schedules) }))
  }
  const verification = wantedVerification(deps, nightly(deps.verificationHour))
  const summary = found.get(verification.scheduleId)
  if (!summary || !isAsWanted(verification, summary))
    await attempt(async () => ({ [await put(deps, verification)]: 1 }))
  for (const name of [...found.keys()].filter((name) => !names.has(name) && name !== verification.scheduleId)) {
    const ours = scheduleOfId(deps.installation, name)
    // What was removed here may be set again meanwhile.
    await attempt(async () => ({ [ours ? await agree(deps, ours.tenant, ours.id) : await drop(deps, name)]: 1 }))
  }
  await attempt(async () => ({ started: await startMissedVerification(deps) }))
  if (troubles.length > 0) throw failed(troubles)
  return counts
}

function failed(troubles: readonly unknown[]): AggregateError {
  return new AggregateError(troubles, `${troubles.length} of what Temporal was to be told failed`)
}

/**
 * The same for some schedules of one tenant, right after they were set or removed.
 * @param ids of schedules
 */
export async function syncSchedules(deps: ReconcileDeps, tenant: string, ids: ReadonlySet<string>): Promise<void> {
  for (const id of ids) await agree(deps, tenant, id)
}

/**
 * Makes Temporal have a schedule as the log has it. Others may be at it too, with what they read before: so whoever has told
 * Temporal looks into the log again, and the last to tell it tells what holds.
 */
async function agree(deps: ReconcileDeps, tenant: string, id: string): Promise<'created' | 'updated' | 'removed'> {
  const read = async () => foldSchedules(await readStream(deps.database.operator, tenant, scheduleStream(id))).get(id)
  for (let state = await read(); ;) {
    const done = state?.schedule
      ? await put(deps, wantedReport(deps, tenant, id, state.schedule))
      : await drop(deps, scheduleIdOf(deps.installation, tenant, id))
    const after = await read()
    if (after?.version === state?.version) return done
    state = after
  }
}

/**
 * Starts a run's workflow. One that runs already is left alone; the log says what is left to do for one that ran before.
 * @param tenant undefined for the pass over all logs
 */
export async function startRun(
  { temporal, installation, taskQueue }: Pick<ReconcileDeps, 'temporal' | keyof Place>,
  tenant: string | undefined,
  kind: RunState['kind'],
  { schedule, scheduledAt }: RunId,
): Promise<void> {
  const ofTenant = tenant === undefined ? {} : { tenant }
  const input = kind === 'verification' ? { ...ofTenant, scheduledAt } : { ...ofTenant, schedule, scheduledAt }
  await temporal.withDeadline(() =>
    temporal.client.workflow.start(kind === 'verification' ? 'verification' : 'reportRun', {
      workflowId: runWorkflowIdOf(installation, tenant, schedule, scheduledAt),
      taskQueue,
      args: [input],
      workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
      // The log was asked, and something is left to do: that another workflow ended under this id says nothing.
      workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
    }),
  )
}

async function foundSchedules({ temporal, installation }: ReconcileDeps) {
  const prefix = schedulePrefix(installation)
  const found = new Map<string, Parameters<typeof isAsWanted>[1]>()
  await temporal.withDeadline(async () => {
    for await (const summary of temporal.client.schedule.list({ pageSize: 1_000 })) {
      if (summary.scheduleId.startsWith(prefix)) found.set(summary.scheduleId, summary)
    }
  }, LIST_TIMEOUT_MS)
  return found
}

async function tenantsOf({ database }: ReconcileDeps) {
  return database.operator
    .selectFrom('tenants')
    .select([
      'id',
      sql<boolean>`exists (select from streams where tenant = tenants.id and stream >= ${SCHEDULES} and stream < 'schedule0')`.as(
        'hasSchedules',
      ),
    ])
    .orderBy('id')
    .execute()
}

/** Makes Temporal have a schedule as it is wanted, whatever it has. */
async function put({ temporal }: ReconcileDeps, wanted: Wanted): Promise<'created' | 'updated'> {
  const { paused, ...rest } = wanted
  const { scheduleId, ...definition } = rest
  const { client } = temporal
  try {
    await temporal.withDeadline(() => client.schedule.create({ ...rest, state: { paused } }))
    return 'created'
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error
  }
  await unlessGone(client.schedule.getHandle(scheduleId), (handle) =>
    temporal.withDeadline(() => handle.update(() => ({ ...definition, state: { paused } })), UPDATE_TIMEOUT_MS),
  )
  return 'updated'
}

async function drop({ temporal }: ReconcileDeps, scheduleId: string): Promise<'removed'> {
  await unlessGone(temporal.client.schedule.getHandle(scheduleId), (handle) =>
    temporal.withDeadline(() => handle.delete()),
  )
  return 'removed'
}

async function unlessGone(handle: ScheduleHandle, work: (handle: ScheduleHandle) => Promise<void>): Promise<void> {
  try {
    await work(handle)
  } catch (error) {
    if (!(error instanceof ScheduleNotFoundError)) throw error
  }
}

/** Starts the runs of a tenant that were due or asked for and are not at work. @returns how many */
async function startMissing(
  deps: ReconcileDeps,
  tenant: string,
  schedules: ReadonlyMap<string, ScheduleState>,
): Promise<number> {
  const { operator } = deps.database
  const nowMs = (deps.now ?? Date.now)()
  let started = 0
  for (const { id, schedule, since } of schedules.values()) {
    const runs = await listRuns(operator, tenant, id, { limit: LATEST_RUNS })
    const due =
      schedule && !schedule.paused
        ? missingRuns(
            { patterns: patternsOf(schedule), clock: zoneClock(schedule.timeZone), sinceMs: Date.parse(since) },
            runs,
            nowMs,
          )
        : []
    for (const scheduledAt of [...openRuns(runs).map((run) => run.scheduledAt), ...due]) {
      const run = { schedule: id, scheduledAt }
      // Where people asked for many runs, what was due may lie behind those that were looked at.
      const state = await readRun(operator, tenant, run)
      if (state && openRuns([state]).length === 0) continue
      await startRun(deps, tenant, 'report', run)
      started++
    }
  }
  const verifications = openRuns(await listRuns(operator, tenant, VERIFICATION, { limit: LATEST_RUNS }))
  for (const run of verifications) {
    // Whom the pass over all logs has not told yet, its own workflow tells.
    const ofAll = run.result?.['scope'] === 'installation'
    await startRun(deps, ofAll ? undefined : tenant, 'verification', run)
  }
  return started + verifications.length
}

async function startMissedVerification(deps: ReconcileDeps): Promise<number> {
  const { operator } = deps.database
  const nowMs = (deps.now ?? Date.now)()
  const system = await operator
    .selectFrom('tenants')
    .select('created_at')
    .where('id', '=', SYSTEM_TENANT)
    .executeTakeFirst()
  if (!system) return 0
  const sinceMs = Math.max(Date.parse(system.created_at), nowMs - VERIFICATION_WITHIN_MS)
  const runs = await listRuns(operator, SYSTEM_TENANT, VERIFICATION, { limit: LATEST_RUNS })
  const due = { patterns: nightly(deps.verificationHour), clock: zoneClock('UTC'), sinceMs }
  const scheduledAt = missingRuns(due, runs, nowMs).at(-1)
  if (scheduledAt === undefined) return 0
  await startRun(deps, undefined, 'verification', { schedule: VERIFICATION, scheduledAt })
  return 1
}

function nightly(hour: number): Pattern[] {
  return patternsOfCalendar({ hour })
}
