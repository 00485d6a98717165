import { createRequire } from 'node:module'
import { rm } from 'node:fs/promises'
import { basename } from 'node:path'
import type { ReportParameters } from './parameters.js'
import type { CsvCounts } from './csv.js'
import { csv } from './csv.js'
import type { ManifestFile } from './manifest.js'
import { manifest } from './manifest.js'
import type { WrittenFile } from './output.js'
import { writeWhole } from './output.js'
import type { PdfResult } from './pdf-worker.js'
import type { PdfLimits } from './pdf.js'
import { startPdf } from './pdf.js'
import type { ReportKind } from './report-kind.js'
import { openTypefaces } from './typeface.js'
import { zoneClock } from './zone.js'

/** Moves when the same parameters and rows would give other bytes. */
const VERSION = 1

/** Paths of the files to write. Their folder must exist. */
export interface ReportPaths {
  csv?: string
  pdf?: string
  manifest: string
}

/** Told the rows read so far, every thousand of them and at the end of them all, and then the share of the pages that is drawn, from 0 to 1. */
export type OnProgress = (progress: { stage: 'rows'; rows: number } | { stage: 'pages'; share: number }) => void

export interface RenderOptions {
  /** More font files, `path` or `path.ttc#Name`, for characters that the built-in ones lack. */
  fonts?: readonly string[]
  /** Lower limits of the PDF than the usual ones. */
  limits?: PdfLimits
  onProgress?: OnProgress
}

export interface Rendered {
  csv?: WrittenFile & CsvCounts
  pdf?: PdfResult
  manifest: WrittenFile
  rows: number
}

/**
 * What besides the parameters the bytes depend on: our own version, the libraries that compress and lay out, the tables of time
 * zones and characters, the fonts.
 * @throws DomainError REPORT_FONT_UNUSABLE
 */
export function rendererVersion(fonts: readonly string[] = []): string {
  const { version } = createRequire(import.meta.url)('pdfmake/package.json') as { version: string }
  const { zlib, unicode, tz } = process.versions
  const digest = openTypefaces(fonts).digest.slice(0, 12)
  return `${VERSION}; pdfmake ${version}; zlib ${zlib}; unicode ${unicode}; tz ${tz}; fonts ${digest}`
}

/**
 * Writes the report in one pass over `rows`. Files come into being whole, the manifest last; a failure leaves none of them.
 * @param rows in the order in which they are to be listed
 * @throws DomainError REPORT_TIME_ZONE_UNKNOWN, REPORT_FONT_UNUSABLE
 */
export async function renderReport<Row, Summary extends { readonly rows: number }>(
  kind: ReportKind<Row, Summary>,
  parameters: ReportParameters,
  rows: () => AsyncIterable<Row>,
  out: ReportPaths,
  { fonts = [], limits, onProgress }: RenderOptions = {},
): Promise<Rendered> {
  const clock = zoneClock(parameters.timeZone)
  const counter = kind.counter(parameters, clock)
  const csvCounts: CsvCounts = { rows: 0, neutralised: 0 }
  const pdf = out.pdf === undefined ? undefined : startPdf(kind.name, parameters, out.pdf, fonts, limits)
  let read = 0
  try {
    const counted = passing(rows(), async (row) => {
      counter.add(row)
      read += 1
      if (read % 1_000 === 0) onProgress?.({ stage: 'rows', rows: read })
      await pdf?.add(row)
    })
    const record = (row: Row) => kind.record(row, parameters, clock)
    let csvFile: WrittenFile | undefined
    if (out.csv === undefined) await drain(counted)
    else csvFile = await writeWhole(out.csv, csv(counted, kind.columns, record, csvCounts))
    if (read % 1_000 !== 0) onProgress?.({ stage: 'rows', rows: read })
    const summary = counter.end()
    const pdfFile = await pdf?.finish(summary, (share) => onProgress?.({ stage: 'pages', share }))
    const files: ManifestFile[] = []
    if (csvFile && out.csv !== undefined) {
      files.push({ name: basename(out.csv), format: 'csv', ...csvFile, ...csvCounts })
    }
    if (pdfFile && out.pdf !== undefined) files.push({ name: basename(out.pdf), format: 'pdf', ...pdfFile })
    const beside = manifest(kind.name, parameters, kind.counts(summary), kind.columns, files)
    return {
      ...(csvFile ? { csv: { ...csvFile, ...csvCounts } } : {}),
      ...(pdfFile ? { pdf: pdfFile } : {}),
      manifest: await writeWhole(out.manifest, [Buffer.from(beside)]),
      rows: summary.rows,
    }
  } catch (error) {
    await pdf?.abort()
    // Half a report is none.
    for (const path of [out.csv, out.pdf, out.manifest]) if (path !== undefined) await rm(path, { force: true })
    throw error
  } finally {
    await pdf?.abort()
  }
}

async function* passing<T>(items: AsyncIterable<T>, see: (item: T) => Promise<void>): AsyncGenerator<T> {
  for await (const item of items) {
    await see(item)
    yield item
  }
}

async function drain(items: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of items);
}
