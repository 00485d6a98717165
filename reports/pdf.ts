import { Worker } from 'node:worker_threads'
import { DomainError } from '../src/errors.js'
import type { ReportParameters } from './parameters.js'
import type { ReportKindName } from './report-kind.js'
import type { FromPdfWorker, PdfResult, PdfWorkerInput, ToPdfWorker } from './pdf-worker.js'

/** Entries that a PDF lists. A longer report says so on its title page and points to the CSV. */
export const PDF_ROW_LIMIT = 20_000

/**
 * Lines of text after which no further entry is listed, so that 20,000 very long ones cannot exhaust the memory: a line takes about
 * 5 kB while pages are laid out. 20,000 entries of common length stay below it.
 */
export const PDF_LINE_LIMIT = 320_000

export interface PdfLimits {
  rows: number
  lines: number
}

const CHUNK_ROWS = 250
// Set rows beyond this wait until the worker has taken some: the sender's memory stays bounded.
const CHUNKS_AHEAD = 4

/** A PDF under way in a thread of its own. */
export interface PdfRun {
  /** Hands over one row; those past the limit are dropped. Waits while the worker is behind. */
  add(row: unknown): Promise<void>
  /** Lays everything out and writes the file. */
  finish(summary: unknown, onDrawn?: (share: number) => void): Promise<PdfResult>
  /** Stops the thread; safe after `finish`. */
  abort(): Promise<void>
}

/**
 * @param path of the file to write
 * @param fonts more font files, for characters that the built-in ones lack
 */
export function startPdf(
  kind: ReportKindName,
  parameters: ReportParameters,
  path: string,
  fonts: readonly string[],
  limits: PdfLimits = { rows: PDF_ROW_LIMIT, lines: PDF_LINE_LIMIT },
): PdfRun {
  const input: PdfWorkerInput = { kind, parameters, path, fonts, lineLimit: limits.lines }
  const worker = new Worker(new URL('./pdf-worker.js', import.meta.url), {
    workerData: input,
    resourceLimits: { maxOldGenerationSizeMb: 3_072 },
    env: {},
    execArgv: [],
  })
  const state = { added: 0, underway: 0 }
  let chunk: unknown[] = []
  let wake: (() => void) | undefined
  let drawn: ((share: number) => void) | undefined
  const result = new Promise<PdfResult>((resolve, reject) => {
    worker.on('message', (message: FromPdfWorker) => {
      if ('taken' in message) state.underway -= 1
      else if ('drawn' in message) drawn?.(message.drawn)
      else if ('done' in message) resolve(message.done)
      else reject(failure(message.failed))
      wake?.()
    })
    worker.on('error', reject)
    worker.on('exit', (code) => reject(new Error(`the PDF thread ended with code ${code} before the file was written`)))
  })
  // Whoever awaits `add` or `finish` learns of a failure; without this line it would end the process first.
  result.catch(() => wake?.())

  async function flush(): Promise<void> {
    if (chunk.length === 0) return
    send({ rows: chunk })
    chunk = []
    state.underway += 1
    while (state.underway >= CHUNKS_AHEAD) {
      await Promise.race([result, new Promise<void>((resolve) => (wake = resolve))])
    }
  }
  const send = (message: ToPdfWorker) => worker.postMessage(message)

  return {
    async add(row) {
      if (state.added >= limits.rows) return
      state.added += 1
      chunk.push(row)
      if (chunk.length >= CHUNK_ROWS) await flush()
    },
    async finish(summary, onDrawn) {
      await flush()
      drawn = onDrawn
      drawn?.(0)
      send({ summary })
      return await result
    },
    async abort() {
      await worker.terminate()
    },
  }
}

function failure({ message, code }: { message: string; code?: string }): Error {
  return code?.startsWith('REPORT_')
    ? new DomainError(code, message)
    : new Error(`the PDF could not be made: ${message}`)
}
