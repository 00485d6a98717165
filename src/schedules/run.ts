import type { Json, LeafEvent } from '../ledger/event.js'
import type { StreamEntry } from '../ledger/streams.js'
import { zoneClock } from '../../reports/zone.js'
import { isFire } from './fires.js'
import { lastPeriod, type PeriodDays } from './period.js'
import { patternsOf, type ReportSchedule } from './schedule.js'

/** One run of a schedule: which, and when it was due. That is its identity, however often it is started. */
export interface RunId {
  readonly schedule: string
  /** UTC, whole seconds: `2026-11-21T02:00:00Z`. */
  readonly scheduledAt: string
}

/** The data of `run.started`: all that the run needs, so that changing the schedule meanwhile changes nothing. */
export interface ReportOrder {
  readonly kind: 'report'
  readonly report: string
  readonly parameters: Readonly<Record<string, Json>>
  readonly period: PeriodDays
  readonly timeZone: string
  readonly recipients: readonly string[]
  /** The id that the report gets, so that a run which is tried again makes no second one. */
  readonly reportId: string
  /** Whether the schedule's own calendar named the time, or somebody asked for the run. */
  readonly due: boolean
}

export interface RunState extends RunId {
  readonly status: 'requested' | 'started' | 'completed' | 'failed'
  readonly kind: 'report' | 'verification'
  /** Who asked for it; absent where the calendar did. */
  readonly requestedBy?: string
  readonly order?: ReportOrder
  /** Data of `run.completed` or `verification.completed`. */
  readonly result?: Readonly<Record<string, Json>>
  /** Why it failed: a code. */
  readonly code?: string
  /** Recipients that were told, or could not be. */
  readonly announced: readonly { readonly webhook: string; readonly code?: string }[]
  readonly startedAt?: string
  readonly endedAt?: string
  /** The entry that ended it. */
  readonly endedSeq?: number
  readonly version: number
  /** Of its last entry. */
  readonly seq: number
}

/** The types of entries on `run/<schedule>/<time>`. */
export const runEventTypes = [
  'run.requested',
  'run.started',
  'run.completed',
  'run.failed',
  'run.announced',
  'run.announcement-failed',
  'verification.completed',
] as const

export const RUNS = 'run/'
/** `run/monthly/20261121T020000Z` */
export const runStream = ({ schedule, scheduledAt }: RunId): string =>
  `${RUNS}${schedule}/${scheduledAt.replaceAll(/[-:]/g, '')}`

/** @throws Error when the stream is no run's */
export function runOf(stream: string): RunId {
  const [, schedule, y, mo, d, h, mi, s] = /^run\/([^/]+)\/(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(stream) ?? []
  if (schedule === undefined) throw new Error(`${stream} is no run`)
  return { schedule, scheduledAt: `${y}-${mo}-${d}T${h}:${mi}:${s}Z` }
}

/** As `RunId.scheduledAt`; fractions of a second are cut off. */
export function runTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}

export function evolveRun(state: RunState | undefined, entry: StreamEntry): RunState | undefined {
  const { event, stream, version, seq, at, by } = entry
  const before: RunState = state ?? {
    ...runOf(stream),
    status: 'requested',
    kind: event.type === 'verification.completed' ? 'verification' : 'report',
    announced: [],
    version,
    seq,
  }
  const data = event.data ?? {}
  const now = { ...before, version, seq }
  switch (event.type as (typeof runEventTypes)[number]) {
    case 'run.requested':
      return { ...now, kind: data['kind'] === 'verification' ? 'verification' : 'report', requestedBy: by }
    case 'run.started':
      return { ...now, status: 'started', order: data as unknown as ReportOrder, startedAt: at }
    case 'run.completed':
      return { ...now, status: 'completed', result: data, endedAt: at, endedSeq: seq }
    case 'verification.completed':
      return { ...now, kind: 'verification', status: 'completed', result: data, endedAt: at, endedSeq: seq }
    case 'run.failed':
      return { ...now, status: 'failed', code: data['code'] as string, endedAt: at, endedSeq: seq }
    case 'run.announced':
      return { ...now, announced: [...before.announced, { webhook: data['webhook'] as string }] }
    case 'run.announcement-failed': {
      const told = { webhook: data['webhook'] as string, code: data['code'] as string }
      return { ...now, announced: [...before.announced, told] }
    }
    default:
      return state
  }
}

export function foldRun(entries: readonly StreamEntry[]): RunState | undefined {
  return entries.reduce<RunState | undefined>(evolveRun, undefined)
}

/** Whether nothing is left to do but to tell people. */
export function isEnded(run: RunState | undefined): boolean {
  return run?.status === 'completed' || run?.status === 'failed'
}

/**
 * What begins a report's run. Nothing where it has begun, where nobody asked and the schedule is paused or gone.
 * @param reportId used where the run begins now
 */
export function begin(
  run: RunState | undefined,
  { scheduledAt }: RunId,
  schedule: ReportSchedule | undefined,
  reportId: string,
): LeafEvent[] {
  if (run !== undefined && run.status !== 'requested') return []
  if (schedule === undefined) return run ? [failed('SCHEDULE_UNKNOWN')] : []
  if (schedule.paused && !run) return []
  const { report, parameters, timeZone, recipients, period } = schedule
  const clock = zoneClock(timeZone)
  const atMs = Date.parse(scheduledAt)
  const order: ReportOrder = {
    kind: 'report',
    report,
    parameters,
    period: lastPeriod(period, atMs, clock),
    timeZone,
    recipients,
    reportId,
    due: isFire(patternsOf(schedule), clock, atMs),
  }
  return [{ type: 'run.started', data: order as unknown as Record<string, Json> }]
}

export function completed(run: RunState | undefined, result: Record<string, Json>): LeafEvent[] {
  return isEnded(run) ? [] : [{ type: 'run.completed', outcome: 'success', data: result }]
}

/** @param code why */
export function fail(run: RunState | undefined, code: string): LeafEvent[] {
  return isEnded(run) ? [] : [failed(code)]
}

function failed(code: string): LeafEvent {
  return { type: 'run.failed', outcome: 'failure', data: { code } }
}

/** What records that a recipient was told, or with a code that it could not be. */
export function announce(run: RunState | undefined, webhook: string, code?: string): LeafEvent[] {
  if (!run || run.announced.some((told) => told.webhook === webhook)) return []
  return code === undefined
    ? [{ type: 'run.announced', outcome: 'success', data: { webhook } }]
    : [{ type: 'run.announcement-failed', outcome: 'failure', data: { webhook, code } }]
}
