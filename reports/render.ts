import { createRequire } from 'node:module'
import { rm } from 'node:fs/promises'
import { basename } from 'node:path'
import type { AuditTrailParameters, AuditTrailRow, AuditTrailSummary } from './audit-trail.js'
import { countRow, startSummary, summaryOf } from './audit-trail.js'
import type { CsvCounts } from './csv.js'
import { csv } from './csv.js'
import type { ManifestFile } from './manifest.js'
import { manifest } from './manifest.js'
import type { WrittenFile } from './output.js'
import { writeWhole } from './output.js'
import type { PdfResult } from './pdf-worker.js'
import type { PdfLimits } from './pdf.js'
import { startPdf } from './pdf.js'
import { openTypefaces } from './typeface.js'
import { zoneClock } from './zone.js'

/** Moves when the same parameters and rows would give other bytes. */
const VERSION = 1

/** Paths of the files to write. Their folder must exist. */
export interface AuditTrailFiles {
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

export interface RenderedAuditTrail {
  csv?: WrittenFile & CsvCounts
  pdf?: PdfResult
  manifest: WrittenFile
  summary: AuditTrailSummary
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
export async function renderAuditTrail(
  parameters: AuditTrailParameters,
  rows: () => AsyncIterable<AuditTrailRow>,
  out: AuditTrailFiles,
  { fonts = [], limits, onProgress }: RenderOptions = {},
): Promise<RenderedAuditTrail> {
  const clock = zoneClock(parameters.timeZone)
  const counts = startSummary()
  const csvCounts: CsvCounts = { rows: 0, neutralised: 0 }
  const pdf = out.pdf === undefined ? undefined : startPdf(parameters, out.pdf, fonts, limits)
  try {
    const counted = passing(rows(), async (row) => {
      countRow(counts, row, parameters, clock)
      if (counts.rows % 1_000 === 0) onProgress?.({ stage: 'rows', rows: counts.rows })
      await pdf?.add(row)
    })
    let csvFile: WrittenFile | undefined
    if (out.csv === undefined) await drain(counted)
    else csvFile = await writeWhole(out.csv, csv(counted, parameters.by, clock, csvCounts))
    if (counts.rows % 1_000 !== 0) onProgress?.({ stage: 'rows', rows: counts.rows })
    const summary = summaryOf(counts, parameters, clock)
    const pdfFile = await pdf?.finish(summary, (share) => onProgress?.({ stage: 'pages', share }))
    const files: ManifestFile[] = []
    if (csvFile && out.csv !== undefined) {
      files.push({ name: basename(out.csv), format: 'csv', ...csvFile, ...csvCounts })
    }
    if (pdfFile && out.pdf !== undefined) files.push({ name: basename(out.pdf), format: 'pdf', ...pdfFile })
    return {
      ...(csvFile ? { csv: { ...csvFile, ...csvCounts } } : {}),
      ...(pdfFile ? { pdf: pdfFile } : {}),
      manifest: await writeWhole(out.manifest, [Buffer.from(manifest(parameters, summary, files))]),
      summary,
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
