import { afterAll, beforeAll, expect, test } from 'vitest'
import { zoneClock } from '../../reports/zone.js'
import { patternsOfCron } from '../../src/schedules/calendar.js'
import { firesBetween, isFire } from '../../src/schedules/fires.js'
import { wantedReport } from '../../src/schedules/temporal-schedule.js'
import { testTemporal, type TestTemporal } from '../support/temporal.js'

// Runs that were missed are found by our own reading of calendars, so it must be Temporal's too, also where clocks change.

let temporal: TestTemporal
beforeAll(async () => {
  temporal = await testTemporal()
})
afterAll(() => temporal.close())

test.each([
  ['0 2 * * *', 'UTC'],
  ['*/15 * * * *', 'Asia/Kathmandu'],
  ['30 6 1 * *', 'Europe/Berlin'],
  ['0 9 13 * 5', 'UTC'],
  ['0 0 29 2 *', 'America/Sao_Paulo'],
  // The reading that is skipped in spring, and the one that is shown twice in autumn.
  ['30 2 25-31 3 *', 'Europe/Berlin'],
  ['30 2 25-31 10 *', 'Europe/Berlin'],
  ['30 1 1-7 11 *', 'America/New_York'],
  ['0 0-5 14 3 *', 'America/New_York'],
  ['15 2 1-8 10 *', 'Australia/Lord_Howe'],
  ['0 0-5 31 10 *', 'Europe/Berlin'],
])('"%s" in %s is due when Temporal says so', async (cron, timeZone) => {
  const schedule = {
    kind: 'report' as const,
    report: 'audit-trail',
    period: 'day' as const,
    parameters: {},
    cron,
    timeZone,
    paused: false,
    recipients: [],
  }
  const { paused, ...wanted } = wantedReport({ installation: 'test', taskQueue: 'none' }, 'acme', 'due', schedule)
  const handle = await temporal.temporal.client.schedule.create({ ...wanted, state: { paused } })
  try {
    const { nextActionTimes } = (await handle.describe()).info
    expect(nextActionTimes.length).toBeGreaterThan(1)
    const [patterns, clock] = [patternsOfCron(cron), zoneClock(timeZone)]
    // Of half an hour that is skipped Temporal takes what lies behind it; of a reading that is shown twice either, or both.
    const theirs = nextActionTimes.map((time) => time.getTime()).filter((time) => isFire(patterns, clock, time))
    const ours = firesBetween(patterns, clock, theirs[0] ?? 0, (theirs.at(-1) ?? 0) + 1, 100)
    const shown = (times: readonly number[]) => [...new Set(times.map((time) => clock.text(time)))]
    expect(shown(ours)).toEqual(shown(theirs))
    // Ours is the later one, so that nothing looks missing that Temporal has yet to start.
    for (const time of theirs)
      expect(ours.some((own) => own >= time && clock.text(own) === clock.text(time))).toBe(true)
  } finally {
    await handle.delete()
  }
})
