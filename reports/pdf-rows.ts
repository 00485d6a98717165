import type { Content, TableCell } from 'pdfmake'
import type { ContentText } from 'pdfmake/interfaces.js'
import { CONTENT_HEIGHT, CONTENT_WIDTH, MUTED, RULE, STRONG_RULE, heightOf, linesNode, span } from './pdf-style.js'
import type { Line, Span } from './typeset.js'

/** Characters of a row's data that the PDF shows. The CSV has all of it. */
export const DATA_LIMIT = 4_000

const GAP = 12
const COLUMN_WIDTHS = [46, 108, 190, 158]
const LAST_COLUMN = CONTENT_WIDTH - COLUMN_WIDTHS.reduce((sum, width) => sum + width + GAP, 0)
/** Of the five cells, and of what stands below them. */
export const WIDTHS = [...COLUMN_WIDTHS, LAST_COLUMN]
export const DETAIL_WIDTH = CONTENT_WIDTH - (COLUMN_WIDTHS[0] ?? 0) - GAP
const HEADER_HEIGHT = 17
const PADDING = 4
// Between the cells and what stands below them; with the rule between entries, what an entry adds to its lines.
const DETAIL_GAP = 3
const EXTRA = 2 * PADDING + DETAIL_GAP + 1
// What rounding might add up to on a page; a page is never filled to the last point.
const SLACK = 4

/** An entry as lines: five cells beside each other, and what stands below them. */
export interface SetRow {
  cells: Line[][]
  detail: Line[]
  /** Stands in the first cell where the entry goes on after a page break. */
  continued: Line[]
  /** Characters of data left out. */
  dataLeftOut: number
}

/**
 * Puts rows on pages: one table each, under the same header row. Rows that fit on a page are not torn.
 * @param titles of the five columns
 * @param outline the bookmark that leads here
 */
export function rowPages(rows: readonly SetRow[], titles: readonly string[], outline: string): Content[] {
  const room = CONTENT_HEIGHT - HEADER_HEIGHT - SLACK
  const pages: SetRow[][] = []
  let page: SetRow[] = []
  let left = room
  const turn = () => {
    if (page.length > 0) pages.push(page)
    page = []
    left = room
  }
  for (const row of rows) {
    let rest: SetRow | null = row
    const height = rowHeight(row)
    if (height > left && (height <= room || left < room / 3)) turn()
    while (rest) {
      const part: { fits: SetRow; rest: SetRow | null } =
        rowHeight(rest) <= left ? { fits: rest, rest: null } : split(rest, left)
      page.push(part.fits)
      left -= rowHeight(part.fits)
      rest = part.rest
      if (rest) turn()
    }
  }
  turn()
  const header = headerRow(titles)
  return pages.map((part, index) => table(part, header, index === 0 ? outline : undefined))
}

/** Canonical JSON, string by string, so that right-to-left values of neighbouring members do not change places. */
export function dataSpans(data: string): Span[] {
  const parts = data.match(/"(?:[^"\\]|\\.)*"?|[^"]+/gs) ?? []
  return parts.length > 1 && /[^\0-\u058F]/.test(data)
    ? parts.map((part) => span(part, 'mono', 6.3))
    : [span(data, 'mono', 6.3)]
}

/** The beginning of a text, and how many characters were left out. */
export function shorten(text: string, limit: number): { text: string; leftOut: number } {
  if (text.length <= limit) return { text, leftOut: 0 }
  const characters = Array.from(text)
  return { text: characters.slice(0, limit).join(''), leftOut: Math.max(0, characters.length - limit) }
}

function rowHeight(row: SetRow): number {
  return Math.max(...row.cells.map(heightOf)) + heightOf(row.detail) + EXTRA
}

/** Cuts an entry that is longer than a page. At least one line is taken, so it always ends. */
function split(row: SetRow, height: number): { fits: SetRow; rest: SetRow | null } {
  const room = height - EXTRA
  const cells = row.cells.map((lines) => cut(lines, room))
  const used = Math.max(...cells.map(([fits]) => heightOf(fits)))
  const open = cells.some(([, rest]) => rest.length > 0)
  const [detail, detailRest] = open ? [[], row.detail] : cut(row.detail, room - used)
  if (!open && detailRest.length === 0) return { fits: row, rest: null }
  return {
    fits: { ...row, cells: cells.map(([fits]) => fits), detail },
    rest: { ...row, cells: cells.map(([, rest], column) => (column === 0 ? row.continued : rest)), detail: detailRest },
  }
}

function cut(lines: Line[], height: number): [Line[], Line[]] {
  let used = 0
  const count = lines.findIndex((line) => (used += heightOf([line])) > height)
  return count === -1 ? [lines, []] : [lines.slice(0, count), lines.slice(count)]
}

function headerRow(titles: readonly string[]): ContentText[] {
  return titles.map((text, index) => ({
    text,
    font: 'bold',
    fontSize: 7,
    color: MUTED,
    noWrap: true,
    ...(index === 0 ? { alignment: 'right' as const } : {}),
  }))
}

function table(rows: readonly SetRow[], header: readonly ContentText[], outline: string | undefined): Content {
  // The header repeats; the first one is also where the bookmark leads.
  const mark = outline === undefined ? {} : { outline: true, outlineText: outline }
  const body: TableCell[][] = [header.map((cell, column) => ({ ...cell, ...(column === 0 ? mark : {}) }))]
  for (const { cells, detail } of rows) {
    body.push(cells.map((lines, column) => cell(lines, column === 0 ? { alignment: 'right' } : {})))
    body.push(['', { ...linesNode(detail), colSpan: 4 }, '', '', ''])
  }
  return {
    pageBreak: 'before',
    table: { headerRows: 1, widths: WIDTHS, body },
    layout: {
      // The header, then pairs of rows: a line above each pair and one below the last.
      hLineWidth: (line) => (line === 1 ? 0.8 : line > 1 && line % 2 === 1 ? 0.4 : 0),
      hLineColor: (line) => (line === 1 ? STRONG_RULE : RULE),
      vLineWidth: () => 0,
      paddingLeft: () => 0,
      paddingRight: (column) => (column === 4 ? 0 : GAP),
      paddingTop: (row) => (row === 0 ? 0 : row % 2 === 1 ? PADDING : DETAIL_GAP),
      paddingBottom: (row) => (row === 0 ? PADDING : row % 2 === 1 ? 0 : PADDING),
    },
  }
}

function cell(lines: readonly Line[], more: object = {}): TableCell {
  return lines.length === 0 ? '' : linesNode(lines, more)
}
