import { describe, expect, test } from 'vitest'
import { zoneClock } from '../../reports/zone.js'
import { patternsOfCalendar, patternsOfCron, type Calendar } from '../../src/schedules/calendar.js'
import { fires, firesBetween, isFire, leastGapMinutes, nextFire } from '../../src/schedules/fires.js'
import { lastPeriod, PERIODS } from '../../src/schedules/period.js'

const text = (ms: number) => new Date(ms).toISOString().slice(0, 16)

/** The first moments of a line of cron after a time. */
function firesOf(cron: string, after: string, count: number, zone = 'UTC'): string[] {
  const found: string[] = []
  for (const fire of fires(patternsOfCron(cron), zoneClock(zone), Date.parse(`${after}Z`))) {
    found.push(text(fire))
    if (found.length === count) break
  }
  return found
}

test.each([
  ['0 2 * * *', '2026-11-21T01:59', ['2026-11-21T02:00', '2026-11-22T02:00']],
  ['0 2 * * *', '2026-11-21T02:00', ['2026-11-22T02:00', '2026-11-23T02:00']],
  ['30 6 1 * *', '2026-11-21T00:00', ['2026-12-01T06:30', '2027-01-01T06:30']],
  ['0 0 1 */3 *', '2026-11-21T00:00', ['2027-01-01T00:00', '2027-04-01T00:00']],
  ['0 7 * * mon-fri', '2026-11-20T08:00', ['2026-11-23T07:00', '2026-11-24T07:00']],
  ['0 7 * * 1-5', '2026-11-20T08:00', ['2026-11-23T07:00', '2026-11-24T07:00']],
  ['0 7 * * 7', '2026-11-20T08:00', ['2026-11-22T07:00', '2026-11-29T07:00']],
  ['0 7 * * Sun', '2026-11-20T08:00', ['2026-11-22T07:00', '2026-11-29T07:00']],
  ['15,45 8-9 * * *', '2026-11-20T08:20', ['2026-11-20T08:45', '2026-11-20T09:15']],
  ['0 0 29 2 *', '2026-11-20T08:20', ['2028-02-29T00:00', '2032-02-29T00:00']],
  ['0 0 29 2 *', '2096-03-01T00:00', ['2104-02-29T00:00', '2108-02-29T00:00']],
  ['0 0 31 jan,mar *', '2026-11-20T08:20', ['2027-01-31T00:00', '2027-03-31T00:00']],
  // Either kind of day is enough where both are narrowed, as in cron.
  ['0 0 13 * 5', '2026-11-01T00:00', ['2026-11-06T00:00', '2026-11-13T00:00', '2026-11-20T00:00']],
  ['@monthly', '2026-11-20T08:20', ['2026-12-01T00:00']],
  ['@hourly', '2026-11-20T08:20', ['2026-11-20T09:00', '2026-11-20T10:00']],
])('"%s" after %s', (cron, after, expected) => {
  expect(firesOf(cron, after, expected.length)).toEqual(expected)
})

describe('where clocks change', () => {
  test('a reading that the clock skips is no moment', () => {
    expect(firesOf('30 2 * * *', '2026-03-28T00:00', 3, 'Europe/Berlin')).toEqual([
      '2026-03-28T01:30',
      '2026-03-30T00:30',
      '2026-03-31T00:30',
    ])
  })

  test('of a reading that the clock shows twice the second is', () => {
    expect(firesOf('30 2 * * *', '2026-10-24T00:00', 3, 'Europe/Berlin')).toEqual([
      '2026-10-24T00:30',
      '2026-10-25T01:30',
      '2026-10-26T01:30',
    ])
  })

  test('either of the two readings counts as due', () => {
    const clock = zoneClock('Europe/Berlin')
    const is = (at: string) => isFire(patternsOfCron('30 2 * * *'), clock, Date.parse(at))
    const times = ['2026-10-25T00:30:00Z', '2026-10-25T01:30:00Z', '2026-10-25T02:30:00Z', '2026-10-25T01:30:01Z']
    expect(times.map(is)).toEqual([true, true, false, false])
  })

  test('the same reading is another moment in summer', () => {
    expect(firesOf('0 6 1 * *', '2026-03-15T00:00', 1, 'Europe/Berlin')).toEqual(['2026-04-01T04:00'])
    expect(firesOf('0 6 1 * *', '2026-11-15T00:00', 1, 'Europe/Berlin')).toEqual(['2026-12-01T05:00'])
    expect(firesOf('0 6 1 * *', '2026-11-15T00:00', 1, 'Pacific/Auckland')).toEqual(['2026-11-30T17:00'])
  })
})

test.each<Calendar>([
  { dayOfMonth: 31, month: 2 },
  { dayOfMonth: [30, 31], month: 2 },
  { dayOfMonth: 31, month: [4, 6, 9, 11] },
])('%j never comes', (calendar) => {
  expect(nextFire(patternsOfCalendar(calendar), zoneClock('UTC'), Date.parse('2026-11-21T00:00:00Z'))).toBeUndefined()
})

test('days of the month and of the week of a calendar must both match', () => {
  const friday13 = patternsOfCalendar({ dayOfMonth: 13, dayOfWeek: 'friday', hour: 9 })
  const found = firesBetween(friday13, zoneClock('UTC'), Date.parse('2026-01-01'), Date.parse('2027-01-01'), 10)
  expect(found.map(text)).toEqual(['2026-02-13T09:00', '2026-03-13T09:00', '2026-11-13T09:00'])
  const leapMonday = patternsOfCalendar({ dayOfMonth: 29, month: 2, dayOfWeek: 'monday' })
  expect(text(nextFire(leapMonday, zoneClock('UTC'), Date.parse('2080-01-01')) ?? 0)).toBe('2112-02-29T00:00')
})

test.each([
  '',
  '* * * *',
  '* * * * * *',
  '60 * * * *',
  '0 24 * * *',
  '0 0 0 * *',
  '0 0 32 * *',
  '0 0 1 13 *',
  '0 0 * * 8',
  '5-1 * * * *',
  '*/0 * * * *',
  'a * * * *',
  '0 0 * foo *',
  '1- * * * *',
  '1-2-3 * * * *',
  '0 0 L * *',
  '0 0 ? * *',
  '@never',
  '-1 * * * *',
  '1,,2 * * * *',
])('%j is no line of cron', (cron) => {
  expect(() => patternsOfCron(cron)).toThrow(
    expect.objectContaining({ code: 'SCHEDULE_CRON_INVALID', pointer: '/cron' }),
  )
})

test.each<[Calendar, string]>([
  [{ minute: 60 }, 'minute'],
  [{ hour: [] }, 'hour'],
  [{ dayOfMonth: 0 }, 'dayOfMonth'],
  [{ month: 1.5 }, 'month'],
  [{ dayOfWeek: 'Monday' as 'monday' }, 'dayOfWeek'],
])('%j is no calendar', (calendar, member) => {
  const refused = { code: 'SCHEDULE_CALENDAR_INVALID', pointer: `/calendar/${member}` }
  expect(() => patternsOfCalendar(calendar)).toThrow(expect.objectContaining(refused))
})

test.each([
  ['* * * * *', 1],
  ['*/20 * * * *', 20],
  ['*/25 * * * *', 10],
  ['0 * * * *', 60],
  ['0,59 0,23 * * *', 1],
  ['0 2 * * *', Infinity],
  ['0 2,3 1 1 *', 60],
])('%j comes at least %d minutes apart', (cron, minutes) => {
  expect(leastGapMinutes(patternsOfCron(cron))).toBe(minutes)
})

describe('the last whole period', () => {
  const inBerlin = (at: string) =>
    PERIODS.map((period) => {
      const { from, to } = lastPeriod(period, Date.parse(at), zoneClock('Europe/Berlin'))
      return `${from} ${to}`
    })

  test('at midnight ends with the day before', () => {
    // 1 January 2027 in Berlin; in UTC it is the old year still.
    expect(inBerlin('2026-12-31T23:00:00Z')).toEqual([
      '2026-12-31 2027-01-01',
      '2026-12-21 2026-12-28',
      '2026-12-01 2027-01-01',
      '2026-10-01 2027-01-01',
      '2026-01-01 2027-01-01',
    ])
    expect(inBerlin('2026-12-31T22:59:59Z')).toEqual([
      '2026-12-30 2026-12-31',
      '2026-12-21 2026-12-28',
      '2026-11-01 2026-12-01',
      '2026-07-01 2026-10-01',
      '2025-01-01 2026-01-01',
    ])
  })

  test('of weeks begins on Monday', () => {
    expect(lastPeriod('week', Date.parse('2026-11-22T23:59:59Z'), zoneClock('UTC'))).toEqual({
      from: '2026-11-09',
      to: '2026-11-16',
    })
    expect(lastPeriod('week', Date.parse('2026-11-23T00:00:00Z'), zoneClock('UTC'))).toEqual({
      from: '2026-11-16',
      to: '2026-11-23',
    })
  })
})
