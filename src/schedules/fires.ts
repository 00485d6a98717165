import type { ZoneClock } from '../../reports/zone.js'
import type { Pattern } from './calendar.js'

const MINUTE_MS = 60_000
export const DAY_MS = 1_440 * MINUTE_MS
/** 29 February on a Monday can be 40 years away: 2096 is followed by 2104. Whatever comes, comes within this. */
const HORIZON_DAYS = 50 * 366

/**
 * The moments that patterns name, in order, strictly after one moment. A wall clock's reading that a zone skips is no
 * moment; of one that it shows twice the second is: Temporal takes one of the two or both, as the zone lies, and what it has yet
 * to start must not look missing.
 * @param afterMs and the moments: milliseconds since 1970
 */
export function* fires(patterns: readonly Pattern[], clock: ZoneClock, afterMs: number): Generator<number, void> {
  const local = clock.localMs(afterMs)
  // A day earlier, because around a change of the clock readings and moments disagree about what comes after.
  const first = Math.floor(local / DAY_MS) - 1
  let last = afterMs
  for (let day = first; day < first + HORIZON_DAYS; day++) {
    for (const reading of readingsOf(patterns, day * DAY_MS)) {
      const instant = lastInstantOf(clock, reading)
      if (instant === undefined || instant <= last) continue
      last = instant
      yield instant
    }
  }
}

/** The first moment after another; undefined where there is never one. */
export function nextFire(patterns: readonly Pattern[], clock: ZoneClock, afterMs: number): number | undefined {
  for (const fire of fires(patterns, clock, afterMs)) return fire
  return undefined
}

/** The moments from one, itself included, to another, itself excluded; at most `limit`. */
export function firesBetween(
  patterns: readonly Pattern[],
  clock: ZoneClock,
  fromMs: number,
  toMs: number,
  limit: number,
): number[] {
  const found: number[] = []
  for (const fire of fires(patterns, clock, fromMs - 1)) {
    if (fire >= toMs || found.length === limit) break
    found.push(fire)
  }
  return found
}

/** Whether patterns name what the wall clock shows at a moment: of a reading that is shown twice, both. */
export function isFire(patterns: readonly Pattern[], clock: ZoneClock, atMs: number): boolean {
  const reading = clock.localMs(atMs)
  return readingsOf(patterns, Math.floor(reading / DAY_MS) * DAY_MS).includes(reading)
}

/** The last instant at which the wall clock shows a reading; undefined for one that it skips. */
function lastInstantOf(clock: ZoneClock, reading: number): number | undefined {
  const first = clock.instantOf(reading)
  if (clock.localMs(first) !== reading) return undefined
  const hoursLater = first + 3 * 60 * MINUTE_MS
  const second = reading - (clock.localMs(hoursLater) - hoursLater)
  return second > first && clock.localMs(second) === reading ? second : first
}

/**
 * How close to each other two moments can come at least, in minutes: exact within a day, and across midnight as if any day
 * could follow any other. Infinity for a single moment a day.
 */
export function leastGapMinutes(patterns: readonly Pattern[]): number {
  const times = [...new Set(patterns.flatMap(timesOfDay))].sort((a, b) => a - b)
  const [first] = times
  const last = times.at(-1)
  if (first === undefined || last === undefined || first === last) return Infinity
  const gaps = times.slice(1).map((time, n) => time - (times[n] ?? 0))
  return Math.min(...gaps, first + 1_440 - last)
}

/** Minutes since midnight. */
function timesOfDay({ hours, minutes }: Pattern): number[] {
  return hours.flatMap((hour) => minutes.map((minute) => hour * 60 + minute))
}

/** @param dayMs a day's start as a UTC clock would show it */
function readingsOf(patterns: readonly Pattern[], dayMs: number): number[] {
  const date = new Date(dayMs)
  const [day, month, weekday] = [date.getUTCDate(), date.getUTCMonth() + 1, date.getUTCDay()]
  const matching = patterns.filter(
    ({ days, months, weekdays }) => days.includes(day) && months.includes(month) && weekdays.includes(weekday),
  )
  if (matching.length === 0) return []
  return [...new Set(matching.flatMap(timesOfDay))].sort((a, b) => a - b).map((minutes) => dayMs + minutes * MINUTE_MS)
}
