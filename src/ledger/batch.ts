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
  private last: { log: string; by: string; via: string; parts: EnvelopeParts } | undefined

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
    const at = new Date(atMs).toISOString()
    this.heads.tenant.text(head.tenant)
    this.heads.fromSeq.int8(head.nextSeq)
    this.heads.fromHash.bytes(head.chainHash)
    this.hasher.from(head.chainHash)
    let seq = head.nextSeq
    const placed = additions.map((addition) => {
      const { events } = addition
      const first = seq
      const chainHashes = Buffer.allocUnsafe(events.length * HASH_BYTES)
      const parts = addition.stream ? undefined : this.partsOf(head, addition)
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
    const tables = [this.heads, this.rows, ...sections.map((section) => this[section])]
    const { name, text } = appendStatement(sections, notify)
    return {
      name,
      text,
      values: tables.flatMap((table) => Object.values(table).map((column) => column.parameter())),
    }
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

  /** Most additions of a batch come from few credentials: the last one's parts are often the next one's. */
  private partsOf({ log, tenant }: Head, { by, via }: Addition): EnvelopeParts {
    const { last } = this
    if (last?.log === log && last.by === by && last.via === via) return last.parts
    const parts = envelopeParts({ by, via, log, tenant })
    this.last = { log, by, via, parts }
    return parts
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

function partsInStream({ log, tenant }: Head, { by, via, stream }: Addition, index: number): EnvelopeParts {
  if (!stream) throw new Error('an addition without a stream')
  return envelopeParts({ by, via, log, tenant, stream: stream.name, version: stream.version + index })
}

const CLOSING_BRACE = 0x7d

const optionalSections = ['streams', 'sealed', 'keys', 'positions'] as const
type Section = (typeof optionalSections)[number]

/** The columns of a table of parameters, in the order of their arrays: name and type. */
type Columns = readonly (readonly [name: string, type: string])[]

const headColumns: Columns = [
  ['tenant', 'text'],
  ['from_seq', 'int8'],
  ['from_hash', 'bytea'],
  ['next_seq', 'int8'],
  ['at', 'timestamptz'],
  ['chain_hash', 'bytea'],
]

const rowColumns: Columns = [
  ['n', 'int4'],
  ['seq', 'int8'],
  ['leaf', 'bytea'],
  ['chain_hash', 'bytea'],
]

const sectionColumns: Record<Section, Columns> = {
  streams: [
    ['n', 'int4'],
    ['name', 'text'],
    ['version', 'int8'],
    ['seq', 'int8'],
  ],
  sealed: [
    ['n', 'int4'],
    ['seq', 'int8'],
    ['group_name', 'text'],
    ['subject', 'text'],
    ['generation', 'int4'],
    ['ciphertext', 'bytea'],
  ],
  keys: [
    ['n', 'int4'],
    ['principal', 'text'],
    ['key', 'text'],
    ['mac', 'bytea'],
    ['first_seq', 'int8'],
    ['count', 'int4'],
  ],
  positions: [
    ['n', 'int4'],
    ['source', 'text'],
    ['position', 'text'],
    ['seq', 'int8'],
  ],
}

/**
 * Arrays as a select list. Unnested there they come row by row; in `from`, each array would be copied whole first.
 * @param first the number of the first array's parameter
 */
function unnested(columns: Columns, first: number): string {
  const items = columns.map(([name, type], n) => `unnest($${first + n}::${type}[]) as ${name}`)
  return items.join(', ')
}

/** @param rows the section's arrays, unnested */
const sectionInserts: Record<Section, (rows: string) => string> = {
  streams: (rows) => `
    insert into streams (tenant, stream, version, seq)
    select m.tenant, s.name, s.version, s.seq
    from (select ${rows}) s join moved m using (n)`,
  sealed: (rows) => `
    insert into sealed_groups (tenant, seq, "group", subject, generation, ciphertext)
    select m.tenant, s.seq, s.group_name, s.subject, s.generation, s.ciphertext
    from (select ${rows}) s join moved m using (n)`,
  // The swap proves that nobody remembered the key meanwhile: what conflicts here has expired.
  keys: (rows) => `
    insert into idempotency (tenant, principal, key, mac, first_seq, count)
    select m.tenant, k.principal, k.key, k.mac, k.first_seq, k.count
    from (select ${rows}) k join moved m using (n)
    on conflict (tenant, principal, key) do update
    set mac = excluded.mac, first_seq = excluded.first_seq, count = excluded.count, created_at = now()`,
  // One source may stand in a batch more than once; its last position is the one that counts.
  positions: (rows) => `
    insert into source_positions (tenant, source, position, seq)
    select distinct on (m.tenant, p.source) m.tenant, p.source, p.position, p.seq
    from (select ${rows}) p join moved m using (n)
    order by m.tenant, p.source, p.seq desc
    on conflict (tenant, source) do update
    set position = excluded.position, seq = excluded.seq, moved_at = now()`,
}

/** The channel on which every batch of the appender, and `wake` for commands, names the tenants it touched, or `*` where they are too many to name. */
export const ENTRIES_CHANNEL = 'countersign_entries'
/** PostgreSQL's limit is 8000. */
export const MAX_PAYLOAD_BYTES = 7_900

const NOTIFY = `, pg_notify('${ENTRIES_CHANNEL}',
    case when sum(octet_length(tenant) + 1) < ${MAX_PAYLOAD_BYTES} then string_agg(tenant, ' ') else '*' end)`

const statements = new Map<string, { name: string; text: string }>()

/**
 * Heads whose tenant has a stream in this batch that is not where its first event here expects it. What the batch was
 * chained onto is committed before this statement's snapshot, so what it reads of a stream is as new as the head.
 */
const conflicting = (streams: string) => `conflicting as materialized (
    select f.n
    from (select n, name, min(version) - 1 as expected from (select ${streams}) s group by n, name) f
    where f.expected <> coalesce((
      select version from streams t
      where t.tenant = ($1::text[])[f.n + 1] and t.stream = f.name order by version desc limit 1), 0)
  ), `

/**
 * One statement: locks the heads that still are what the batch was chained onto, in tenant order and without waiting;
 * moves them and inserts what belongs to them; says which it moved, by their number in the batch. Whoever it does not
 * name wrote nothing.
 */
function appendStatement(sections: readonly Section[], notify: boolean): { name: string; text: string } {
  const name = ['append', ...sections, ...(notify ? ['notify'] : [])].join('_')
  const known = statements.get(name)
  if (known) return known
  let parameter = 1
  const rowsOf = (columns: Columns) => {
    const rows = unnested(columns, parameter)
    parameter += columns.length
    return rows
  }
  const [heads, entries] = [rowsOf(headColumns), rowsOf(rowColumns)]
  const kept = sections.map((section) => ({ section, rows: rowsOf(sectionColumns[section]) }))
  const streams = kept.find(({ section }) => section === 'streams')
  const inserts = kept.map(
    ({ section, rows }) => `, ${section}_kept as (${sectionInserts[section](rows)}
  )`,
  )
  // A row that is locked stays where it is: its place finds it again without the index.
  const text = `/* ${name} */
  with ${streams ? conflicting(streams.rows) : ''}moved as (
    update heads h
    set next_seq = m.next_seq, chain_hash = m.chain_hash, recorded_at = m.at
    from (
      select l.ctid as place, w.*
      from (select generate_series(0, cardinality($1::text[]) - 1) as n, ${heads}) w
      join heads l on l.tenant = w.tenant and l.next_seq = w.from_seq and l.chain_hash = w.from_hash
      ${streams ? 'where not exists (select from conflicting c where c.n = w.n)' : ''}
      order by l.tenant
      for update of l skip locked
    ) m
    where h.ctid = m.place
      and case when m.at > clock_timestamp() + interval '5 s' and m.at > h.recorded_at + interval '5 s'
          then ledger_clock_is_ahead(m.tenant, m.at) else true end
    returning m.n, h.tenant, m.at
  ), inserted as (
    insert into entries (tenant, seq, recorded_at, leaf, chain_hash)
    select m.tenant, e.seq, m.at, e.leaf, e.chain_hash
    from (select ${entries}) e join moved m using (n)
  )${inserts.join('')}
  select array_agg(n) as moved${notify ? NOTIFY : ''}
  from moved having count(*) > 0`
  const statement = { name, text }
  statements.set(name, statement)
  return statement
}
