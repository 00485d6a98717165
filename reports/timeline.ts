const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const WEEK_MS = 7 * DAY_MS
// 1970-01-05 was the first Monday: weeks run from Monday (ISO 8601).
const FIRST_MONDAY_MS = 4 * DAY_MS

/** No more bars than this; the unit grows with the span instead. */
const MAX_BARS = 93
/** A unit with more buckets than this is given up: it would be too fine for the span anyway. Bounds memory. */
const MAX_BUCKETS = 4_000

export type TimelineUnit = 'hour' | 'day' | 'week' | 'month' | 'year'

export interface Bar {
  /** Start of the bucket on the wall clock: `2026-11-20T11`, `2026-11-20`, `2026-11` or `2026`. */
  start: string
  rows: number
  /** Of these, how many failed or were denied. */
  adverse: number
}

export interface Timeline {
  unit: TimelineUnit
  /** Units per bar: 1, except for years, of which one bar may hold several. */
  step: number
  /** Without gaps, in order. Empty when no row has a time. */
  bars: Bar[]
  /** Rows without the time that this timeline counts by. */
  undated: number
}

type Buckets = Map<number, { rows: number; adverse: number }>

/** Rows counted by wall clock in several units at once, since the span is only known at the end. */
export interface TimelineCounts {
  /** null once given up */
  hours: Buckets | null
  days: Buckets | null
  months: Buckets | null
  /** The years 0 to 10000 bound it. */
  years: Buckets
  undated: number
  /** Wall clock readings, in ms; Infinity and -Infinity before the first row. */
  first: number
  last: number
}

export function startTimeline(): TimelineCounts {
  return {
    hours: new Map(),
    days: new Map(),
    months: new Map(),
    years: new Map(),
    undated: 0,
    first: Infinity,
    last: -Infinity,
  }
}

/** @param localMs wall clock reading (see ZoneClock.localMs), NaN for none */
export function countTime(counts: TimelineCounts, localMs: number, adverse: boolean): void {
  if (Number.isNaN(localMs)) {
    counts.undated += 1
    return
  }
  counts.first = Math.min(counts.first, localMs)
  counts.last = Math.max(counts.last, localMs)
  counts.hours = add(counts.hours, Math.floor(localMs / HOUR_MS), adverse)
  counts.days = add(counts.days, Math.floor(localMs / DAY_MS), adverse)
  counts.months = add(counts.months, monthOf(localMs), adverse)
  add(counts.years, yearOf(localMs), adverse)
}

/**
 * The finest timeline with at most 93 bars. It spans the period where that has both ends and is not more than ten times as
 * long as the time between first and last row; otherwise from the first row to the last.
 * @param from first wall clock reading of the period, in ms
 * @param to first reading after it
 */
export function timelineOf(counts: TimelineCounts, from?: number, to?: number): Timeline {
  const { undated } = counts
  if (counts.first > counts.last) return { unit: 'day', step: 1, bars: [], undated }
  let [first, last] = [counts.first, counts.last]
  if (from !== undefined && to !== undefined && to - from <= 10 * (last - first)) {
    first = Math.min(first, from)
    last = Math.max(last, to - 1)
  }
  const hours = Math.floor(last / HOUR_MS) - Math.floor(first / HOUR_MS) + 1
  const days = Math.floor(last / DAY_MS) - Math.floor(first / DAY_MS) + 1
  const months = monthOf(last) - monthOf(first) + 1
  // A given-up unit has more buckets than bars are allowed, so it is never the one chosen here.
  if (hours <= 72 && counts.hours) {
    const start = (key: number) => iso(key * HOUR_MS).slice(0, 13)
    return { unit: 'hour', step: 1, bars: bars(counts.hours, Math.floor(first / HOUR_MS), hours, start), undated }
  }
  if (days <= MAX_BARS && counts.days) {
    const start = (key: number) => iso(key * DAY_MS).slice(0, -14)
    return { unit: 'day', step: 1, bars: bars(counts.days, Math.floor(first / DAY_MS), days, start), undated }
  }
  if (days <= 7 * MAX_BARS && counts.days) {
    const weekOf = (ms: number) => Math.floor((ms - FIRST_MONDAY_MS) / WEEK_MS)
    const weeks = merge(counts.days, (day) => weekOf(day * DAY_MS))
    const start = (key: number) => iso(key * WEEK_MS + FIRST_MONDAY_MS).slice(0, -14)
    return { unit: 'week', step: 1, bars: bars(weeks, weekOf(first), weekOf(last) - weekOf(first) + 1, start), undated }
  }
  if (months <= MAX_BARS && counts.months) {
    const start = (key: number) => `${year(Math.floor(key / 12))}-${String((key % 12) + 1).padStart(2, '0')}`
    return { unit: 'month', step: 1, bars: bars(counts.months, monthOf(first), months, start), undated }
  }
  const step = Math.ceil((yearOf(last) - yearOf(first) + 1) / MAX_BARS)
  const groups = merge(counts.years, (key) => Math.floor(key / step))
  const [start, end] = [Math.floor(yearOf(first) / step), Math.floor(yearOf(last) / step)]
  return { unit: 'year', step, bars: bars(groups, start, end - start + 1, (key) => year(key * step)), undated }
}

function add<B extends Buckets | null>(buckets: B, key: number, adverse: boolean): B | null {
  if (buckets === null) return null
  const bucket = buckets.get(key)
  if (bucket) {
    bucket.rows += 1
    if (adverse) bucket.adverse += 1
    return buckets
  }
  buckets.set(key, { rows: 1, adverse: adverse ? 1 : 0 })
  return buckets.size > MAX_BUCKETS ? null : buckets
}

function bars(buckets: Buckets, firstKey: number, count: number, start: (key: number) => string): Bar[] {
  return Array.from({ length: count }, (_, index) => {
    const key = firstKey + index
    return { start: start(key), ...(buckets.get(key) ?? { rows: 0, adverse: 0 }) }
  })
}

function merge(buckets: Buckets, keyOf: (key: number) => number): Buckets {
  const merged: Buckets = new Map()
  for (const [key, { rows, adverse }] of buckets) {
    const bucket = merged.get(keyOf(key)) ?? { rows: 0, adverse: 0 }
    merged.set(keyOf(key), { rows: bucket.rows + rows, adverse: bucket.adverse + adverse })
  }
  return merged
}

const iso = (ms: number) => new Date(ms).toISOString()
const yearOf = (ms: number) => new Date(ms).getUTCFullYear()
const monthOf = (ms: number) => yearOf(ms) * 12 + new Date(ms).getUTCMonth()
const year = (value: number) => String(value).padStart(4, '0')
