import { ScheduleOverlapPolicy } from '@temporalio/client'
import type { ScheduleOptions, ScheduleOptionsStartWorkflowAction, ScheduleSummary } from '@temporalio/client'
import type { Workflow } from '@temporalio/common'
import type { ReportRunInput, VerificationInput } from '../../workflows/messages.js'
import type { Pattern } from './calendar.js'
import { TENANT } from '../ledger/envelope.js'
import { patternsOf, SCHEDULE_ID, VERIFICATION, type ReportSchedule } from './schedule.js'

/** A schedule as Temporal is to have it. */
export type Wanted = Omit<ScheduleOptions<ScheduleOptionsStartWorkflowAction<Workflow>>, 'state'> & {
  readonly paused: boolean
}

/** Whose schedules they are, and who does what they start. */
export interface Place {
  /** Id of the installation: what is ours in a Temporal is named below it. */
  readonly installation: string
  readonly taskQueue: string
}

type Described = Pick<ScheduleSummary, 'spec' | 'state' | 'action'>
type CalendarSpecs = NonNullable<NonNullable<Wanted['spec']['calendars']>>
type CalendarSpec = CalendarSpecs[number]

const MONTHS = [
  'JANUARY', 'FEBRUARY', 'MARCH', 'APRIL', 'MAY', 'JUNE',
  'JULY', 'AUGUST', 'SEPTEMBER', 'OCTOBER', 'NOVEMBER', 'DECEMBER',
] as const // prettier-ignore
const WEEKDAYS = ['SUNDAY', 'MONDAY', 'TUESDAY', 'WEDNESDAY', 'THURSDAY', 'FRIDAY', 'SATURDAY'] as const

/** What all of an installation's schedules are named below. */
export const schedulePrefix = (installation: string): string => `${installation}/`
export const scheduleIdOf = (installation: string, tenant: string, id: string): string =>
  `${installation}/${tenant}/schedule/${id}`
/** Back from it; undefined for what is none of a tenant's. */
export function scheduleOfId(installation: string, scheduleId: string): { tenant: string; id: string } | undefined {
  const [whose, tenant = '', kind, id = '', ...rest] = scheduleId.split('/')
  const ours = whose === installation && kind === 'schedule' && rest.length === 0
  return ours && TENANT.test(tenant) && SCHEDULE_ID.test(id) ? { tenant, id } : undefined
}

export const verificationIdOf = (installation: string): string => `${installation}/${VERIFICATION}`

/**
 * The id of a run's workflow but for its time: Temporal adds that to what its schedules start, and so do we, so that a run has
 * one workflow however it is started.
 * @param tenant undefined for the pass over all logs
 */
export const runPrefixOf = (installation: string, tenant: string | undefined, schedule: string): string =>
  `${installation}/${tenant === undefined ? '' : `${tenant}/`}run/${schedule}`

/** @param scheduledAt as `RunId.scheduledAt` */
export const runWorkflowIdOf = (
  installation: string,
  tenant: string | undefined,
  schedule: string,
  scheduledAt: string,
): string => `${runPrefixOf(installation, tenant, schedule)}-${scheduledAt}`

/** A tenant's schedule of a report: every run that was missed is made up for, one after the other. */
export function wantedReport(
  { installation, taskQueue }: Place,
  tenant: string,
  id: string,
  schedule: ReportSchedule,
): Wanted {
  const input: ReportRunInput = { tenant, schedule: id }
  return {
    scheduleId: scheduleIdOf(installation, tenant, id),
    spec: { calendars: calendarsOf(patternsOf(schedule)), timezone: schedule.timeZone },
    action: {
      type: 'startWorkflow',
      workflowType: 'reportRun',
      workflowId: runPrefixOf(installation, tenant, id),
      taskQueue,
      args: [input],
    },
    policies: { overlap: ScheduleOverlapPolicy.BUFFER_ALL, catchupWindow: '365 days' },
    paused: schedule.paused,
  }
}

/** The nightly pass over all logs: of several that were missed one is enough, since it looks at everything. */
export function wantedVerification({ installation, taskQueue }: Place, patterns: readonly Pattern[]): Wanted {
  const input: VerificationInput = {}
  return {
    scheduleId: verificationIdOf(installation),
    spec: { calendars: calendarsOf(patterns), timezone: 'UTC' },
    action: {
      type: 'startWorkflow',
      workflowType: 'verification',
      workflowId: runPrefixOf(installation, undefined, VERIFICATION),
      taskQueue,
      args: [input],
    },
    policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '1 day' },
    paused: false,
  }
}

/** Whether Temporal has a schedule as it is wanted: when it is due, whether it is paused, and what it starts. */
export function isAsWanted({ spec, paused, action }: Wanted, described: Described): boolean {
  const { spec: found, state, action: started } = described
  if (!found || state.paused !== paused || started?.workflowType !== action.workflowType) return false
  if ((found.timezone ?? 'UTC') !== spec.timezone || found.jitter || found.startAt || found.endAt) return false
  if ((found.intervals?.length ?? 0) > 0 || (found.skip?.length ?? 0) > 0) return false
  return normal(found.calendars ?? []) === normal(spec.calendars ?? [])
}

function calendarsOf(patterns: readonly Pattern[]): CalendarSpecs {
  return patterns.map(({ minutes, hours, days, months, weekdays }) => ({
    second: 0,
    minute: ranges(minutes),
    hour: ranges(hours),
    dayOfMonth: ranges(days),
    month: ranges(months).map(({ start, end }) => ({ start: nameOf(MONTHS, start - 1), end: nameOf(MONTHS, end - 1) })),
    dayOfWeek: ranges(weekdays).map(({ start, end }) => ({
      start: nameOf(WEEKDAYS, start),
      end: nameOf(WEEKDAYS, end),
    })),
  }))
}

function nameOf<T extends string>(names: readonly T[], index: number): T {
  const name = names[index]
  if (name === undefined) throw new RangeError(`no month or day ${index}`)
  return name
}

interface Range {
  readonly start: number
  readonly end: number
}

/** @param values sorted */
function ranges(values: readonly number[]): Range[] {
  const found: Range[] = []
  for (const value of values) {
    const last = found.at(-1)
    if (last?.end === value - 1) found[found.length - 1] = { start: last.start, end: value }
    else found.push({ start: value, end: value })
  }
  return found
}

/** Calendars as a text that is the same for what means the same. */
function normal(calendars: readonly CalendarSpec[]): string {
  return calendars
    .map(({ second, minute, hour, dayOfMonth, month, dayOfWeek, year }) =>
      JSON.stringify([
        valuesOf(second, Number),
        valuesOf(minute, Number),
        valuesOf(hour, Number),
        valuesOf(dayOfMonth, Number),
        valuesOf(month, (name) => MONTHS.indexOf(name as (typeof MONTHS)[number])),
        valuesOf(dayOfWeek, (name) => WEEKDAYS.indexOf(name as (typeof WEEKDAYS)[number])),
        valuesOf(year, Number),
      ]),
    )
    .sort()
    .join()
}

/** Every value that ranges name, as Temporal describes them and as we write them. */
function valuesOf(given: unknown, toNumber: (value: unknown) => number): number[] {
  const each: unknown[] = given === undefined ? [] : Array.isArray(given) ? given : [given]
  const values = each.flatMap((item) => {
    if (typeof item !== 'object' || item === null) return [toNumber(item)]
    const { start, end = start, step = 1 } = item as { start: unknown; end?: unknown; step?: number }
    const [first, last] = [toNumber(start), toNumber(end)]
    return Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, n) => first + n * step)
  })
  return [...new Set(values)].sort((a, b) => a - b)
}
