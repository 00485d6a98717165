import { expect, test } from 'vitest'
import type { AuditTrailRow } from '../../reports/audit-trail.js'
import { countRow, filterText, startSummary, summaryOf } from '../../reports/audit-trail.js'
import { DISTINCT_LIMIT } from '../../reports/ranking.js'
import { zoneClock } from '../../reports/zone.js'
import { auditTrailParameters, auditTrailRow } from '../support/audit-trail.js'

const clock = zoneClock('UTC')
const parameters = auditTrailParameters({ timeZone: 'UTC' })

function summarised(rows: Iterable<AuditTrailRow>, limit?: number) {
  const counts = startSummary()
  for (const row of rows) countRow(counts, row, parameters, clock)
  return summaryOf(counts, parameters, clock, limit)
}

test('rows are counted by type, actor, outcome and source, the most frequent first', () => {
  const { actor: _, outcome: __, source: ___, ...own } = auditTrailRow(3, { type: 'report.downloaded' })
  const summary = summarised([auditTrailRow(0), auditTrailRow(1), auditTrailRow(2), own])
  expect(summary).toMatchObject({ rows: 4, reported: 3 })
  expect(summary.types).toEqual({
    shown: [
      { name: 'payment.settled', rows: 2 },
      { name: 'invoice.issued', rows: 1 },
      { name: 'report.downloaded', rows: 1 },
    ],
    more: null,
  })
  expect(summary.outcomes.shown).toEqual([
    { name: 'success', rows: 2 },
    { name: null, rows: 1 },
    { name: 'denied', rows: 1 },
  ])
  expect(summary.sources.shown).toEqual([
    { name: 'billing', rows: 3 },
    { name: null, rows: 1 },
  ])
})

test('what is not shown is said, with exact counts', () => {
  const rows = Array.from({ length: 300 }, (_, seq) => auditTrailRow(seq, { actor: `user:${seq % 30}` }))
  const { actors } = summarised(rows, 10)
  expect(actors.shown).toHaveLength(10)
  expect(actors.shown.every(({ rows }) => rows === 10)).toBe(true)
  expect(actors.more).toEqual({ names: 20, atLeast: false, rows: 200 })
})

test('a single name too many is shown instead of counted', () => {
  const rows = Array.from({ length: 11 }, (_, seq) => auditTrailRow(seq, { actor: `user:${seq}` }))
  expect(summarised(rows, 10).actors).toMatchObject({ more: null, shown: { length: 11 } })
})

test('names beyond the limit are counted together, and the counts of the others stay exact', () => {
  function* rows() {
    for (let seq = 0; seq < DISTINCT_LIMIT + 500; seq++) yield auditTrailRow(seq, { actor: `user:${seq}` })
    for (let seq = 0; seq < 7; seq++) yield auditTrailRow(seq, { actor: 'user:5' })
  }
  const { actors } = summarised(rows(), 1)
  expect(actors.shown).toEqual([{ name: 'user:5', rows: 8 }])
  expect(actors.more).toEqual({ names: DISTINCT_LIMIT, atLeast: true, rows: DISTINCT_LIMIT - 1 + 500 })
})

test('a filter is told in words', () => {
  expect(filterText({})).toEqual([])
  expect(filterText({ type: 'role.*', outcome: 'denied' })).toEqual(['type is role.*', 'outcome is denied'])
})
