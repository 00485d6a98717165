import { Parser } from '@json2csv/plainjs'
import type { AuditTrailRow } from './audit-trail.js'
import { subjectsText, targetsText, timeOf } from './audit-trail.js'
import type { ZoneClock } from './zone.js'

/** Rows formatted at a time: measured as the fastest size, and all that is held in memory. */
const CHUNK_ROWS = 500

/** The columns in order. A new one goes to the end. */
export const CSV_COLUMNS = [
  'seq',
  'recorded_at',
  'local_time',
  'type',
  'actor',
  'actor_type',
  'outcome',
  'reason',
  'targets',
  'occurred_at',
  'reported',
  'source',
  'event_id',
  'by',
  'via',
  'stream',
  'sealed',
  'data',
  'leaf_hash',
  'chain_hash',
] as const

type CsvRecord = Record<(typeof CSV_COLUMNS)[number], string | number | boolean | undefined>

/** Filled in place while `csv` runs. */
export interface CsvCounts {
  rows: number
  /** Cells that got an apostrophe in front. */
  neutralised: number
}

// What spreadsheets take for the start of a formula, full-width forms included. Apostrophes in front count too, so that
// taking one away from every cell that matches gives back exactly what was there.
const FORMULA = /^'*[=+\-@\t\r\n\uFF0B\uFF0D\uFF1D\uFF20]/u

/**
 * RFC 4180 in UTF-8: a header once, comma, CRLF after every record, text in double quotes. Cells that a spreadsheet would run as a
 * formula get an apostrophe in front and are counted.
 * @param by the time that `local_time` shows, in the clock's zone
 */
export async function* csv(
  rows: AsyncIterable<AuditTrailRow>,
  by: 'recorded' | 'occurred',
  clock: ZoneClock,
  counts: CsvCounts,
): AsyncGenerator<Buffer> {
  const parser = new Parser<CsvRecord, CsvRecord>({ fields: [...CSV_COLUMNS], header: false, eol: '\r\n' })
  yield Buffer.from(`${CSV_COLUMNS.map((column) => `"${column}"`).join(',')}\r\n`)
  let chunk: CsvRecord[] = []
  const text = () => Buffer.from(`${parser.parse(chunk)}\r\n`)
  for await (const row of rows) {
    chunk.push(record(row, by, clock, counts))
    if (chunk.length === CHUNK_ROWS) {
      yield text()
      chunk = []
    }
  }
  if (chunk.length > 0) yield text()
}

function record(row: AuditTrailRow, by: 'recorded' | 'occurred', clock: ZoneClock, counts: CsvCounts): CsvRecord {
  counts.rows += 1
  const cell = (value: string | undefined) => {
    if (value === undefined || !FORMULA.test(value)) return value
    counts.neutralised += 1
    return `'${value}`
  }
  const at = timeOf(row, by)
  return {
    seq: row.seq,
    recorded_at: cell(row.recordedAt),
    local_time: Number.isNaN(at) ? undefined : cell(clock.withOffset(at)),
    type: cell(row.type),
    actor: cell(row.actor),
    actor_type: cell(row.actorType),
    outcome: cell(row.outcome),
    reason: cell(row.reason),
    targets: cell(targetsText(row)),
    occurred_at: cell(row.occurredAt),
    reported: row.source !== undefined,
    source: cell(row.source),
    event_id: cell(row.eventId),
    by: cell(row.by),
    via: cell(row.via),
    stream: cell(row.stream),
    sealed: cell(subjectsText(row)),
    data: cell(row.data),
    leaf_hash: row.leafHash,
    chain_hash: row.chainHash,
  }
}
