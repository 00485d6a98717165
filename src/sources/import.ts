import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError } from '../errors.js'
import type { EventInput } from '../ledger/event.js'
import type { Refusal, Source, SourceItem } from './source.js'

export interface ImportDeps {
  /**
   * Appends all events or none, and moves the source's position with them from `after` to `now`.
   * @throws DomainError SOURCE_MOVED when the position is not `after`; with `index` when one event is to blame
   */
  ingest: (
    events: EventInput[],
    position: { source: string; after: string | null; now: string },
  ) => Promise<{ entries: readonly { seq: number }[] }>
  /** The position recorded last, null for a source never read. */
  position: (source: string) => Promise<string | null>
}

export interface ImportOptions {
  /** Events in one transaction, 1 to 1,000. */
  batchSize?: number
  /** Goes on past what is refused and lists it; otherwise the import stops there, with all before it imported. */
  skipRefused?: boolean
  onProgress?: (progress: ImportProgress) => void
  /** Stops between two batches. */
  signal?: AbortSignal
}

export interface ImportProgress {
  /** Events dealt with in this run. */
  done: number
  /** Events there are to deal with, where the source can tell. */
  total: number | undefined
  /** Events imported per second, so far. */
  ratePerS: number
}

export interface ImportSummary {
  source: string
  label: string
  imported: number
  /** Imported before, by an earlier run or by one at the same time. */
  already: number
  /** How many were refused; `refused` lists the first of them. */
  refusedCount: number
  refused: Refusal[]
  /** False when the import stopped before the end: at a refusal, or because it was told to. */
  complete: boolean
  firstSeq: number | undefined
  lastSeq: number | undefined
  position: string | null
  notes: string[]
  elapsedMs: number
  ratePerS: number
}

const BATCH_SIZE = 500
const BATCH_BYTES = 4 * 1024 * 1024
const REFUSALS_LISTED = 1000
const MOST_WAITS = 20
const MOST_LEAD_MS = 2000

/**
 * Imports what is new in a source, in its order and in batches. Each batch moves the source's position in the transaction
 * that appends it, so a run can be stopped anywhere and repeated, and two may run at once: the one whose batch comes
 * second is told so, passes over what the other one did, and goes on. Nothing is imported twice.
 */
export async function importSource(
  source: Source,
  deps: ImportDeps,
  options: ImportOptions = {},
): Promise<ImportSummary> {
  const run = new ImportRun(source, deps, options)
  while ((await run.readOn()) === 'reopen');
  return run.summary()
}

/** An event that only the store could refuse, such as one too large, and what stands in its place from then on. */
interface Blamed {
  item: SourceItem
  instead: SourceItem
}

function blame(item: SourceItem, { code, message, pointer }: DomainError): Blamed {
  const { position, where, bytes } = item
  const refused = { code, message, ...(pointer === undefined ? {} : { pointer }) }
  return { item, instead: { position, where, bytes, refused } }
}

function isAboutAnEvent({ code }: DomainError): boolean {
  return /^(EVENT|GROUP|JSON|SUBJECT)_/.test(code)
}

class ImportRun {
  readonly #source: Source
  readonly #deps: ImportDeps
  readonly #options: ImportOptions
  readonly #started = performance.now()
  readonly #refused: Refusal[] = []
  readonly #notes: string[] = []
  #refusedCount = 0
  #imported = 0
  #already = 0
  #passedOver = 0
  #total: number | undefined
  #after: string | null = null
  #firstSeq: number | undefined
  #lastSeq: number | undefined
  #complete = false
  /** Batches in a row that another run was faster with. */
  #losses = 0

  constructor(source: Source, deps: ImportDeps, options: ImportOptions) {
    this.#source = source
    this.#deps = deps
    this.#options = options
  }

  /** Reads from the recorded position to the end. `reopen`: another run went further than what was read here. */
  async readOn(): Promise<'done' | 'reopen'> {
    this.#after = await this.#deps.position(this.#source.name)
    const opened = await this.#source.open(this.#after)
    this.#already = Math.max(0, opened.already - this.#imported - this.#refusedCount)
    this.#passedOver = 0
    for (const note of opened.notes) if (!this.#notes.includes(note)) this.#notes.push(note)
    this.#total = opened.total === undefined ? undefined : this.#imported + this.#refusedCount + opened.total
    this.#report()

    const { batchSize = BATCH_SIZE, skipRefused = false, signal } = this.#options
    const batch: SourceItem[] = []
    let bytes = 0
    // While set, another run is ahead: everything up to this position is its work.
    let behind: string | undefined
    for await (const item of opened.items) {
      if (signal?.aborted === true) return 'done'
      if (behind !== undefined) {
        this.#passedOver += 1
        if (item.position === behind) behind = undefined
        continue
      }
      batch.push(item)
      bytes += item.bytes
      const stop = 'refused' in item && !skipRefused
      if (batch.length < batchSize && bytes < BATCH_BYTES && !stop) continue
      const outcome = await this.#importBatch(batch)
      if (outcome === 'stopped') return 'done'
      if (outcome === 'moved') behind = await this.#catchUp(batch)
      bytes = batch.reduce((sum, { bytes }) => sum + bytes, 0)
    }
    while (batch.length > 0) {
      const outcome = await this.#importBatch(batch)
      if (outcome === 'stopped') return 'done'
      if (outcome === 'imported') break
      behind = await this.#catchUp(batch)
      if (behind !== undefined) break
    }
    if (behind !== undefined) return 'reopen'
    this.#complete = true
    return 'done'
  }

  summary(): ImportSummary {
    const elapsedMs = performance.now() - this.#started
    return {
      source: this.#source.name,
      label: this.#source.label,
      imported: this.#imported,
      already: this.#already + this.#passedOver,
      refusedCount: this.#refusedCount,
      refused: this.#refused,
      complete: this.#complete,
      firstSeq: this.#firstSeq,
      lastSeq: this.#lastSeq,
      position: this.#after,
      notes: this.#notes,
      elapsedMs,
      ratePerS: this.#rate(elapsedMs),
    }
  }

  /** Drops from the batch what another run has imported. Returns the position to read on to, where that lies beyond it. */
  async #catchUp(batch: SourceItem[]): Promise<string | undefined> {
    // Sealing is most of the work and was in vain: the faster one is given a lead, and taken over from if it stops.
    this.#losses += 1
    await sleep(Math.min(MOST_LEAD_MS, 25 * 2 ** this.#losses))
    const moved = await this.#deps.position(this.#source.name)
    if (moved === this.#after) return undefined
    const reached = batch.findIndex(({ position }) => position === moved)
    this.#passedOver += reached < 0 ? batch.length : reached + 1
    batch.splice(0, reached < 0 ? batch.length : reached + 1)
    this.#after = moved
    this.#report()
    return reached < 0 ? (moved ?? '') : undefined
  }

  /**
   * Imports what is in the batch and takes it out. `stopped`: one was refused, what came before it is imported, and the
   * rest is not to be. `moved`: another run was faster with what is still in the batch.
   */
  async #importBatch(batch: SourceItem[]): Promise<'imported' | 'moved' | 'stopped'> {
    let size = batch.length
    while (batch.length > 0) {
      const part = batch.slice(0, size)
      const refused = this.#options.skipRefused === true ? -1 : part.findIndex((item) => 'refused' in item)
      if (refused > 0) part.length = refused
      const outcome = refused === 0 ? 'imported' : await this.#append(part)
      if (outcome === 'moved') return 'moved'
      if (outcome === 'one of them') {
        size = Math.ceil(part.length / 2)
        continue
      }
      if (outcome !== 'imported') {
        batch.splice(batch.indexOf(outcome.item), 1, outcome.instead)
        continue
      }
      for (const item of batch.splice(0, part.length)) if ('refused' in item) this.#refuse(item)
      size = batch.length
      this.#report()
      if (refused === 0) return 'stopped'
    }
    return 'imported'
  }

  /** `one of them`: an event is to blame and the error does not say which. Nothing was written then. */
  async #append(items: readonly SourceItem[]): Promise<'imported' | 'moved' | 'one of them' | Blamed> {
    const withEvents = items.flatMap((item) => ('event' in item ? [item] : []))
    const now = items.at(-1)?.position
    // Without an event there is no transaction to move the position in: the next run meets these refusals again.
    if (withEvents.length === 0 || now === undefined) return 'imported'
    for (let waits = 0; ; waits++) {
      try {
        const position = { source: this.#source.name, after: this.#after, now }
        const events = withEvents.map(({ event }) => event)
        const { entries } = await this.#deps.ingest(events, position)
        this.#after = now
        this.#losses = 0
        this.#imported += withEvents.length
        this.#firstSeq ??= entries[0]?.seq
        this.#lastSeq = entries.at(-1)?.seq ?? this.#lastSeq
        return 'imported'
      } catch (error) {
        if (!(error instanceof DomainError)) throw error
        if (error.code === 'SOURCE_MOVED') return 'moved'
        if (error.index !== undefined || isAboutAnEvent(error)) {
          const item = withEvents[error.index ?? (withEvents.length === 1 ? 0 : -1)]
          return item === undefined ? 'one of them' : blame(item, error)
        }
        if (error.retryAfterS === undefined || waits >= MOST_WAITS) throw error
        await sleep(Math.min(error.retryAfterS, 30) * 1000)
        if (this.#options.signal?.aborted === true) throw error
      }
    }
  }

  #refuse(item: SourceItem & { refused: Omit<Refusal, 'where'> }): void {
    this.#refusedCount += 1
    if (this.#refused.length < REFUSALS_LISTED) this.#refused.push({ where: item.where, ...item.refused })
  }

  #rate(elapsedMs: number): number {
    return elapsedMs > 0 ? (this.#imported * 1000) / elapsedMs : 0
  }

  #report(): void {
    const done = this.#imported + this.#refusedCount + this.#passedOver
    const ratePerS = this.#rate(performance.now() - this.#started)
    this.#options.onProgress?.({ done, total: this.#total, ratePerS })
  }
}
