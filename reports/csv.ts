import { Parser } from '@json2csv/plainjs'

/** Rows formatted at a time: measured as the fastest size, and all that is held in memory. */
const CHUNK_ROWS = 500

/** Filled in place while `csv` runs. */
export interface CsvCounts {
  rows: number
  /** Cells that got an apostrophe in front. */
  neutralised: number
}

// What spreadsheets take for the start of a formula, full-width forms included. Apostrophes in front count too, so that
// taking one away from every cell that matches gives back exactly what was there.
const FORMULA = /^'*[=+\-@\t\r\n\uFF0B\uFF0D\uFF1D\uFF20]/u

/** A cell before it is made harmless. */
export type Cell = string | number | boolean | undefined

/**
 * RFC 4180 in UTF-8: a header once, comma, CRLF after every record, text in double quotes. Cells that a spreadsheet would run as a
 * formula get an apostrophe in front and are counted.
 * @param record the cells of a row, by column
 */
export async function* csv<Row, Column extends string>(
  rows: AsyncIterable<Row>,
  columns: readonly Column[],
  record: (row: Row) => Readonly<Record<Column, Cell>>,
  counts: CsvCounts,
): AsyncGenerator<Buffer> {
  const parser = new Parser<object, object>({ fields: [...columns], header: false, eol: '\r\n' })
  yield Buffer.from(`${columns.map((column) => `"${column}"`).join(',')}\r\n`)
  let chunk: object[] = []
  const text = () => Buffer.from(`${parser.parse(chunk)}\r\n`)
  for await (const row of rows) {
    counts.rows += 1
    const cells = record(row)
    chunk.push(Object.fromEntries(columns.map((column) => [column, harmless(cells[column], counts)])))
    if (chunk.length === CHUNK_ROWS) {
      yield text()
      chunk = []
    }
  }
  if (chunk.length > 0) yield text()
}

function harmless(value: Cell, counts: CsvCounts): Cell {
  if (typeof value !== 'string' || !FORMULA.test(value)) return value
  counts.neutralised += 1
  return `'${value}`
}
