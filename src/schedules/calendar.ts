import { DomainError } from '../errors.js'

/** When something is due, in the wall-clock time of some zone. Days of the month and of the week must both match. */
export interface Calendar {
  /** 0 to 59; 0 where it is left out. */
  readonly minute?: number | readonly number[]
  /** 0 to 23; 0 where it is left out. */
  readonly hour?: number | readonly number[]
  /** 1 to 31; any where it is left out. */
  readonly dayOfMonth?: number | readonly number[]
  /** 1 to 12; any where it is left out. */
  readonly month?: number | readonly number[]
  /** Any where it is left out. */
  readonly dayOfWeek?: Weekday | readonly Weekday[]
}

export const WEEKDAYS = ['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday'] as const
export type Weekday = (typeof WEEKDAYS)[number]

/** What a calendar or a cron line comes down to: a time is due when each of its parts is listed. Sorted, without repeats. */
export interface Pattern {
  readonly minutes: readonly number[]
  readonly hours: readonly number[]
  /** 1 to 31 */
  readonly days: readonly number[]
  /** 1 to 12 */
  readonly months: readonly number[]
  /** 0 to 6, 0 is Sunday */
  readonly weekdays: readonly number[]
}

interface Field {
  readonly name: string
  readonly least: number
  readonly most: number
  readonly names: readonly string[]
}

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'] as const
const MINUTE: Field = { name: 'minute', least: 0, most: 59, names: [] }
const HOUR: Field = { name: 'hour', least: 0, most: 23, names: [] }
const DAY: Field = { name: 'day of the month', least: 1, most: 31, names: [] }
const MONTH: Field = { name: 'month', least: 1, most: 12, names: MONTHS }
/** 7 is Sunday too. */
const WEEKDAY: Field = { name: 'day of the week', least: 0, most: 7, names: WEEKDAYS.map((day) => day.slice(0, 3)) }

const SHORTHANDS: Readonly<Record<string, string>> = {
  '@hourly': '0 * * * *',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@weekly': '0 0 * * 0',
  '@monthly': '0 0 1 * *',
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
}

/**
 * Reads a line of cron: minute, hour, day of the month, month, day of the week, with lists, ranges, steps and English names.
 * As in cron, where both kinds of days are narrowed, either is enough.
 * @returns patterns of which any may match
 * @throws DomainError SCHEDULE_CRON_INVALID
 */
export function patternsOfCron(cron: string): Pattern[] {
  const fields = (SHORTHANDS[cron.trim().toLowerCase()] ?? cron).trim().split(/\s+/)
  if (fields.length !== 5) {
    throw cronInvalid(
      `a line of cron has 5 fields (minute, hour, day of the month, month, day of the week), and this has ${fields.length}`,
    )
  }
  const [minute = '', hour = '', day = '', month = '', weekday = ''] = fields
  const days = valuesOf(DAY, day)
  const weekdays = sorted(valuesOf(WEEKDAY, weekday).map((value) => value % 7))
  const time = { minutes: valuesOf(MINUTE, minute), hours: valuesOf(HOUR, hour), months: valuesOf(MONTH, month) }
  if (days.length === ALL.days.length || weekdays.length === ALL.weekdays.length) return [{ ...time, days, weekdays }]
  return [
    { ...time, days, weekdays: ALL.weekdays },
    { ...time, days: ALL.days, weekdays },
  ]
}

/** @throws DomainError SCHEDULE_CALENDAR_INVALID */
export function patternsOfCalendar(calendar: Calendar): Pattern[] {
  const { minute = 0, hour = 0, dayOfMonth, month, dayOfWeek } = calendar
  return [
    {
      minutes: listed(MINUTE, minute, 'minute'),
      hours: listed(HOUR, hour, 'hour'),
      days: dayOfMonth === undefined ? ALL.days : listed(DAY, dayOfMonth, 'dayOfMonth'),
      months: month === undefined ? ALL.months : listed(MONTH, month, 'month'),
      weekdays: dayOfWeek === undefined ? ALL.weekdays : listedWeekdays(dayOfWeek),
    },
  ]
}

const from = (least: number, most: number): number[] => Array.from({ length: most - least + 1 }, (_, n) => least + n)
const ALL = { days: from(1, 31), months: from(1, 12), weekdays: from(0, 6) }

function listed({ name, least, most }: Field, given: number | readonly number[], member: string): number[] {
  const values = typeof given === 'number' ? [given] : given
  if (values.length > 0 && values.every((value) => Number.isInteger(value) && value >= least && value <= most)) {
    return sorted(values)
  }
  throw new DomainError('SCHEDULE_CALENDAR_INVALID', `a ${name} is a whole number from ${least} to ${most}`, {
    pointer: `/calendar/${member}`,
  })
}

function listedWeekdays(given: Weekday | readonly Weekday[]): number[] {
  const values = (typeof given === 'string' ? [given] : given).map((day) => WEEKDAYS.indexOf(day))
  if (values.length > 0 && !values.includes(-1)) return sorted(values)
  throw new DomainError('SCHEDULE_CALENDAR_INVALID', `a day of the week is one of ${WEEKDAYS.join(', ')}`, {
    pointer: '/calendar/dayOfWeek',
  })
}

function valuesOf(field: Field, text: string): number[] {
  return sorted(text.split(',').flatMap((part) => valuesOfPart(field, part)))
}

function valuesOfPart(field: Field, part: string): number[] {
  const [, range = '', step] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(part) ?? []
  const by = step === undefined ? 1 : Number(step)
  const ends =
    range === '*' ? [field.least, Math.min(field.most, field === WEEKDAY ? 6 : field.most)] : endsOf(field, range)
  const [first, last = step === undefined ? first : field.most] = ends
  if (first === undefined || last === undefined || first > last || by < 1) {
    throw cronInvalid(
      `${JSON.stringify(part.slice(0, 40))} is no ${field.name}: use *, numbers from ${field.least} to ${field.most}, 1-5, 1,3 or */2`,
    )
  }
  return from(first, last).filter((value) => (value - first) % by === 0)
}

function endsOf(field: Field, range: string): (number | undefined)[] {
  const ends = range.split('-').map((text) => valueOf(field, text))
  return ends.length > 2 || ends.includes(undefined) ? [] : ends
}

function valueOf({ least, most, names }: Field, text: string): number | undefined {
  const named = names.indexOf(text.toLowerCase())
  const value = named >= 0 ? named + least : /^\d{1,3}$/.test(text) ? Number(text) : -1
  return value >= least && value <= most ? value : undefined
}

function sorted(values: readonly number[]): number[] {
  return [...new Set(values)].sort((a, b) => a - b)
}

function cronInvalid(message: string): DomainError {
  return new DomainError('SCHEDULE_CRON_INVALID', message, { pointer: '/cron' })
}
