import type { CopiedRow } from './copy.js'
import { envelopeParts, leafType, parseEnvelope, type Envelope } from './envelope.js'
import type { Report } from './findings.js'
import type { ChainedRow } from './verify-chain.js'

/** What a leaf must agree with besides its row, and what was learnt from the rows before. */
export interface LogOfRow {
  readonly tenant: string
  /** Undefined where the tenant is not there. */
  readonly log: string | undefined
  readonly report: Report
  /** How the last leaf without a stream opened: most rows of a log come with the same principal and credential. */
  template: Template | undefined
  /** Logs that leaves name instead of this one. */
  readonly otherLogs: Map<string, { first: number; count: number }>
}

interface Template {
  readonly afterAt: DataView
  readonly afterSeq: DataView
}

/** Columns of the rows, in this order. */
export const ROW_COLUMNS = 'tenant, seq, recorded_at, leaf, chain_hash'
export const ROW_COLUMN_COUNT = 5
const [SEQ, RECORDED_AT, LEAF, CHAIN_HASH] = [1, 2, 3, 4]

const EPOCH_2000_US = 946_684_800_000_000
const MAX_LEAF_BYTES = 65_535

/** A row's columns as numbers and offsets; reused from row to row. */
export class RowReader implements ChainedRow {
  bytes: Buffer = Buffer.alloc(0)
  view: DataView = new DataView(new ArrayBuffer(0))
  seq = 0
  /** Microseconds since 2000, as the wire has it. */
  micros = 0
  leafAt = 0
  leafEnd = 0
  hashAt = 0
  /** Recorded time by the leaf, which the chain covers; by the row where the leaf cannot be read. Milliseconds. */
  atMs = 0

  /** @returns what is wrong with a column, or undefined */
  read({ bytes, view, starts, lengths }: CopiedRow): string | undefined {
    this.bytes = bytes
    this.view = view
    const seqAt = starts[SEQ] as number
    if (lengths[SEQ] !== 8) return 'seq is null'
    const seq = view.getInt32(seqAt) * 0x1_0000_0000 + view.getUint32(seqAt + 4)
    this.seq = seq
    if (!(seq >= 0 && seq <= Number.MAX_SAFE_INTEGER)) return `seq is ${seq}`
    const recordedAt = starts[RECORDED_AT] as number
    if (lengths[RECORDED_AT] !== 8) return 'recorded_at is null'
    this.micros = view.getInt32(recordedAt) * 0x1_0000_0000 + view.getUint32(recordedAt + 4)
    const leafBytes = lengths[LEAF] as number
    if (leafBytes < 2 || leafBytes > MAX_LEAF_BYTES)
      return leafBytes < 0 ? 'leaf is null' : `leaf has ${leafBytes} bytes`
    this.leafAt = starts[LEAF] as number
    this.leafEnd = this.leafAt + leafBytes
    if (lengths[CHAIN_HASH] !== 32) return `chain_hash has ${lengths[CHAIN_HASH]} bytes`
    this.hashAt = starts[CHAIN_HASH] as number
    return undefined
  }
}

/** Compares each leaf's `entry` member with its row in the opening bytes; parses nothing where they are as expected. */
export class RowCheck {
  private readonly onStream: (log: LogOfRow, envelope: Envelope) => void
  /** `{"entry":{"at":"2026-11-20T10:00:00.123Z`, of the time `openingMicros`: rows of a batch share it. */
  private readonly opening = new DataView(new ArrayBuffer(OPENING.length + AT_BYTES))
  private openingMicros = NaN
  private openingMs = NaN

  /** @param onStream told of every entry that has a stream */
  constructor(onStream: (log: LogOfRow, envelope: Envelope) => void) {
    this.onStream = onStream
    writeLatin1(this.opening, 0, OPENING)
  }

  /** Reports what does not agree; sets `reader.atMs`. */
  check(row: CopiedRow, reader: RowReader, log: LogOfRow): void {
    const { view } = row
    const { leafAt, leafEnd } = reader
    const closed = closesAsLeaf(view, leafAt, leafEnd)
    this.setOpening(reader.micros)
    const { opening } = this
    let at = leafAt + opening.byteLength
    const { template } = log
    if (closed && template && same(view, leafAt, leafEnd, opening)) {
      const { afterAt, afterSeq } = template
      if (same(view, at, leafEnd, afterAt)) {
        at = afterNumber(view, at + afterAt.byteLength, leafEnd, reader.seq)
        if (at > 0 && same(view, at, leafEnd, afterSeq)) {
          reader.atMs = this.openingMs
          return
        }
      }
    }
    this.checkSlowly(row, reader, log, closed)
  }

  private checkSlowly({ bytes }: CopiedRow, reader: RowReader, log: LogOfRow, closed: boolean): void {
    const { tenant, report } = log
    const { seq, micros } = reader
    const leaf = bytes.subarray(reader.leafAt, reader.leafEnd)
    reader.atMs = this.openingMs
    const envelope = parseEnvelope(leaf)
    if (!envelope || !closed) {
      const which = envelope ? 'close' : 'open'
      report('LEAF_FORMAT', tenant, seq, `the leaf does not ${which} as one of version 1 does`)
    }
    if (!envelope) return
    reader.atMs = Date.parse(envelope.at)
    const differing: string[] = []
    if (envelope.tenant !== tenant) differing.push(`tenant ${envelope.tenant}`)
    if (envelope.seq !== seq) differing.push(`seq ${envelope.seq}`)
    if (!this.isTime(micros, envelope.at)) differing.push(`time ${envelope.at}`)
    if (differing.length > 0) {
      if (log.log !== undefined && envelope.log !== log.log) differing.push(`log ${envelope.log}`)
      report('ENVELOPE_MISMATCH', tenant, seq, `the leaf attests ${differing.join(', ')}`)
    } else if (log.log !== undefined && envelope.log !== log.log) {
      noteOtherLog(log, envelope.log, seq)
    } else if (envelope.stream === undefined) {
      const parts = envelopeParts(envelope)
      log.template = { afterAt: latin1View(parts.afterAt), afterSeq: latin1View(parts.afterSeq) }
    }
    if (envelope.stream !== undefined) this.onStream(log, envelope)
    if (seq === 0) checkFirst(leaf, log)
  }

  /** Whether the opening that stands for `micros` holds the time `at`. */
  private isTime(micros: number, at: string): boolean {
    return Number.isFinite(this.openingMs) && micros === this.openingMicros && this.openingText() === at
  }

  private openingText(): string {
    return Buffer.from(this.opening.buffer).toString('latin1', OPENING.length)
  }

  /** Where the row's time is none that a leaf can hold, the opening matches no leaf. */
  private setOpening(micros: number): void {
    if (micros === this.openingMicros) return
    this.openingMicros = micros
    const ms = (micros + EPOCH_2000_US) / 1000
    const writable = Number.isInteger(ms) && ms >= YEAR_1_MS && ms < YEAR_2255_MS
    this.openingMs = ms
    writeLatin1(this.opening, OPENING.length, writable ? new Date(ms).toISOString() : ' '.repeat(AT_BYTES))
  }
}

const OPENING = '{"entry":{"at":"'
const AT_BYTES = 24
const YEAR_1_MS = -62_135_596_800_000
/** Later times have more microseconds than a double can tell apart. */
const YEAR_2255_MS = 8_993_894_400_000

/** Entry 0 is `log.created`, and names the log. */
function checkFirst(leaf: Buffer, log: LogOfRow): void {
  let named: unknown
  if (leafType(leaf) === 'log.created') {
    try {
      named = (JSON.parse(leaf.toString('utf8')) as { event?: { data?: { log?: unknown } } }).event?.data?.log
    } catch {
      named = undefined
    }
  }
  if (named === undefined || (log.log !== undefined && named !== log.log)) {
    log.report('FIRST_ENTRY', log.tenant, 0, 'entry 0 is not a log.created that names the log of this tenant')
  }
}

/** Reported once per log in the end: a tenant whose log was changed has as many such leaves as entries. */
function noteOtherLog({ otherLogs, report, tenant }: LogOfRow, log: string, seq: number): void {
  const known = otherLogs.get(log)
  if (known) {
    known.count++
    known.first = Math.min(known.first, seq)
  } else if (otherLogs.size < 100) {
    otherLogs.set(log, { first: seq, count: 1 })
  } else {
    report('LOG_MISMATCH', tenant, seq, `the leaf belongs to log ${log}`)
  }
}

export function reportOtherLogs({ otherLogs, report, tenant, log: own }: LogOfRow): void {
  for (const [log, { first, count }] of otherLogs) {
    const which = count === 1 ? 'its leaf belongs' : `its leaf and ${count - 1} others belong`
    report('LOG_MISMATCH', tenant, first, `${which} to log ${log}, not to ${own}`)
  }
}

/** Whether a leaf closes with `"type":"…"}}`. */
function closesAsLeaf(view: DataView, start: number, end: number): boolean {
  let at = end - 3
  if (at - TYPE_MEMBER.byteLength <= start) return false
  if (view.getUint8(end - 1) !== BRACE || view.getUint8(end - 2) !== BRACE || view.getUint8(at) !== QUOTE) return false
  const typeEnd = at
  while (at > start && typeCharacters[view.getUint8(at - 1)] === 1) at--
  const length = typeEnd - at
  return (
    length >= 1 &&
    length <= 128 &&
    at - TYPE_MEMBER.byteLength > start &&
    same(view, at - TYPE_MEMBER.byteLength, end, TYPE_MEMBER)
  )
}

const BRACE = 0x7d
const QUOTE = 0x22
const TYPE_MEMBER = latin1View('"type":"')
const typeCharacters = Uint8Array.from({ length: 256 }, (_, code) =>
  /[A-Za-z0-9_.-]/.test(String.fromCharCode(code)) && code < 128 ? 1 : 0,
)

/** Whether `bytes` stand at `at`, before `end`. Four at a time: half the cost of the whole check lies here. */
function same(view: DataView, at: number, end: number, bytes: DataView): boolean {
  const length = bytes.byteLength
  if (at + length > end) return false
  let i = 0
  for (; i + 4 <= length; i += 4) if (view.getInt32(at + i) !== bytes.getInt32(i)) return false
  for (; i < length; i++) if (view.getUint8(at + i) !== bytes.getUint8(i)) return false
  return true
}

/** @returns the place behind the digits of `value`, or -1 if these do not stand at `at` */
function afterNumber(view: DataView, at: number, end: number, value: number): number {
  let digits = 1
  for (let power = 10; power <= value; power *= 10) digits++
  if (at + digits > end) return -1
  let rest = value
  for (let i = at + digits - 1; i >= at; i--) {
    const next = Math.floor(rest / 10)
    if (view.getUint8(i) !== 0x30 + rest - next * 10) return -1
    rest = next
  }
  return at + digits
}

function latin1View(text: string): DataView {
  const view = new DataView(new ArrayBuffer(text.length))
  writeLatin1(view, 0, text)
  return view
}

function writeLatin1(view: DataView, at: number, text: string): void {
  for (let i = 0; i < text.length; i++) view.setUint8(at + i, text.charCodeAt(i))
}
