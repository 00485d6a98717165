import { iso, type ZoneClock } from '../../reports/zone.js'

export const PERIODS = ['day', 'week', 'month', 'quarter', 'year'] as const
export type Period = (typeof PERIODS)[number]

/** Days of a wall clock, `2026-11-01`. */
export interface PeriodDays {
  readonly from: string
  /** The first day after it. */
  readonly to: string
}

/**
 * The last whole period before a moment: at midnight on 1 December the month is November. It follows from when a run was
 * due and not from when it ran, so a run that is made up for later covers what it would have covered.
 * Weeks begin on Monday (ISO 8601).
 */
export function lastPeriod(period: Period, atMs: number, clock: ZoneClock): PeriodDays {
  const today = new Date(clock.localMs(atMs))
  const [year, month, day] = [today.getUTCFullYear(), today.getUTCMonth(), today.getUTCDate()]
  const monday = day - ((today.getUTCDay() + 6) % 7)
  const quarter = month - (month % 3)
  const whole: Readonly<Record<Period, readonly [from: Day, to: Day]>> = {
    day: [
      [year, month, day - 1],
      [year, month, day],
    ],
    week: [
      [year, month, monday - 7],
      [year, month, monday],
    ],
    month: [
      [year, month - 1, 1],
      [year, month, 1],
    ],
    quarter: [
      [year, quarter - 3, 1],
      [year, quarter, 1],
    ],
    year: [
      [year - 1, 0, 1],
      [year, 0, 1],
    ],
  }
  const [from, to] = whole[period]
  return { from: text(from), to: text(to) }
}

type Day = readonly [year: number, month: number, day: number]

/** Months and days may lie outside their range, as in `Date.UTC`. */
function text([year, month, day]: Day): string {
  return iso(Date.UTC(year, month, day)).slice(0, 10)
}
