import { parentPort, workerData, type MessagePort } from 'node:worker_threads'
import pdfmake from 'pdfmake'
import type { Content } from 'pdfmake'
import type { WrittenFile } from './output.js'
import { writeWhole } from './output.js'
import { periodText, titlePage } from './pdf-front.js'
import type { PdfKind } from './pdf-kind.js'
import type { SetRow } from './pdf-rows.js'
import { rowPages } from './pdf-rows.js'
import { CONTENT_WIDTH, INK, MUTED, PAGE, block, span, thousands } from './pdf-style.js'
import type { ReportParameters } from './parameters.js'
import type { ReportKindName } from './report-kind.js'
import { auditTrailPdf } from './audit-trail-pdf.js'
import { changeApprovalsPdf } from './change-approvals-pdf.js'
import { speedUpPlainRuns } from './plain-layout.js'
import type { Typefaces } from './typeface.js'
import { openTypefaces } from './typeface.js'
import type { ZoneClock } from './zone.js'
import { zoneClock } from './zone.js'

export interface PdfWorkerInput {
  kind: ReportKindName
  parameters: ReportParameters
  path: string
  fonts: readonly string[]
  lineLimit: number
}

/** Rows and summary are of the kind that the worker was started for. */
export type ToPdfWorker = { rows: unknown[] } | { summary: unknown }

export interface PdfResult extends WrittenFile {
  /** Entries listed, and how many of them show only the beginning of their data. */
  rows: number
  shortened: number
  pages: number
}

/** `drawn` is the share of the pages, from 0 to 1. */
export type FromPdfWorker =
  { taken: number } | { drawn: number } | { done: PdfResult } | { failed: { message: string; code?: string } }

// Layout is synchronous and takes seconds for a long report, so it has a thread of its own.
if (parentPort) start(parentPort, workerData as PdfWorkerInput)

function start(port: MessagePort, input: PdfWorkerInput): void {
  if (input.kind === 'audit-trail') run(port, input, auditTrailPdf)
  else run(port, input, changeApprovalsPdf)
}

function run<Row, Summary extends { readonly rows: number }>(
  port: MessagePort,
  { parameters, path, fonts, lineLimit }: PdfWorkerInput,
  kind: PdfKind<Row, Summary>,
): void {
  const typefaces = openTypefaces(fonts)
  const clock = zoneClock(parameters.timeZone)
  const rows: SetRow[] = []
  let lines = 0
  const send = (message: FromPdfWorker) => port.postMessage(message)

  async function take(message: ToPdfWorker): Promise<void> {
    if ('rows' in message) {
      for (const row of message.rows as Row[]) {
        if (lines >= lineLimit) break
        const set = kind.setRow(row, parameters, clock, typefaces)
        lines += set.detail.length + set.cells.reduce((sum, cell) => sum + cell.length, 0)
        rows.push(set)
      }
      send({ taken: message.rows.length })
      return
    }
    const page = { kind, parameters, summary: message.summary as Summary, clock, typefaces }
    send({ done: await write(path, page, rows, (drawn) => send({ drawn })) })
    port.close()
  }
  port.on('message', (message: ToPdfWorker) => {
    take(message).catch((error: unknown) => {
      const code = error instanceof Error && 'code' in error ? { code: String(error.code) } : {}
      send({ failed: { message: error instanceof Error ? (error.stack ?? error.message) : String(error), ...code } })
      port.close()
    })
  })
}

interface Pages<Row, Summary extends { readonly rows: number }> {
  readonly kind: PdfKind<Row, Summary>
  readonly parameters: ReportParameters
  readonly summary: Summary
  readonly clock: ZoneClock
  readonly typefaces: Typefaces
}

async function write<Row, Summary extends { readonly rows: number }>(
  path: string,
  report: Pages<Row, Summary>,
  rows: SetRow[],
  onDrawn: (share: number) => void,
): Promise<PdfResult> {
  const { kind, parameters, clock, typefaces } = report
  const shortened = rows.filter(({ dataLeftOut }) => dataLeftOut > 0).length
  let pages = 0
  pdfmake.setUrlAccessPolicy(() => false)
  const fontPaths = new Set(typefaces.faces.map((face) => face.path))
  pdfmake.setLocalAccessPolicy((file) => fontPaths.has(file))
  pdfmake.setFonts(
    Object.fromEntries(
      typefaces.faces.map(({ family, path, postscriptName }) => {
        const file = postscriptName === undefined ? path : [path, postscriptName]
        return [family, { normal: file, bold: file, italics: file, bolditalics: file }]
      }),
    ) as Parameters<typeof pdfmake.setFonts>[0],
  )
  const [face] = typefaces.faces
  if (face) speedUpPlainRuns(face.path)
  let told = 0
  pdfmake.setProgressCallback((share) => {
    if (share < told + 0.05) return
    told = share
    onDrawn(share)
  })
  const listed = rows.length
  const content = [...front(report, listed, shortened), ...entries(report, rows)]
  // From here on the lines live on as pdfmake's nodes: once is enough.
  rows.length = 0
  const created = new Date(parameters.asOf)
  const document = pdfmake.createPdf({
    content,
    footer: (page, count) => {
      pages = count
      return footer(page, count, kind.title, parameters)
    },
    pageSize: { width: PAGE.width, height: PAGE.height },
    pageMargins: [PAGE.left, PAGE.top, PAGE.right, PAGE.bottom],
    defaultStyle: { font: 'text', fontSize: 8, color: INK },
    info: {
      title: `${kind.title} of ${parameters.tenant}, ${periodText(parameters, clock)}`,
      author: 'Countersign',
      subject: `Report ${parameters.id}`,
      creator: 'Countersign',
      producer: `Countersign, renderer ${parameters.rendererVersion}`,
      // Also what the document's /ID is made from: without it every run gives other bytes.
      creationDate: created,
      modDate: created,
    },
    language: 'en',
    displayTitle: true,
    version: '1.7',
  })
  const stream = (await document.getStream()) as unknown as AsyncIterable<Uint8Array> & { end(): void }
  stream.end()
  return { ...(await writeWhole(path, stream)), rows: listed, shortened, pages }
}

/** Title page and summary. */
function front<Row, Summary extends { readonly rows: number }>(
  { kind, parameters, summary, clock, typefaces }: Pages<Row, Summary>,
  listed: number,
  shortened: number,
): Content[] {
  const { title, subtitle, words } = kind
  const facts = kind.facts(parameters, summary)
  const notes = kind.notes(parameters)
  const { rows } = summary
  const matter = { parameters, title, subtitle, facts, notes, rows, words, listed, shortened }
  const pages = titlePage(matter, clock, typefaces)
  if (rows === 0) return pages
  const heading = block([span('Summary', 'bold', 14)], CONTENT_WIDTH, typefaces, {
    outline: true,
    outlineText: 'Summary',
    margin: [0, 0, 0, 10],
  })
  return [...pages, { stack: [heading], pageBreak: 'before' }, ...kind.summary(summary, clock, typefaces)]
}

function entries<Row, Summary extends { readonly rows: number }>(
  { kind, parameters, typefaces }: Pages<Row, Summary>,
  rows: readonly SetRow[],
): Content[] {
  if (rows.length > 0) return rowPages(rows, kind.titles(parameters), kind.outline)
  return [block([span(kind.nothing(parameters), 'bold', 10)], 600, typefaces, { margin: [0, 14, 0, 0] })]
}

function footer(page: number, count: number, title: string, { id, tenant, range }: ReportParameters): Content {
  const seqs = range ? `seq ${range.firstSeq} to ${range.lastSeq}` : 'no entries'
  return {
    columns: [
      { text: `${title} of ${tenant}, ${seqs}, report ${id}`, alignment: 'left', width: '*' },
      { text: `Page ${thousands(page)} of ${thousands(count)}`, alignment: 'right', width: 'auto' },
    ],
    noWrap: true,
    fontSize: 7,
    color: MUTED,
    margin: [PAGE.left, 16, PAGE.right, 0],
  }
}
