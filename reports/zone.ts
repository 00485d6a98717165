import { DomainError } from '../src/errors.js'

const MINUTE_MS = 60_000
const DAY_MS = 1_440 * MINUTE_MS
const BLOCK_MS = 15 * MINUTE_MS
const CACHED_BLOCKS = 4_096

/** Reads instants as a wall clock in one time zone would show them. */
export interface ZoneClock {
  timeZone: string
  /** The wall clock's reading, as the instant at which a UTC clock shows the same; NaN stays NaN. */
  localMs(instantMs: number): number
  /** The instant at which the wall clock shows a reading, the first of two; of one that it skips, as much after the gap. */
  instantOf(localMs: number): number
  /** `2026-11-20 11:00:00.123` */
  text(instantMs: number): string
  /** `2026-11-20T11:00:00.123+01:00`: RFC 3339; a zone's second-precise offsets of the 19th century print as `+00:53:28`. */
  withOffset(instantMs: number): string
}

/**
 * @param timeZone IANA name, such as `Europe/Berlin` or `UTC`
 * @throws DomainError REPORT_TIME_ZONE_UNKNOWN
 */
export function zoneClock(timeZone: string): ZoneClock {
  const format = formatter(timeZone)
  const offsets = new Map<number, number>()

  function offsetMs(instantMs: number): number {
    if (timeZone === 'UTC' || Number.isNaN(instantMs)) return 0
    // Asking Intl costs microseconds; a block of time with one offset at both ends has it throughout.
    const block = Math.floor(instantMs / BLOCK_MS)
    const known = offsets.get(block)
    if (known !== undefined) return known
    const [start, end] = [exactOffsetMs(format, block * BLOCK_MS), exactOffsetMs(format, (block + 1) * BLOCK_MS - 1000)]
    if (start !== end) return exactOffsetMs(format, instantMs)
    if (offsets.size >= CACHED_BLOCKS) offsets.clear()
    offsets.set(block, start)
    return start
  }

  const localMs = (instantMs: number) => instantMs + offsetMs(instantMs)
  return {
    timeZone,
    localMs,
    instantOf(local) {
      const before = local - offsetMs(local - DAY_MS)
      const after = local - offsetMs(local + DAY_MS)
      const shown = [before, after].filter((instant) => localMs(instant) === local)
      return shown.length > 0 ? Math.min(...shown) : Math.max(before, after)
    },
    text: (instantMs) => iso(localMs(instantMs)).replace('T', ' '),
    withOffset: (instantMs) => iso(localMs(instantMs)) + offsetText(offsetMs(instantMs)),
  }
}

/** `2026-11-20T11:00:00.123`, years with at least four digits. */
export function iso(localMs: number): string {
  return Number.isNaN(localMs) ? '' : new Date(localMs).toISOString().slice(0, -1)
}

function formatter(timeZone: string): Intl.DateTimeFormat {
  try {
    return new Intl.DateTimeFormat('en-US', {
      timeZone,
      calendar: 'gregory',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      era: 'short',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    })
  } catch {
    throw new DomainError(
      'REPORT_TIME_ZONE_UNKNOWN',
      `there is no time zone ${JSON.stringify(timeZone)}: use an IANA name such as Europe/Berlin or UTC`,
      { pointer: '/timeZone' },
    )
  }
}

function exactOffsetMs(format: Intl.DateTimeFormat, instantMs: number): number {
  const part: Record<string, string> = {}
  for (const { type, value } of format.formatToParts(instantMs)) part[type] = value
  const number = (name: string) => Number(part[name])
  const year = part['era'] === 'BC' ? 1 - number('year') : number('year')
  const local = new Date(0)
  local.setUTCFullYear(year, number('month') - 1, number('day'))
  local.setUTCHours(number('hour'), number('minute'), number('second'))
  return local.getTime() - Math.floor(instantMs / 1000) * 1000
}

function offsetText(offsetMs: number): string {
  if (offsetMs === 0) return 'Z'
  const seconds = Math.abs(offsetMs) / 1000
  const two = (value: number) => String(Math.floor(value)).padStart(2, '0')
  const text = `${offsetMs < 0 ? '-' : '+'}${two(seconds / 3600)}:${two((seconds / 60) % 60)}`
  return seconds % 60 === 0 ? text : `${text}:${two(seconds % 60)}`
}
