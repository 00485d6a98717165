import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { AuditTrailRow } from '../../reports/audit-trail.js'
import { AUDIT_TRAIL_COLUMNS, auditTrailRecord } from '../../reports/audit-trail-csv.js'
import { CHANGE_APPROVALS_COLUMNS } from '../../reports/change-approvals-kind.js'
import { csv, type CsvCounts } from '../../reports/csv.js'
import { zoneClock } from '../../reports/zone.js'
import { auditTrailRow, rowsOf } from '../support/audit-trail.js'
import { root } from '../support/root.js'

const clock = zoneClock('Europe/Berlin')

test.each([0, 1, 499, 500, 501, 1_200])('%i rows parse back as they were, under one header', async (count) => {
  const rows = Array.from({ length: count }, (_, seq) => auditTrailRow(seq))
  const { records } = await written(rows)
  expect(records[0]).toEqual([...AUDIT_TRAIL_COLUMNS])
  expect(records).toHaveLength(count + 1)
  expect(column(records, 'seq')).toEqual(rows.map(({ seq }) => String(seq)))
  expect(column(records, 'data')).toEqual(rows.map(({ data }) => data))
  expect(column(records, 'chain_hash')).toEqual(rows.map(({ chainHash }) => chainHash))
})

test('any text comes back as it was once the apostrophes are taken off', async () => {
  const text = fc.oneof(
    fc.string({ unit: 'grapheme', minLength: 1 }),
    fc.stringMatching(/^'{0,2}[=+\-@\t\r\n＝][,"\r\n']{0,4}x$/),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(text, text), { maxLength: 20 }), async (pairs) => {
      const { records, counts } = await written(
        pairs.map(([reason, actor], seq) => auditTrailRow(seq, { reason, actor })),
      )
      const [reasons, actors] = [column(records, 'reason'), column(records, 'actor')]
      expect(reasons.map(restored)).toEqual(pairs.map(([reason]) => reason))
      expect(actors.map(restored)).toEqual(pairs.map(([, actor]) => actor))
      // No cell is left that a spreadsheet would run.
      for (const cell of [...reasons, ...actors]) expect(cell).not.toMatch(/^[=+\-@\t\r\n＋－＝＠]/)
      expect(counts.neutralised).toBe(pairs.flat().filter((cell) => /^'*[=+\-@\t\r\n＋－＝＠]/.test(cell)).length)
    }),
  )
})

test('every record ends with CRLF, and text is quoted', async () => {
  const { text } = await written([auditTrailRow(0, { reason: 'said "no", twice' })])
  expect(text.endsWith('\r\n')).toBe(true)
  expect(text.split('\r\n')).toHaveLength(3)
  expect(text).toContain('"said ""no"", twice"')
})

test('local time has the offset of its zone, and follows the time that the period is one of', async () => {
  const row = auditTrailRow(0, { recordedAt: '2026-11-20T10:00:00.123Z', occurredAt: '2026-07-01T10:00:00.5+05:30' })
  expect(column((await written([row])).records, 'local_time')).toEqual(['2026-11-20T11:00:00.123+01:00'])
  expect(column((await written([row], 'occurred')).records, 'local_time')).toEqual(['2026-07-01T06:30:00.500+02:00'])
  expect(column((await written([row])).records, 'occurred_at')).toEqual(['2026-07-01T10:00:00.5+05:30'])
})

test('only what a source reported is marked as reported', async () => {
  const { source: _, ...own } = auditTrailRow(1)
  const { records } = await written([auditTrailRow(0), own])
  expect(column(records, 'reported')).toEqual(['true', 'false'])
  expect(column(records, 'source')).toEqual(['billing', ''])
})

test('the columns are documented in their order', async () => {
  const page = await readFile(join(root, 'docs/reports.md'), 'utf8')
  const [, both = ''] = page.split('## The CSV\n')
  const [auditTrail = '', changeApprovals = ''] = both.split('### Of change approvals\n')
  const listed = (section: string) => [...section.matchAll(/^\| `([a-z_]+)` +\|/gm)].map(([, name]) => name)
  expect(listed(auditTrail)).toEqual([...AUDIT_TRAIL_COLUMNS])
  expect(listed(changeApprovals)).toEqual([...CHANGE_APPROVALS_COLUMNS])
})

test('100,000 rows pass through with at most 500 in hand', async () => {
  const counts = { rows: 0, neutralised: 0 }
  let [taken, lines, mostInHand] = [0, -1, 0]
  async function* rows(): AsyncGenerator<AuditTrailRow> {
    for (; taken < 100_000; taken++) yield auditTrailRow(taken)
  }
  for await (const chunk of asCsv(rows(), 'recorded', counts)) {
    mostInHand = Math.max(mostInHand, taken - Math.max(0, lines))
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) lines += 1
  }
  expect(counts.rows).toBe(100_000)
  expect(lines).toBe(100_000)
  expect(mostInHand).toBeLessThanOrEqual(500)
})

async function written(rows: readonly AuditTrailRow[], by: 'recorded' | 'occurred' = 'recorded') {
  const counts = { rows: 0, neutralised: 0 }
  const chunks: Buffer[] = []
  for await (const chunk of asCsv(rowsOf(rows), by, counts)) chunks.push(chunk)
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks))
  return { text, counts, records: parse(text) }
}

const restored = (cell: string) => (/^'+[=+\-@\t\r\n＋－＝＠]/.test(cell) ? cell.slice(1) : cell)

function column(records: readonly string[][], name: (typeof AUDIT_TRAIL_COLUMNS)[number]): string[] {
  return records.slice(1).map((record) => record[AUDIT_TRAIL_COLUMNS.indexOf(name)] ?? 'missing')
}

/** The grammar of RFC 4180, section 2, and nothing else. */
function parse(text: string): string[][] {
  const records: string[][] = []
  let record: string[] = []
  let at = 0
  while (at < text.length) {
    let field = ''
    if (text[at] === '"') {
      for (at += 1; text[at] !== '"' || text[at + 1] === '"'; at += text[at] === '"' ? 2 : 1) {
        if (at >= text.length) throw new Error('a quoted field does not end')
        field += text[at]
      }
      at += 1
    } else {
      for (; at < text.length && text[at] !== ',' && text[at] !== '\r'; at += 1) {
        if (text[at] === '"' || text[at] === '\n') throw new Error(`a bare field holds ${JSON.stringify(text[at])}`)
        field += text[at]
      }
    }
    record.push(field)
    if (text[at] === ',') at += 1
    else if (text.startsWith('\r\n', at)) {
      at += 2
      records.push(record)
      record = []
    } else throw new Error(`a record does not end with CRLF at ${at}`)
  }
  return records
}

function asCsv(rows: AsyncIterable<AuditTrailRow>, by: 'recorded' | 'occurred', counts: CsvCounts) {
  return csv(rows, AUDIT_TRAIL_COLUMNS, (row) => auditTrailRecord(row, by, clock), counts)
}
