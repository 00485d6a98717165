import { DomainError } from '../errors.js'
import type { Json, LeafEvent } from '../ledger/event.js'
import { canonicalize } from '../ledger/jcs.js'
import type { StreamEntry } from '../ledger/streams.js'
import { zoneClock } from '../../reports/zone.js'
import { patternsOfCalendar, patternsOfCron, type Calendar, type Pattern } from './calendar.js'
import { leastGapMinutes, nextFire } from './fires.js'
import { PERIODS, type Period } from './period.js'

/** When: exactly one of the two. */
export type When =
  { readonly cron: string; readonly calendar?: never } | { readonly calendar: Calendar; readonly cron?: never }

/** A report of the last whole period, made again and again. */
export type ReportSchedule = When & {
  readonly kind: 'report'
  /** The kind of report, `audit-trail`. */
  readonly report: string
  readonly period: Period
  /** What the kind of report takes beside period and zone: filter, formats, … */
  readonly parameters: Readonly<Record<string, Json>>
  /** IANA name: of the calendar, of the period, and of the times in the report. */
  readonly timeZone: string
  readonly paused: boolean
  /** Webhooks that are told, by id. */
  readonly recipients: readonly string[]
}

/** What a schedule looks like in a request: what is left out has a standard value. */
export interface ReportScheduleInput {
  readonly kind: 'report'
  readonly report: string
  readonly period: Period
  readonly parameters?: Readonly<Record<string, Json>>
  readonly cron?: string
  readonly calendar?: Calendar
  readonly timeZone?: string
  readonly paused?: boolean
  readonly recipients?: readonly string[]
}

export interface ScheduleState {
  readonly id: string
  /** Undefined once it is removed. */
  readonly schedule?: ReportSchedule
  readonly version: number
  /** The entry that set it last. */
  readonly seq: number
  /** When that was. */
  readonly at: string
  /** Since when it has been due at these times without a break: what was due before then needs no run. */
  readonly since: string
}

/** The nightly verification: every tenant has it without setting anything. */
export const VERIFICATION = 'verification'
export const SCHEDULE_ID = /^[a-z][a-z0-9-]{0,62}$/
export const SCHEDULES = 'schedule/'
export const scheduleStream = (id: string): string => `${SCHEDULES}${id}`
/** The id in a stream's name. */
export const scheduleOf = (stream: string): string => stream.slice(SCHEDULES.length)

/** Closer to each other than this, in minutes, runs make the same report of the same period. */
export const LEAST_GAP_MINUTES = 15
export const MAX_RECIPIENTS = 16
/** Of a tenant. */
export const MAX_SCHEDULES = 100
const MAX_PARAMETERS_BYTES = 16 * 1024

/** The types of entries on `schedule/<id>`. */
export const scheduleEventTypes = ['schedule.set', 'schedule.removed'] as const

export function evolveSchedule(state: ScheduleState | undefined, entry: StreamEntry): ScheduleState | undefined {
  const { event, stream, version, seq, at } = entry
  const id = state?.id ?? scheduleOf(stream)
  if (event.type === 'schedule.set') {
    const schedule = event.data as unknown as ReportSchedule
    const since = state?.schedule && isDueAlike(state.schedule, schedule) ? state.since : at
    return { id, schedule, version, seq, at, since }
  }
  return event.type === 'schedule.removed' ? { id, version, seq, at, since: at } : state
}

function isDueAlike(before: ReportSchedule, after: ReportSchedule): boolean {
  const timesOf = ({ cron, calendar, timeZone, paused }: ReportSchedule) =>
    canonicalize([cron ?? null, calendar ?? null, timeZone, paused])
  return !before.paused && timesOf(before) === timesOf(after)
}

/** All schedules of a tenant, removed ones too, by id. @param entries of the streams below `SCHEDULES`, in the log's order */
export function foldSchedules(entries: readonly StreamEntry[]): Map<string, ScheduleState> {
  const states = new Map<string, ScheduleState>()
  for (const entry of entries) {
    const id = scheduleOf(entry.stream)
    const state = evolveSchedule(states.get(id), entry)
    if (state) states.set(id, state)
  }
  return states
}

/** What a schedule may refer to. */
export interface Known {
  /** By kind of report; throws where the parameters are not ones of it. */
  readonly reports: ReadonlyMap<string, (parameters: Readonly<Record<string, Json>>) => void>
  readonly webhooks: ReadonlySet<string>
}

/**
 * Takes a definition, with its standard values put in.
 * @param nowMs what never comes after it never comes
 * @throws DomainError SCHEDULE_INVALID, SCHEDULE_CRON_INVALID, SCHEDULE_CALENDAR_INVALID, SCHEDULE_NEVER_DUE, SCHEDULE_TOO_FREQUENT,
 * REPORT_TIME_ZONE_UNKNOWN, REPORT_KIND_UNKNOWN, WEBHOOK_UNKNOWN, and those of the report's parameters
 */
export function checkSchedule(input: ReportScheduleInput, known: Known, nowMs: number): ReportSchedule {
  const { report, period, cron, calendar, parameters = {}, timeZone = 'UTC', paused = false, recipients = [] } = input
  if (!PERIODS.includes(period)) throw invalid('/period', `a period is one of ${PERIODS.join(', ')}`)
  const checkParameters = known.reports.get(report)
  if (!checkParameters) {
    const kinds = [...known.reports.keys()].join(', ')
    throw new DomainError('REPORT_KIND_UNKNOWN', `there is no report ${JSON.stringify(report)}; there are ${kinds}`, {
      pointer: '/report',
    })
  }
  checkParameters(parameters)
  if (canonicalize(parameters).length > MAX_PARAMETERS_BYTES) {
    throw invalid('/parameters', `the parameters are larger than ${MAX_PARAMETERS_BYTES} bytes`)
  }
  const when = checkWhen(cron, calendar, timeZone, nowMs)
  const told = checkRecipients(recipients, known.webhooks)
  return { kind: 'report', report, period, parameters, ...when, timeZone, paused, recipients: told }
}

/** @throws DomainError WEBHOOK_UNKNOWN, SCHEDULE_INVALID */
export function checkRecipients(recipients: readonly string[], webhooks: ReadonlySet<string>): string[] {
  if (recipients.length > MAX_RECIPIENTS) throw invalid('/recipients', `at most ${MAX_RECIPIENTS} webhooks can be told`)
  const unknown = recipients.findIndex((id) => !webhooks.has(id))
  if (unknown < 0) return [...new Set(recipients)].sort()
  throw new DomainError('WEBHOOK_UNKNOWN', `there is no webhook ${JSON.stringify(recipients[unknown]?.slice(0, 80))}`, {
    pointer: `/recipients/${unknown}`,
  })
}

function checkWhen(cron: string | undefined, calendar: Calendar | undefined, timeZone: string, nowMs: number): When {
  if ((cron === undefined) === (calendar === undefined))
    throw invalid('', 'say when: by cron or by calendar, one of them')
  const when: When = cron !== undefined ? { cron: cron.trim() } : { calendar: calendar ?? {} }
  const pointer = cron !== undefined ? '/cron' : '/calendar'
  const patterns = patternsOf(when)
  if (nextFire(patterns, zoneClock(timeZone), nowMs) === undefined) {
    throw new DomainError('SCHEDULE_NEVER_DUE', 'no day of the next fifty years is one of these', { pointer })
  }
  if (leastGapMinutes(patterns) < LEAST_GAP_MINUTES) {
    const message = `two runs would be less than ${LEAST_GAP_MINUTES} minutes apart`
    throw new DomainError('SCHEDULE_TOO_FREQUENT', message, { pointer })
  }
  return when
}

/** @throws DomainError SCHEDULE_CRON_INVALID, SCHEDULE_CALENDAR_INVALID */
export function patternsOf(when: When): Pattern[] {
  return when.cron !== undefined ? patternsOfCron(when.cron) : patternsOfCalendar(when.calendar)
}

/** What sets a schedule; nothing where it is so already. */
export function set(state: ScheduleState | undefined, schedule: ReportSchedule): LeafEvent[] {
  if (state?.schedule && canonicalize(state.schedule) === canonicalize(schedule)) return []
  return [{ type: 'schedule.set', data: { ...schedule } as unknown as Record<string, Json> }]
}

/** @throws DomainError SCHEDULE_UNKNOWN */
export function remove(state: ScheduleState | undefined, id: string): LeafEvent[] {
  expectSchedule(state, id)
  return [{ type: 'schedule.removed' }]
}

/** @throws DomainError SCHEDULE_UNKNOWN */
export function pause(state: ScheduleState | undefined, id: string, paused: boolean): LeafEvent[] {
  return set(state, { ...expectSchedule(state, id), paused })
}

/** @throws DomainError SCHEDULE_UNKNOWN */
export function expectSchedule(state: ScheduleState | undefined, id: string): ReportSchedule {
  if (state?.schedule) return state.schedule
  throw new DomainError('SCHEDULE_UNKNOWN', `there is no schedule ${id}`)
}

/** @throws DomainError SCHEDULE_INVALID */
export function checkScheduleId(id: string): void {
  if (SCHEDULE_ID.test(id)) return
  throw invalid('/id', 'a schedule is named with a-z, 0-9 and -, a letter first, at most 63 characters')
}

function invalid(pointer: string, message: string): DomainError {
  return new DomainError('SCHEDULE_INVALID', message, { pointer })
}
