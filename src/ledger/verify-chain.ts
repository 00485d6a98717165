import { hash } from 'node:crypto'
import type { Report } from './findings.js'
import { chainHash, GENESIS, HASH_BYTES, leafHashInto } from './hash.js'

/** Where a check begins: the entry before the first one, or the beginning of the log. */
export interface Anchor {
  readonly chainHash: Uint8Array
  readonly atMs: number
}

/** What the table of heads says of a log. */
export interface StoredHead {
  readonly nextSeq: number
  readonly chainHash: Uint8Array
  /** Recorded time of the last entry, `2026-11-20T10:00:00.123000Z`: the column has microseconds. */
  readonly recordedAt: string
}

/** A row where it lies: its leaf at `bytes[leafAt, leafEnd)`, its stored chain hash at `bytes[hashAt, hashAt + 32)`. */
export interface ChainedRow {
  readonly bytes: Buffer
  /** Over the same memory as `bytes`. */
  readonly view: DataView
  readonly seq: number
  readonly atMs: number
  readonly leafAt: number
  readonly leafEnd: number
  readonly hashAt: number
}

/** Entries without a gap between them, in order of seq. */
interface Run {
  start: number
  end: number
  /** The first one, whose link waits for the entry before; undefined where there is nothing to wait for. */
  first: Waiting | undefined
  /** Stored chain hash of the last one, then room for the leaf hash of the next: the input of the next link. */
  readonly input: Buffer
  /** Over the same memory as `input`. */
  readonly inputView: DataView
  lastAtMs: number
  /** Start of the next run, so that extending this one is a single comparison. */
  limit: number
  /** Whether a link may rest on its last chain hash. */
  readonly linkable: boolean
}

interface Waiting {
  readonly leafHash: Buffer
  readonly chainHash: Buffer
  readonly atMs: number
}

/** A link that does not hold. The next one tells which of the two hashes is to blame. */
interface BrokenLink {
  readonly previous: Buffer
  readonly leafHash: Buffer
  readonly stored: Buffer
}

export interface ChainCheckOptions {
  /** The first place that is checked. */
  readonly from: number
  /** Undefined where the entry before `from` is not there. */
  readonly anchor: Anchor | undefined
  /** The rows come in order of seq, so that a gap is final: needs no memory, however many there are. */
  readonly ordered?: boolean
}

/**
 * One log's chain, from rows in any order. Heap order is nearly that of seq, but not quite: rows are kept as runs without a
 * gap, of which only the ends are remembered, so that memory follows the number of gaps and not that of the rows.
 * A link needs only the *stored* chain hash of the entry before; so after a finding the check goes on as if it were right.
 */
export class ChainCheck {
  readonly tenant: string
  entries = 0
  /** Rows lie in too many pieces to remember: check again with rows in order, and take nothing from this one. */
  disordered = false
  private readonly ordered: boolean
  private readonly report: Report
  /** Sorted by start. The first ends where the check begins. */
  private readonly runs: Run[]
  /** The one that was extended last. */
  private current: Run
  private readonly broken = new Map<number, BrokenLink>()
  private lastChanged = false

  constructor(tenant: string, { from, anchor, ordered = false }: ChainCheckOptions, report: Report) {
    this.tenant = tenant
    this.ordered = ordered
    this.report = report
    const { chainHash, atMs } = anchor ?? { chainHash: GENESIS, atMs: -Infinity }
    this.current = newRun(from - 1, chainHash, atMs, { linkable: anchor !== undefined })
    this.runs = [this.current]
  }

  /** The last entry that came, or the place before the first: what the next entry rests on. */
  get last(): { seq: number; chainHash: Buffer; atMs: number } {
    const run = this.runs.at(-1) ?? this.current
    return { seq: run.end, chainHash: Buffer.from(run.input.subarray(0, HASH_BYTES)), atMs: run.lastAtMs }
  }

  /** Takes the next row; overwrites `bytes[leafAt - 1]`. */
  add(row: ChainedRow): void {
    const run = this.current
    const { seq, atMs, bytes, view, leafAt, leafEnd, hashAt } = row
    if (seq !== run.end + 1 || seq >= run.limit) {
      this.addElsewhere(row)
      return
    }
    this.entries++
    const { input, inputView } = run
    leafHashInto(input, HASH_BYTES, bytes, leafAt, leafEnd)
    const digest = hash('sha256', input, 'binary')
    // Four bytes at a time: as much as a tenth of the whole verification lies in how these are compared and copied.
    let difference = 0
    for (let i = 0; i < HASH_BYTES; i += 4) difference |= view.getInt32(hashAt + i) ^ int32At(digest, i)
    if (difference !== 0 && run.linkable) {
      this.breaks(seq, input, input.subarray(HASH_BYTES), bytes.subarray(hashAt, hashAt + HASH_BYTES))
    }
    for (let i = 0; i < HASH_BYTES; i += 4) inputView.setInt32(i, view.getInt32(hashAt + i))
    if (atMs < run.lastAtMs) this.backwards(seq)
    run.lastAtMs = atMs
    run.end = seq
    if (seq + 1 === run.limit) this.join(run)
  }

  /** Reports what only the whole log shows: gaps, whom to blame for broken links, what the head says. */
  finish(head: StoredHead | undefined): void {
    for (let i = 1; i < this.runs.length; i++) {
      const [before, run] = [this.runs[i - 1], this.runs[i]]
      if (before && run) this.gap(before.end + 1, run.start)
    }
    this.settleBroken(head)
    this.compareHead(head)
  }

  private compareHead(head: StoredHead | undefined): void {
    const { tenant, last, report } = this
    if (!head) {
      report('HEAD_MISSING', tenant, last.seq + 1, 'there is no head to say where the log ends')
      return
    }
    const size = last.seq + 1
    if (head.nextSeq > size) {
      const range = head.nextSeq === size + 1 ? `entry ${size}` : `entries ${size} to ${head.nextSeq - 1}`
      report('TAIL_MISSING', tenant, size, `the head stands at ${head.nextSeq}, and ${range} cannot be found`)
    } else if (head.nextSeq < size) {
      report(
        'HEAD_MISMATCH',
        tenant,
        head.nextSeq,
        `the head stands at ${head.nextSeq}, but the log has ${size} entries`,
      )
    } else if (size > 0) {
      if (!last.chainHash.equals(head.chainHash) && !this.lastChanged) {
        report('HEAD_MISMATCH', tenant, last.seq, `the head's chain hash is not that of entry ${last.seq}`)
      }
      if (Number.isFinite(last.atMs) && head.recordedAt !== withMicroseconds(last.atMs)) {
        report('HEAD_MISMATCH', tenant, last.seq, `the head's recorded time is not that of entry ${last.seq}`)
      }
    }
  }

  /** A row that does not extend the current run. */
  private addElsewhere(row: ChainedRow): void {
    const { seq, atMs, bytes, leafAt, leafEnd, hashAt } = row
    const at = this.runAt(seq)
    const run = this.runs[at]
    if (!run || seq <= run.end) {
      this.report('SEQ_DUPLICATE', this.tenant, seq, `there is more than one entry ${seq}`)
      return
    }
    if (seq === run.end + 1) {
      this.current = run
      this.add(row)
      return
    }
    this.entries++
    const leafHash = Buffer.alloc(HASH_BYTES)
    leafHashInto(leafHash, 0, bytes, leafAt, leafEnd)
    const stored = Buffer.from(bytes.subarray(hashAt, hashAt + HASH_BYTES))
    const first = { leafHash, chainHash: stored, atMs }
    const limit = run.limit
    const added = newRun(seq, stored, atMs, { first, limit, linkable: true })
    this.current = added
    if (this.ordered) {
      this.gap(run.end + 1, seq)
      this.runs.splice(0, this.runs.length, added)
      return
    }
    run.limit = seq
    this.runs.splice(at + 1, 0, added)
    if (this.runs.length > MOST_RUNS) this.disordered = true
    if (seq + 1 === limit) this.join(added)
  }

  /** `run` has reached the start of the next one. */
  private join(run: Run): void {
    const at = this.runAt(run.start)
    const next = this.runs[at + 1]
    if (!next?.first) throw new Error('a run without a beginning')
    const { leafHash, chainHash: stored, atMs } = next.first
    const previous = run.input.subarray(0, HASH_BYTES)
    if (run.linkable && !chainHash(previous, leafHash).equals(stored)) {
      this.breaks(next.start, previous, leafHash, stored)
    }
    if (atMs < run.lastAtMs) this.backwards(next.start)
    const joined: Run = { ...next, start: run.start, first: run.first }
    this.runs.splice(at, 2, joined)
    this.current = joined
  }

  /** Index of the last run that starts at or before `seq`, -1 if none does. */
  private runAt(seq: number): number {
    let low = 0
    let high = this.runs.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.runs[middle] as Run).start <= seq) low = middle + 1
      else high = middle
    }
    return low - 1
  }

  private gap(from: number, to: number): void {
    const range = to === from + 1 ? `entry ${from} is missing` : `entries ${from} to ${to - 1} are missing`
    this.report('SEQ_GAP', this.tenant, from, range)
  }

  private backwards(seq: number): void {
    this.report('TIME_BACKWARDS', this.tenant, seq, `entry ${seq} was recorded earlier than entry ${seq - 1}`)
  }

  /** @param previous its first 32 bytes count */
  private breaks(seq: number, previous: Uint8Array, leafHash: Uint8Array, stored: Uint8Array): void {
    this.broken.set(seq, {
      previous: Buffer.from(previous.subarray(0, HASH_BYTES)),
      leafHash: Buffer.from(leafHash),
      stored: Buffer.from(stored),
    })
    if (this.broken.size >= MOST_BROKEN) this.settleBroken(undefined)
  }

  /**
   * Two broken links in a row that hold once the chain hash between them is put right are one changed hash. A single one is
   * a changed leaf, or an entry before it that was rewritten together with its hash: the chain cannot tell these apart.
   */
  private settleBroken(head: StoredHead | undefined): void {
    const { tenant, report, broken } = this
    const lastSeq = this.last.seq
    const cleared = new Set<number>()
    for (const seq of [...broken.keys()].sort((a, b) => a - b)) {
      const link = broken.get(seq)
      if (!link || cleared.has(seq)) continue
      const right = chainHash(link.previous, link.leafHash)
      const next = broken.get(seq + 1)
      if (next && chainHash(right, next.leafHash).equals(next.stored)) {
        cleared.add(seq + 1)
        report('HASH_CHANGED', tenant, seq, `the chain hash of entry ${seq} must be ${right.toString('hex')}`)
      } else if (seq === lastSeq && head && right.equals(head.chainHash)) {
        this.lastChanged = true
        report('HASH_CHANGED', tenant, seq, `the chain hash of entry ${seq} must be ${right.toString('hex')}`)
      } else {
        report('LINK_BROKEN', tenant, seq, brokenLinkMessage(seq))
      }
    }
    broken.clear()
  }
}

/** Runs remembered at most: a log that lies in more pieces is read again, in order. */
export const MOST_RUNS = 10_000
/** Broken links remembered at most, to be told apart by their neighbours. */
const MOST_BROKEN = 10_000

export function brokenLinkMessage(seq: number): string {
  if (seq === 0) return 'the chain hash of entry 0 does not follow from its leaf'
  return (
    `the chain hash of entry ${seq} does not follow from entry ${seq - 1} and its own leaf: ` +
    `this leaf was changed, or entry ${seq - 1} was rewritten together with its chain hash`
  )
}

/** @returns undefined for a time outside the years 0 to 9999 */
export function withMicroseconds(ms: number): string | undefined {
  if (!(ms >= YEAR_0_MS && ms < YEAR_10000_MS)) return undefined
  return new Date(ms).toISOString().replace('Z', '000Z')
}

const YEAR_0_MS = -62_167_219_200_000
const YEAR_10000_MS = 253_402_300_800_000

interface RunOptions {
  readonly first?: Waiting
  readonly limit?: number
  readonly linkable: boolean
}

function newRun(seq: number, chainHash: Uint8Array, lastAtMs: number, options: RunOptions): Run {
  const input = Buffer.alloc(2 * HASH_BYTES)
  input.set(chainHash)
  const { first, limit = Infinity, linkable } = options
  const inputView = new DataView(input.buffer, input.byteOffset, input.length)
  return { start: seq, end: seq, first, input, inputView, lastAtMs, limit, linkable }
}

/** @param digest as latin1, the cheapest form there is */
function int32At(digest: string, at: number): number {
  return (
    (digest.charCodeAt(at) << 24) |
    (digest.charCodeAt(at + 1) << 16) |
    (digest.charCodeAt(at + 2) << 8) |
    digest.charCodeAt(at + 3)
  )
}
