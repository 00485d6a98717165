import { appendStatement, appendOne, optionalSections, type Section } from './append-statement.js'
import type { EnvelopeParts } from './envelope.js'
import { envelopeParts } from './envelope.js'
import { ChainHasher, HASH_BYTES } from './hash.js'
import { BinaryArray, elementTypes, timestamptz } from './wire.js'

/** A sealed group as the table keeps it; its commitment is in the leaf already. */
export interface SealedGroup {
  readonly group: string
  readonly subject: string
  readonly generation: number
  /** nonce (12) | ciphertext | tag (16) */
  readonly ciphertext: Buffer
}

/** An event whose place is all that is missing. */
export interface PreparedEvent {
  /** Canonical JSON of the leaf's `event` member. */
  readonly body: Buffer
  readonly sealed: readonly SealedGroup[]
}

/** The end of a tenant's log, as the next entry must know it. */
export interface Head {
  readonly tenant: string
  readonly log: string
  nextSeq: number
  /** Of the last entry, 32 bytes. */
  chainHash: Buffer
  /** Of the last entry, ms since 1970. */
  recordedAtMs: number
  keyEpoch: number
}

/** Events that enter a log together or not at all. */
export interface Addition {
  readonly by: string
  readonly via: string
  readonly events: readonly PreparedEvent[]
  /** Only commands write a stream; `version` is the number of its first event here. */
  readonly stream?: { readonly name: string; readonly version: number } | undefined
  readonly position?: { readonly source: string; readonly now: string } | undefined
  /** Remembered with the first entry, so that a repeat gets the first answer. */
  readonly keys?: readonly RememberedKey[] | undefined
}

export interface RememberedKey {
  readonly key: string
  /** HMAC of the body; absent where the key alone tells repeats apart. */
  readonly mac?: Buffer | undefined
  /** Index of the first event the key stands for, and how many. */
  readonly first: number
  readonly count: number
}

/** The places that an addition got. */
export interface Placed {
  readonly seq: number
  readonly at: string
  /** Of each event, in order: 32 bytes each, one behind the other. */
  readonly chainHashes: Buffer
}

/** The chain hash of the n-th event of an addition. */
export function chainHashAt({ chainHashes }: Placed, n: number): Buffer {
  return chainHashes.subarray(n * HASH_BYTES, (n + 1) * HASH_BYTES)
}

/** Place and chain hash of an addition's last entry. */
export function lastOf(placed: Placed): { seq: number; chainHash: Buffer } {
  const last = placed.chainHashes.length / HASH_BYTES - 1
  return { seq: placed.seq + last, chainHash: chainHashAt(placed, last) }
}

/**
 * Chains additions onto heads and writes them as the parameters of one statement. It is reused from batch to batch, so
 * that its memory is, too.
 */
export class Batch {
  entries = 0
  private readonly hasher = new ChainHasher()
  private readonly heads = {
    tenant: new BinaryArray(elementTypes.text),
    fromSeq: new BinaryArray(elementTypes.int8),
    fromHash: new BinaryArray(elementTypes.bytea),
    nextSeq: new BinaryArray(elementTypes.int8),
    at: new BinaryArray(elementTypes.timestamptz),
    chainHash: new BinaryArray(elementTypes.bytea),
  }
  private readonly rows = {
    head: new BinaryArray(elementTypes.int4),
    seq: new BinaryArray(elementTypes.int8),
    leaf: new BinaryArray(elementTypes.bytea),
    chainHash: new BinaryArray(elementTypes.bytea),
  }
  private readonly streams = {
    head: new BinaryArray(elementTypes.int4),
    name: new BinaryArray(elementTypes.text),
    version: new BinaryArray(elementTypes.int8),
    seq: new BinaryArray(elementTypes.int8),
  }
  private readonly sealed = {
    head: new BinaryArray(elementTypes.int4),
    seq: new BinaryArray(elementTypes.int8),
    group: new BinaryArray(elementTypes.text),
    subject: new BinaryArray(elementTypes.text),
    generation: new BinaryArray(elementTypes.int4),
    ciphertext: new BinaryArray(elementTypes.bytea),
  }
  private readonly keys = {
    head: new BinaryArray(elementTypes.int4),
    principal: new BinaryArray(elementTypes.text),
    key: new BinaryArray(elementTypes.text),
    mac: new BinaryArray(elementTypes.bytea),
    firstSeq: new BinaryArray(elementTypes.int8),
    count: new BinaryArray(elementTypes.int4),
  }
  private readonly positions = {
    head: new BinaryArray(elementTypes.int4),
    source: new BinaryArray(elementTypes.text),
    position: new BinaryArray(elementTypes.text),
    seq: new BinaryArray(elementTypes.int8),
  }
  private headCount = 0
  private optional: Section[] = []

  reset(): void {
    this.entries = 0
    this.headCount = 0
    this.optional = []
    for (const table of [this.heads, this.rows, this.streams, this.sealed, this.keys, this.positions]) {
      for (const column of Object.values(table)) column.reset()
    }
  }

  /**
   * Chains `additions` onto `head`, which moves.
   * @param nowMs this process's clock; the log's time is never earlier than the entry before
   */
  extend(head: Head, additions: readonly Addition[], nowMs: number): Placed[] {
    const n = this.headCount++
    const atMs = Math.max(nowMs, head.recordedAtMs)
    const at = isoTime(atMs)
    this.heads.tenant.text(head.tenant)
    this.heads.fromSeq.int8(head.nextSeq)
    this.heads.fromHash.bytes(head.chainHash)
    this.hasher.from(head.chainHash)
    let seq = head.nextSeq
    const placed = additions.map((addition) => {
      const { events } = addition
      const first = seq
      const chainHashes = Buffer.allocUnsafe(events.length * HASH_BYTES)
      const parts = addition.stream ? undefined : partsOf(head, addition)
      for (let index = 0; index < events.length; index++, seq++) {
        const event = events[index]
        if (!event) continue
        this.link(n, parts ?? partsInStream(head, addition, index), event, seq, at)
        chainHashes.set(this.hasher.chain, index * HASH_BYTES)
      }
      this.remember(n, addition, first)
      return { seq: first, at, chainHashes }
    })
    head.nextSeq = seq
    head.chainHash = Buffer.from(this.hasher.chain)
    head.recordedAtMs = atMs
    this.heads.nextSeq.int8(seq)
    this.heads.at.int8(timestamptz(atMs))
    this.heads.chainHash.bytes(head.chainHash)
    return placed
  }

  /**
   * The statement for what this batch holds, and its parameters: views, valid until the next `reset`.
   * @param options.notify tells followers; commits that do wait for each other in the whole database
   */
  statement({ notify }: { readonly notify: boolean }): { name: string; text: string; values: Buffer[] } {
    const sections = optionalSections.filter((section) => this.optional.includes(section))
    if (notify && this.headCount === 1 && this.entries === 1 && sections.length === 0) return this.loneStatement()
    const tables = [this.heads, this.rows, ...sections.map((section) => this[section])]
    const { name, text } = appendStatement(sections, notify)
    return {
      name,
      text,
      values: tables.flatMap((table) => Object.values(table).map((column) => column.parameter())),
    }
  }

  private loneStatement(): { name: string; text: string; values: Buffer[] } {
    const { tenant, fromSeq, fromHash, nextSeq, at, chainHash } = this.heads
    const columns = [tenant, fromSeq, fromHash, nextSeq, at, chainHash, this.rows.leaf]
    return { ...appendOne, values: columns.map((column) => column.only()) }
  }

  private link(n: number, parts: EnvelopeParts, event: PreparedEvent, seq: number, at: string): void {
    const { rows, hasher } = this
    rows.head.int4(n)
    rows.seq.int8(seq)
    const prefix = parts.open + at + parts.afterAt + String(seq) + parts.afterSeq
    const { body } = event
    const { memory, start } = rows.leaf.claim(prefix.length + body.length + 1)
    memory.write(prefix, start, 'latin1')
    memory.set(body, start + prefix.length)
    const end = start + prefix.length + body.length + 1
    memory[end - 1] = CLOSING_BRACE
    hasher.link(memory, start, end)
    rows.leaf.claimed(end)
    rows.chainHash.bytes(hasher.chain)
    if (event.sealed.length > 0) this.seal(n, seq, event.sealed)
    this.entries++
  }

  private seal(n: number, seq: number, groups: readonly SealedGroup[]): void {
    this.use('sealed')
    const { sealed } = this
    for (const { group, subject, generation, ciphertext } of groups) {
      sealed.head.int4(n)
      sealed.seq.int8(seq)
      sealed.group.text(group)
      sealed.subject.text(subject)
      sealed.generation.int4(generation)
      sealed.ciphertext.bytes(ciphertext)
    }
  }

  private remember(n: number, { by, events, stream, keys, position }: Addition, first: number): void {
    if (stream) {
      this.use('streams')
      for (let index = 0; index < events.length; index++) {
        this.streams.head.int4(n)
        this.streams.name.text(stream.name)
        this.streams.version.int8(stream.version + index)
        this.streams.seq.int8(first + index)
      }
    }
    for (const { key, mac, first: index, count } of keys ?? []) {
      this.use('keys')
      this.keys.head.int4(n)
      this.keys.principal.text(by)
      this.keys.key.text(key)
      if (mac) this.keys.mac.bytes(mac)
      else this.keys.mac.null()
      this.keys.firstSeq.int8(first + index)
      this.keys.count.int4(count)
    }
    if (position) {
      this.use('positions')
      this.positions.head.int4(n)
      this.positions.source.text(position.source)
      this.positions.position.text(position.now)
      this.positions.seq.int8(first + events.length - 1)
    }
  }

  private use(section: Section): void {
    if (!this.optional.includes(section)) this.optional.push(section)
  }
}

/** A tenant's entries come from few credentials: the parts for its last one are often the next one's. */
function partsOf(head: Head, { by, via }: Addition): EnvelopeParts {
  const last = lastParts.get(head)
  if (last?.by === by && last.via === via) return last.parts
  const parts = envelopeParts({ by, via, log: head.log, tenant: head.tenant })
  lastParts.set(head, { by, via, parts })
  return parts
}

const lastParts = new WeakMap<Head, { by: string; via: string; parts: EnvelopeParts }>()

/** Most heads of a batch move at the same millisecond. */
function isoTime(ms: number): string {
  if (lastTime.ms !== ms) lastTime = { ms, text: new Date(ms).toISOString() }
  return lastTime.text
}

let lastTime = { ms: 0, text: new Date(0).toISOString() }

function partsInStream({ log, tenant }: Head, { by, via, stream }: Addition, index: number): EnvelopeParts {
  if (!stream) throw new Error('an addition without a stream')
  return envelopeParts({ by, via, log, tenant, stream: stream.name, version: stream.version + index })
}

const CLOSING_BRACE = 0x7d
