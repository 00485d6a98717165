const DATE_TIME = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)$/
const WITHOUT_OFFSET = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?$/
const DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] as const

/**
 * Holds a time as its writer wrote it against RFC 3339: offset required, 0 to 9 digits of fraction, years 0001 to 9999,
 * a day that the calendar has. Leap seconds are refused although the RFC knows them: neither PostgreSQL nor `Date` can
 * tell 23:59:60 from the second after it, and an order by time that cannot be trusted is worse than a refusal.
 * @returns what is wrong and what to do, undefined when nothing is
 */
export function timeFault(text: string): string | undefined {
  if (!DATE_TIME.test(text)) {
    if (WITHOUT_OFFSET.test(text)) return 'has no offset: add Z or an offset such as +01:00'
    return 'is no RFC 3339 time with an offset and up to 9 digits of fraction: write it like 2026-11-20T10:00:00.123Z'
  }
  const year = digits(text, 0, 4)
  const month = digits(text, 5, 2)
  const day = digits(text, 8, 2)
  if (year === 0) return 'lies in year 0000: years run from 0001 to 9999'
  if (month < 1 || month > 12) return `has no month ${month}: months run from 01 to 12`
  if (day < 1 || day > daysIn(year, month)) return `names a day that the calendar does not have: ${text.slice(0, 10)}`
  if (digits(text, 11, 2) > 23) return 'has an hour beyond 23'
  if (digits(text, 14, 2) > 59) return 'has a minute beyond 59'
  const second = digits(text, 17, 2)
  if (second === 60) return 'names a leap second, which clocks cannot order: write second 59'
  if (second > 59) return 'has a second beyond 59'
  const offset = text.length - 5
  if (isOffset(text) && (digits(text, offset, 2) > 23 || digits(text, offset + 3, 2) > 59)) {
    return 'has an offset beyond 23:59'
  }
  return undefined
}

/** Milliseconds since 1970-01-01T00:00:00Z of a time that `timeFault` finds nothing wrong with; finer fractions are cut off. */
export function instantMs(text: string): number {
  const at = new Date(0)
  at.setUTCFullYear(digits(text, 0, 4), digits(text, 5, 2) - 1, digits(text, 8, 2)) // Date.UTC would take year 50 as 1950
  const fraction = text[19] === '.' ? /^\d+/.exec(text.slice(20))?.[0] : undefined
  const ms = fraction === undefined ? 0 : Number(fraction.padEnd(3, '0').slice(0, 3))
  at.setUTCHours(digits(text, 11, 2), digits(text, 14, 2), digits(text, 17, 2), ms)
  if (!isOffset(text)) return at.getTime()
  const sign = text[text.length - 6] === '-' ? -1 : 1
  const offset = digits(text, text.length - 5, 2) * 60 + digits(text, text.length - 2, 2)
  return at.getTime() - sign * offset * 60_000
}

/** The same in microseconds. */
export function instantUs(text: string): bigint {
  const fraction = text[19] === '.' ? (/^\d+/.exec(text.slice(20))?.[0] ?? '') : ''
  return BigInt(instantMs(text)) * 1000n + BigInt(fraction.padEnd(6, '0').slice(3, 6))
}

function isOffset(text: string): boolean {
  return text.charCodeAt(text.length - 3) === 0x3a // the colon of ±hh:mm
}

/** The number that `count` decimal digits from `at` on make. */
function digits(text: string, at: number, count: number): number {
  let value = 0
  for (let i = at; i < at + count; i++) value = value * 10 + (text.charCodeAt(i) - 0x30)
  return value
}

function daysIn(year: number, month: number): number {
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
  return month === 2 && leap ? 29 : (DAYS[month - 1] ?? 0)
}
