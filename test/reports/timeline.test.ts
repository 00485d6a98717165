import fc from 'fast-check'
import { expect, test } from 'vitest'
import { countTime, startTimeline, timelineOf } from '../../reports/timeline.js'

const at = (text: string) => Date.parse(`${text}Z`)

function timeline(times: readonly string[], from?: string, to?: string) {
  const counts = startTimeline()
  for (const time of times) countTime(counts, at(time), false)
  return timelineOf(counts, from === undefined ? undefined : at(from), to === undefined ? undefined : at(to))
}

test.each([
  { span: 'one instant', times: ['2026-11-02T10:30:00'], unit: 'hour', first: '2026-11-02T10', bars: 1 },
  {
    span: 'two days',
    times: ['2026-11-02T10:30:00', '2026-11-04T01:00:00'],
    unit: 'hour',
    first: '2026-11-02T10',
    bars: 40,
  },
  {
    span: 'a month',
    times: ['2026-11-02T10:30:00', '2026-11-30T00:00:00'],
    unit: 'day',
    first: '2026-11-02',
    bars: 29,
  },
  {
    span: 'a year',
    times: ['2026-01-01T00:00:00', '2026-12-31T00:00:00'],
    unit: 'week',
    first: '2025-12-29',
    bars: 53,
  },
  {
    span: 'five years',
    times: ['2021-03-01T00:00:00', '2026-03-01T00:00:00'],
    unit: 'month',
    first: '2021-03',
    bars: 61,
  },
  {
    span: 'twenty years',
    times: ['2006-03-01T00:00:00', '2026-03-01T00:00:00'],
    unit: 'year',
    first: '2006',
    bars: 21,
  },
])('$span is shown by $unit', ({ times, unit, first, bars }) => {
  const shown = timeline(times)
  expect(shown).toMatchObject({ unit, step: 1, undated: 0 })
  expect(shown.bars).toHaveLength(bars)
  expect(shown.bars[0]).toEqual({ start: first, rows: 1, adverse: 0 })
  expect(shown.bars.at(-1)?.rows).toBe(1)
})

test('two thousand years are grouped', () => {
  const shown = timeline(['0001-01-01T00:00:00', '2026-01-01T00:00:00'])
  expect(shown.unit).toBe('year')
  expect(shown.step).toBe(22)
  expect(shown.bars.length).toBeLessThanOrEqual(94)
  expect(shown.bars[0]?.start).toBe('0000')
})

test('the period is shown whole while the rows fill a tenth of it', () => {
  const times = ['2026-11-10T00:00:00', '2026-11-14T00:00:00']
  expect(timeline(times, '2026-11-01T00:00:00', '2026-12-01T00:00:00').bars).toHaveLength(30)
  expect(timeline(times, '2020-11-01T00:00:00', '2026-12-01T00:00:00').bars).toHaveLength(5)
})

test('a row without a time is counted as such', () => {
  const counts = startTimeline()
  countTime(counts, Number.NaN, false)
  expect(timelineOf(counts)).toEqual({ unit: 'day', step: 1, bars: [], undated: 1 })
})

test('every dated row is in exactly one bar, whatever the span, and the bars stay few', () => {
  const time = fc.oneof(
    fc.integer({ min: at('0001-01-01T00:00:00'), max: at('9999-12-31T23:59:59') }),
    fc.integer({ min: at('2026-01-01T00:00:00'), max: at('2026-01-09T00:00:00') }),
    fc.integer({ min: at('2024-01-01T00:00:00'), max: at('2027-01-01T00:00:00') }),
  )
  fc.assert(
    fc.property(fc.array(fc.tuple(time, fc.boolean()), { minLength: 1, maxLength: 60 }), (rows) => {
      const counts = startTimeline()
      for (const [ms, adverse] of rows) countTime(counts, ms, adverse)
      const { bars } = timelineOf(counts)
      expect(bars.reduce((sum, bar) => sum + bar.rows, 0)).toBe(rows.length)
      expect(bars.reduce((sum, bar) => sum + bar.adverse, 0)).toBe(rows.filter(([, adverse]) => adverse).length)
      expect(bars.length).toBeLessThanOrEqual(94)
      const starts = bars.map(({ start }) => start)
      expect(starts).toEqual(starts.toSorted())
    }),
  )
})

test('memory is bounded when every row is of another month', () => {
  const counts = startTimeline()
  for (let index = 0; index < 20_000; index++) countTime(counts, index * 86_400_000 * 31, false)
  expect([counts.hours, counts.days, counts.months]).toEqual([null, null, null])
  expect(timelineOf(counts).bars.reduce((sum, bar) => sum + bar.rows, 0)).toBe(20_000)
})
