import { parentPort, workerData } from 'node:worker_threads'
import pdfmake from 'pdfmake'
import type { Content } from 'pdfmake'
import type { AuditTrailParameters, AuditTrailRow, AuditTrailSummary } from './audit-trail.js'
import type { WrittenFile } from './output.js'
import { writeWhole } from './output.js'
import { frontPages, periodText } from './pdf-front.js'
import type { SetRow } from './pdf-rows.js'
import { rowPages, setRow } from './pdf-rows.js'
import { INK, MUTED, PAGE, block, span, thousands } from './pdf-style.js'
import { speedUpPlainRuns } from './plain-layout.js'
import type { Typefaces } from './typeface.js'
import { openTypefaces } from './typeface.js'
import type { ZoneClock } from './zone.js'
import { zoneClock } from './zone.js'

export interface PdfWorkerInput {
  parameters: AuditTrailParameters
  path: string
  fonts: readonly string[]
  lineLimit: number
}

export type ToPdfWorker = { rows: AuditTrailRow[] } | { summary: AuditTrailSummary }

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
if (parentPort) run(parentPort, workerData as PdfWorkerInput)

function run(port: NonNullable<typeof parentPort>, { parameters, path, fonts, lineLimit }: PdfWorkerInput): void {
  const typefaces = openTypefaces(fonts)
  const clock = zoneClock(parameters.timeZone)
  const rows: SetRow[] = []
  let lines = 0
  const send = (message: FromPdfWorker) => port.postMessage(message)

  async function take(message: ToPdfWorker): Promise<void> {
    if ('rows' in message) {
      for (const row of message.rows) {
        if (lines >= lineLimit) break
        const set = setRow(row, parameters.by, clock, typefaces)
        lines += set.detail.length + set.cells.reduce((sum, cell) => sum + cell.length, 0)
        rows.push(set)
      }
      send({ taken: message.rows.length })
      return
    }
    const done = await write(path, parameters, message.summary, rows, clock, typefaces, (drawn) => send({ drawn }))
    send({ done })
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

async function write(
  path: string,
  parameters: AuditTrailParameters,
  summary: AuditTrailSummary,
  rows: SetRow[],
  clock: ZoneClock,
  typefaces: Typefaces,
  onDrawn: (share: number) => void,
): Promise<PdfResult> {
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
  const content = [
    ...frontPages({ parameters, summary, listed, shortened }, clock, typefaces),
    ...entries(rows, parameters, clock, typefaces),
  ]
  // From here on the lines live on as pdfmake's nodes: once is enough.
  rows.length = 0
  const created = new Date(parameters.asOf)
  const document = pdfmake.createPdf({
    content,
    footer: (page, count) => {
      pages = count
      return footer(page, count, parameters)
    },
    pageSize: { width: PAGE.width, height: PAGE.height },
    pageMargins: [PAGE.left, PAGE.top, PAGE.right, PAGE.bottom],
    defaultStyle: { font: 'text', fontSize: 8, color: INK },
    info: {
      title: `Audit trail of ${parameters.tenant}, ${periodText(parameters, clock)}`,
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

function entries(
  rows: readonly SetRow[],
  parameters: AuditTrailParameters,
  clock: ZoneClock,
  typefaces: Typefaces,
): Content[] {
  if (rows.length === 0) {
    const text = parameters.range
      ? 'No entry of this range matches the period and the filter.'
      : 'The period holds no entry of this log.'
    return [block([span(text, 'bold', 10)], 600, typefaces, { margin: [0, 14, 0, 0] })]
  }
  return rowPages(rows, parameters.by, clock)
}

function footer(page: number, count: number, { id, tenant, range }: AuditTrailParameters): Content {
  const seqs = range ? `seq ${range.firstSeq} to ${range.lastSeq}` : 'no entries'
  return {
    columns: [
      { text: `Audit trail of ${tenant}, ${seqs}, report ${id}`, alignment: 'left', width: '*' },
      { text: `Page ${thousands(page)} of ${thousands(count)}`, alignment: 'right', width: 'auto' },
    ],
    noWrap: true,
    fontSize: 7,
    color: MUTED,
    margin: [PAGE.left, 16, PAGE.right, 0],
  }
}
