import { governed, type Governed } from '../approvals/governed.js'
import type { Governance } from '../approvals/governance.js'
import type { Database, Tx } from '../db/database.js'
import { DomainError } from '../errors.js'
import { appendAll } from '../ledger/append.js'
import type { Addition } from '../ledger/batch.js'
import type { Json, LeafEvent } from '../ledger/event.js'
import { prepare } from '../ledger/prepare.js'
import { readStream } from '../ledger/streams.js'
import { service, type Principal } from '../principal.js'
import { zoneClock } from '../../reports/zone.js'
import { firesBetween } from './fires.js'
import { readRun, readSchedules } from './queries.js'
import { announce, begin, completed, fail, runStream, runTime, type RunId, type RunState } from './run.js'
import {
  checkSchedule,
  checkScheduleId,
  expectSchedule,
  foldSchedules,
  MAX_SCHEDULES,
  patternsOf,
  pause,
  remove,
  scheduleStream,
  set,
  VERIFICATION,
  type Known,
  type ReportScheduleInput,
  type ScheduleState,
} from './schedule.js'

export interface ScheduleDeps {
  readonly database: Database
  /** Kinds of report, with their checks of parameters. */
  readonly reports: Known['reports']
}

/** A run of a tenant's schedule. */
export interface RunRef extends RunId {
  readonly tenant: string
}

/** Runs asked for at once, at most. */
export const MAX_REQUESTED = 100

/**
 * Sets a schedule, new or not; as it is already, nothing is recorded.
 * @throws DomainError those of `checkSchedule`, SCHEDULE_RESERVED, SCHEDULES_TOO_MANY, TENANT_UNKNOWN
 */
export async function setSchedule(
  { database, reports }: ScheduleDeps,
  by: Principal,
  id: string,
  input: ReportScheduleInput,
): Promise<ScheduleState> {
  checkScheduleId(id)
  if (id === VERIFICATION) throw reserved()
  return decide(database, by, id, (states, { governance, nowMs }) => {
    const state = states.get(id)
    const schedule = checkSchedule(input, { reports, webhooks: webhooksOf(governance) }, nowMs)
    if (state?.schedule === undefined && [...states.values()].filter((each) => each.schedule).length >= MAX_SCHEDULES) {
      throw new DomainError('SCHEDULES_TOO_MANY', `a tenant has at most ${MAX_SCHEDULES} schedules`)
    }
    return set(state, schedule)
  })
}

/** @throws DomainError SCHEDULE_UNKNOWN, SCHEDULE_RESERVED */
export async function removeSchedule(database: Database, by: Principal, id: string): Promise<void> {
  if (id === VERIFICATION) throw reserved()
  await decide(database, by, id, (states) => remove(states.get(id), id))
}

/** @throws DomainError SCHEDULE_UNKNOWN, SCHEDULE_RESERVED */
export async function pauseSchedule(
  database: Database,
  by: Principal,
  id: string,
  paused: boolean,
): Promise<ScheduleState> {
  if (id === VERIFICATION) throw reserved()
  return decide(database, by, id, (states) => pause(states.get(id), id, paused))
}

/**
 * Asks for runs: one as of now, or each that was due in a period. What has run already is not asked for again.
 * @param period instants in ms since 1970, the end excluded
 * @returns the runs, new or not
 * @throws DomainError SCHEDULE_UNKNOWN, RANGE_INVALID
 */
export async function requestRuns(
  database: Database,
  by: Principal,
  id: string,
  period?: { readonly fromMs: number; readonly toMs: number },
): Promise<RunState[]> {
  const { tenant } = by
  return governed({ database }, by, async (tx, { head, nowMs }) => {
    const kind = id === VERIFICATION ? 'verification' : 'report'
    const times =
      kind === 'verification' && period === undefined
        ? [nowMs]
        : timesOf(expectSchedule((await readSchedules(tx, tenant)).get(id), id), period, nowMs)
    const runs = times.map((ms): RunId => ({ schedule: id, scheduledAt: runTime(ms) }))
    const additions: Addition[] = []
    for (const run of runs) {
      if (await readRun(tx, tenant, run)) continue
      additions.push(addition(by, runStream(run), 0, [{ type: 'run.requested', data: { kind } }]))
    }
    await appendAll(tx, head, additions, nowMs)
    const states = await Promise.all(runs.map((run) => readRun(tx, tenant, run)))
    return states.filter((state) => state !== undefined)
  })
}

function timesOf(
  schedule: ReturnType<typeof expectSchedule>,
  period: { readonly fromMs: number; readonly toMs: number } | undefined,
  nowMs: number,
): number[] {
  if (period === undefined) return [nowMs]
  const { fromMs, toMs } = period
  if (fromMs >= toMs) throw range('/to', 'the period ends before it begins')
  if (toMs > nowMs) throw range('/to', 'the period has not passed yet')
  const times = firesBetween(patternsOf(schedule), zoneClock(schedule.timeZone), fromMs, toMs, MAX_REQUESTED + 1)
  if (times.length <= MAX_REQUESTED) return times
  throw range('/from', `more than ${MAX_REQUESTED} runs were due in that period: ask for a shorter one`)
}

/**
 * Begins a report's run where it has not begun.
 * @param reportId used where it begins now
 * @returns the run; undefined where there is none to make
 */
export async function beginRun(database: Database, run: RunRef, reportId: string): Promise<RunState | undefined> {
  return decideRun(database, run, async (state, tx) => {
    const { schedule } = (await readSchedules(tx, run.tenant)).get(run.schedule) ?? {}
    return begin(state, run, schedule, reportId)
  })
}

/** Ends a report's run well; one that has ended stays as it is. */
export async function completeRun(database: Database, run: RunRef, result: Record<string, Json>): Promise<void> {
  await decideRun(database, run, (state) => completed(state, result))
}

/** Ends a run badly; one that has ended stays as it is. @param code why */
export async function failRun(database: Database, run: RunRef, code: string): Promise<void> {
  await decideRun(database, run, (state) => fail(state, code))
}

/** Records that a recipient was told, or with a code that it could not be. */
export async function recordAnnouncement(
  database: Database,
  run: RunRef,
  webhook: string,
  code?: string,
): Promise<void> {
  await decideRun(database, run, (state) => announce(state, webhook, code))
}

/** Records the outcome of a verification of one log, once. */
export async function completeVerification(
  database: Database,
  run: RunRef,
  outcome: (state: RunState | undefined) => LeafEvent[],
): Promise<void> {
  await decideRun(database, run, outcome)
}

async function decideRun(
  database: Database,
  run: RunRef,
  decision: (state: RunState | undefined, tx: Tx) => LeafEvent[] | Promise<LeafEvent[]>,
): Promise<RunState | undefined> {
  const by = service(run.tenant)
  return governed({ database }, by, async (tx, { head, nowMs }) => {
    const state = await readRun(tx, run.tenant, run)
    const events = await decision(state, tx)
    if (events.length === 0) return state
    await appendAll(tx, head, [addition(by, runStream(run), state?.version ?? 0, events)], nowMs)
    return readRun(tx, run.tenant, run)
  })
}

async function decide(
  database: Database,
  by: Principal,
  id: string,
  decision: (states: ReadonlyMap<string, ScheduleState>, at: Governed) => LeafEvent[],
): Promise<ScheduleState> {
  return governed({ database }, by, async (tx, at) => {
    const states = await readSchedules(tx, by.tenant)
    const events = decision(states, at)
    const stream = scheduleStream(id)
    if (events.length > 0) {
      await appendAll(tx, at.head, [addition(by, stream, states.get(id)?.version ?? 0, events)], at.nowMs)
    }
    const state = foldSchedules(await readStream(tx, by.tenant, stream)).get(id)
    if (!state) throw new Error(`nothing set the schedule ${id}`)
    return state
  })
}

/** @param version of the stream so far */
function addition(by: Principal, stream: string, version: number, events: readonly LeafEvent[]): Addition {
  return {
    by: by.id,
    via: by.via,
    events: events.map((event, index) => prepare(event, { by, stream }, index)),
    stream: { name: stream, version: version + 1 },
  }
}

function webhooksOf({ webhooks }: Governance): Set<string> {
  return new Set([...webhooks].filter(([, { target }]) => target !== undefined).map(([id]) => id))
}

function reserved(): DomainError {
  return new DomainError(
    'SCHEDULE_RESERVED',
    `every tenant has the schedule ${VERIFICATION}: it can be paused, resumed, and told whom to tell, and nothing else`,
    { pointer: '/id' },
  )
}

function range(pointer: string, message: string): DomainError {
  return new DomainError('RANGE_INVALID', message, { pointer })
}
