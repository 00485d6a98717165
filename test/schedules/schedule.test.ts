import { describe, expect, test } from 'vitest'
import { scheduledReports } from '../../reports/scheduled.js'
import { begin, completed, evolveRun, fail, foldRun, runOf, runStream, type RunState } from '../../src/schedules/run.js'
import { missingRuns, openRuns } from '../../src/schedules/missing.js'
import { patternsOfCron } from '../../src/schedules/calendar.js'
import {
  checkSchedule,
  foldSchedules,
  pause,
  remove,
  set,
  type ReportScheduleInput,
} from '../../src/schedules/schedule.js'
import { zoneClock } from '../../reports/zone.js'
import type { StreamEntry } from '../../src/ledger/streams.js'
import type { LeafEvent } from '../../src/ledger/event.js'

const NOW = Date.parse('2026-11-21T12:00:00Z')
const known = {
  reports: new Map([...scheduledReports].map(([name, { check }]) => [name, check])),
  webhooks: new Set(['ops']),
}
const monthly: ReportScheduleInput = { kind: 'report', report: 'audit-trail', period: 'month', cron: '30 6 1 * *' }

/** Entries as the log would hold them, a day apart. */
function entries(stream: string, events: readonly LeafEvent[]): StreamEntry[] {
  return events.map((event, n) => ({
    at: `2026-11-0${n + 1}T00:00:00.000Z`,
    by: 'service:host',
    via: 'host',
    log: '0'.repeat(32),
    seq: n + 1,
    tenant: 'acme',
    stream,
    version: n + 1,
    event,
  }))
}

describe('a definition', () => {
  test('has its standard values put in', () => {
    expect(checkSchedule(monthly, known, NOW)).toEqual({
      ...monthly,
      parameters: {},
      timeZone: 'UTC',
      paused: false,
      recipients: [],
    })
  })

  test('of every report there is can be scheduled', () => {
    for (const report of known.reports.keys())
      expect(checkSchedule({ ...monthly, report }, known, NOW).report).toBe(report)
  })

  test.each<[string, Partial<ReportScheduleInput>, string, string]>([
    ['a report that there is not', { report: 'gossip' }, 'REPORT_KIND_UNKNOWN', '/report'],
    ['a period that there is not', { period: 'decade' as 'year' }, 'SCHEDULE_INVALID', '/period'],
    [
      'a parameter that the report does not take',
      { parameters: { colour: 'red' } },
      'REPORT_PARAMETERS_INVALID',
      '/parameters/colour',
    ],
    [
      'a format that there is not',
      { parameters: { formats: ['doc'] } },
      'REPORT_PARAMETERS_INVALID',
      '/parameters/formats',
    ],
    [
      'a filter that matches nothing',
      { parameters: { filter: { outcome: 'maybe' } } },
      'REPORT_FILTER_INVALID',
      '/parameters/filter/outcome',
    ],
    [
      'a filter for what takes none',
      { report: 'change-approvals', parameters: { filter: { type: 'a.b' } } },
      'REPORT_FILTER_INVALID',
      '/parameters/filter/type',
    ],
    [
      'parameters without end',
      { parameters: { filter: { actor: 'x'.repeat(255) }, formats: Array(9_000).fill('csv') as string[] } },
      'SCHEDULE_INVALID',
      '/parameters',
    ],
    ['a webhook that there is not', { recipients: ['ops', 'nobody'] }, 'WEBHOOK_UNKNOWN', '/recipients/1'],
    ['too many recipients', { recipients: Array(17).fill('ops') as string[] }, 'SCHEDULE_INVALID', '/recipients'],
    ['a zone that there is not', { timeZone: 'Mars/Olympus' }, 'REPORT_TIME_ZONE_UNKNOWN', '/timeZone'],
    ['both ways of saying when', { calendar: {} }, 'SCHEDULE_INVALID', ''],
    ['what is no cron', { cron: 'now and then' }, 'SCHEDULE_CRON_INVALID', '/cron'],
    ['31 February', { cron: '0 0 31 2 *' }, 'SCHEDULE_NEVER_DUE', '/cron'],
    ['every minute', { cron: '* * * * *' }, 'SCHEDULE_TOO_FREQUENT', '/cron'],
    ['twice around midnight', { cron: '0,59 0,23 * * *' }, 'SCHEDULE_TOO_FREQUENT', '/cron'],
  ])('with %s is refused', (_, part, code, pointer) => {
    expect(() => checkSchedule({ ...monthly, ...part }, known, NOW)).toThrow(expect.objectContaining({ code, pointer }))
  })

  test('that says not when, or never, is refused', () => {
    const { cron: _, ...without } = monthly
    expect(() => checkSchedule(without, known, NOW)).toThrow(expect.objectContaining({ code: 'SCHEDULE_INVALID' }))
    const never = { ...without, calendar: { dayOfMonth: 31, month: 2 } }
    const refused = { code: 'SCHEDULE_NEVER_DUE', pointer: '/calendar' }
    expect(() => checkSchedule(never, known, NOW)).toThrow(expect.objectContaining(refused))
  })
})

describe('the fold', () => {
  const definition = checkSchedule(monthly, known, NOW)
  const stateOf = (events: readonly LeafEvent[]) => foldSchedules(entries('schedule/monthly', events)).get('monthly')

  test('setting what is set already records nothing', () => {
    const first = set(undefined, definition)
    expect(first).toHaveLength(1)
    expect(set(stateOf(first), { ...definition })).toEqual([])
    expect(pause(stateOf(first), 'monthly', false)).toEqual([])
    expect(pause(stateOf(first), 'monthly', true)).toMatchObject([{ data: { paused: true } }])
  })

  test('what is removed is not there, and can be set again', () => {
    const gone = stateOf([...set(undefined, definition), ...remove(stateOf(set(undefined, definition)), 'monthly')])
    expect(gone).toMatchObject({ version: 2 })
    expect(gone?.schedule).toBeUndefined()
    expect(() => remove(gone, 'monthly')).toThrow(expect.objectContaining({ code: 'SCHEDULE_UNKNOWN' }))
    expect(set(gone, definition)).toHaveLength(1)
  })

  test('it is due since its calendar holds without a break: other recipients are none, a pause is', () => {
    const at = (schedule: object): LeafEvent => ({
      type: 'schedule.set',
      data: { ...definition, ...schedule } as never,
    })
    expect(stateOf([at({}), at({ recipients: ['ops'] })])?.since).toBe('2026-11-01T00:00:00.000Z')
    expect(stateOf([at({}), at({ cron: '0 7 1 * *' })])?.since).toBe('2026-11-02T00:00:00.000Z')
    expect(stateOf([at({}), at({ paused: true }), at({})])?.since).toBe('2026-11-03T00:00:00.000Z')
  })
})

describe('a run', () => {
  const id = { schedule: 'monthly', scheduledAt: '2026-12-01T06:30:00Z' }
  const schedule = checkSchedule(monthly, known, NOW)
  const after = (...events: LeafEvent[]): RunState | undefined => foldRun(entries(runStream(id), events))
  const requested: LeafEvent = { type: 'run.requested', data: { kind: 'report' } }

  test('is named by its schedule and when it was due', () => {
    expect(runStream(id)).toBe('run/monthly/20261201T063000Z')
    expect(runOf(runStream(id))).toEqual(id)
  })

  test('begins once, with the period that follows from when it was due', () => {
    const begun = begin(undefined, id, schedule, 'R1')
    expect(begun).toMatchObject([
      { type: 'run.started', data: { period: { from: '2026-11-01', to: '2026-12-01' }, reportId: 'R1', due: true } },
    ])
    expect(begin(after(...begun), id, schedule, 'R2')).toEqual([])
    expect(begin(after(...begun, ...completed(after(...begun), { report: 'R1' })), id, schedule, 'R2')).toEqual([])
    const offTime = { ...id, scheduledAt: '2026-12-01T06:31:00Z' }
    expect(begin(undefined, offTime, schedule, 'R1')).toMatchObject([{ data: { due: false } }])
  })

  test('of a paused or removed schedule begins only where somebody asked', () => {
    expect(begin(undefined, id, { ...schedule, paused: true }, 'R1')).toEqual([])
    expect(begin(after(requested), id, { ...schedule, paused: true }, 'R1')).toHaveLength(1)
    expect(begin(undefined, id, undefined, 'R1')).toEqual([])
    expect(begin(after(requested), id, undefined, 'R1')).toMatchObject([
      { type: 'run.failed', data: { code: 'SCHEDULE_UNKNOWN' } },
    ])
  })

  test('ends once', () => {
    const begun = begin(undefined, id, schedule, 'R1')
    const done = [...begun, ...completed(after(...begun), { report: 'R1' })]
    expect(completed(after(...done), { report: 'R2' })).toEqual([])
    expect(fail(after(...done), 'RUN_TIMED_OUT')).toEqual([])
    expect(after(...done)).toMatchObject({ status: 'completed', endedSeq: 2 })
  })

  test('is open until it has ended and everybody was told', () => {
    const begun = begin(undefined, id, { ...schedule, recipients: ['ops', 'audit'] }, 'R1')
    const done = [...begun, ...completed(after(...begun), { report: 'R1' })]
    const told = (webhook: string): LeafEvent => ({ type: 'run.announced', data: { webhook } })
    const untold: LeafEvent = { type: 'run.announcement-failed', data: { webhook: 'audit', code: 'WEBHOOK_TIMEOUT' } }
    const isOpen = (...events: LeafEvent[]) =>
      openRuns([after(...events)].filter((run) => run !== undefined)).length === 1
    expect([isOpen(requested), isOpen(...begun), isOpen(...done), isOpen(...done, told('ops'))]).toEqual([
      true,
      true,
      true,
      true,
    ])
    expect(isOpen(...done, told('ops'), untold)).toBe(false)
  })

  test('an entry of another kind changes nothing', () => {
    const [entry] = entries(runStream(id), [{ type: 'run.renamed' }])
    if (entry) expect(evolveRun(undefined, entry)).toBeUndefined()
  })
})

describe('what was missed', () => {
  const daily = {
    patterns: patternsOfCron('0 2 * * *'),
    clock: zoneClock('UTC'),
    sinceMs: Date.parse('2026-11-10T12:00:00Z'),
  }
  const at = (day: number) => `2026-11-${day}T02:00:00Z`
  const run = (day: number, due = true): RunState => ({
    schedule: 'daily',
    scheduledAt: due ? at(day) : `2026-11-${day}T11:11:11Z`,
    status: 'completed',
    kind: 'report',
    announced: [],
    version: 2,
    seq: 1,
    order: {
      kind: 'report',
      report: 'audit-trail',
      parameters: {},
      period: { from: '', to: '' },
      timeZone: 'UTC',
      recipients: [],
      reportId: '',
      due,
    },
  })

  test('is everything since it was set, or since the last run that was due', () => {
    expect(missingRuns(daily, [], Date.parse(at(13)) + 60_000)).toEqual([at(11), at(12)])
    expect(missingRuns(daily, [], Date.parse(at(13)) + 61_000)).toEqual([at(11), at(12), at(13)])
    expect(missingRuns(daily, [run(12)], Date.parse(at(15)))).toEqual([at(13), at(14)])
    expect(missingRuns(daily, [run(14), run(13)], Date.parse(at(15)))).toEqual([])
  })

  test('is not hidden by a run that somebody asked for', () => {
    expect(missingRuns(daily, [run(14, false), run(12)], Date.parse(at(15)))).toEqual([at(13), at(14)])
  })

  test('is not made up for again where the clock shows the same time twice', () => {
    const clock = zoneClock('Europe/Berlin')
    const nightly = { patterns: patternsOfCron('30 2 * * *'), clock, sinceMs: Date.parse('2026-10-24T12:00:00Z') }
    const early = { ...run(10), scheduledAt: '2026-10-25T00:30:00Z' }
    const later = Date.parse('2026-10-25T12:00:00Z')
    expect(missingRuns(nightly, [], Date.parse('2026-10-25T01:00:00Z'))).toEqual([])
    expect(missingRuns(nightly, [], later)).toEqual(['2026-10-25T01:30:00Z'])
    expect(missingRuns(nightly, [early], later)).toEqual([])
  })

  test('is made up for a part at a time', () => {
    expect(missingRuns(daily, [], Date.parse('2027-11-10T00:00:00Z'))).toHaveLength(100)
  })
})
