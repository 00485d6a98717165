import { expect, test } from 'vitest'
import { zoneClock } from '../../reports/zone.js'

test.each([
  { zone: 'UTC', at: '2026-11-20T10:00:00.123Z', local: '2026-11-20T10:00:00.123Z' },
  { zone: 'Europe/Berlin', at: '2026-10-25T00:59:59.999Z', local: '2026-10-25T02:59:59.999+02:00' },
  { zone: 'Europe/Berlin', at: '2026-10-25T01:00:00.000Z', local: '2026-10-25T02:00:00.000+01:00' },
  { zone: 'Asia/Kathmandu', at: '2026-11-20T10:00:00.000Z', local: '2026-11-20T15:45:00.000+05:45' },
  { zone: 'America/St_Johns', at: '2026-11-20T01:00:00.000Z', local: '2026-11-19T21:30:00.000-03:30' },
  { zone: 'Africa/Monrovia', at: '1972-01-07T00:44:29.000Z', local: '1972-01-06T23:59:59.000-00:44:30' },
  { zone: 'Africa/Monrovia', at: '1972-01-07T00:44:30.000Z', local: '1972-01-07T00:44:30.000Z' },
  { zone: 'Europe/Berlin', at: '0001-01-01T00:00:00.000Z', local: '0001-01-01T00:53:28.000+00:53:28' },
  { zone: 'America/New_York', at: '0001-01-01T00:00:00.000Z', local: '0000-12-31T19:03:58.000-04:56:02' },
])('$at in $zone is $local', ({ zone, at, local }) => {
  expect(zoneClock(zone).withOffset(Date.parse(at))).toBe(local)
})

test('a time zone that does not exist is refused', () => {
  expect(() => zoneClock('Mars/Olympus')).toThrow(expect.objectContaining({ code: 'REPORT_TIME_ZONE_UNKNOWN' }))
})

test.each([
  { zone: 'UTC', day: '2026-11-20', start: '2026-11-20T00:00:00.000Z' },
  { zone: 'Europe/Berlin', day: '2026-10-25', start: '2026-10-24T22:00:00.000Z' },
  { zone: 'Europe/Berlin', day: '2026-10-26', start: '2026-10-25T23:00:00.000Z' },
  { zone: 'Pacific/Kiritimati', day: '2026-11-20', start: '2026-11-19T10:00:00.000Z' },
  // Clocks went from midnight to one: the day has no midnight.
  { zone: 'America/Sao_Paulo', day: '2018-11-04', start: '2018-11-04T03:00:00.000Z' },
  // Clocks went from midnight back to eleven: the day before shows its last hour twice.
  { zone: 'America/Sao_Paulo', day: '2018-02-18', start: '2018-02-18T03:00:00.000Z' },
  // Clocks went from one back to midnight: the first of two midnights.
  { zone: 'America/Havana', day: '2026-11-01', start: '2026-11-01T04:00:00.000Z' },
])('the day $day begins in $zone at $start', ({ zone, day, start }) => {
  expect(new Date(zoneClock(zone).instantOf(Date.parse(day))).toISOString()).toBe(start)
})
