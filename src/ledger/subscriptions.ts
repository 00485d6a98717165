import { CompiledQuery } from 'kysely'
import type { Db, Tx } from '../db/database.js'

/** An entry as followers get it; `readLeaf` opens the leaf. */
export interface FollowedEntry {
  readonly seq: number
  readonly leaf: Buffer
}

/** Entries of one tenant, in order; without a gap, unless the consumer wants certain ones only. */
export interface Slice {
  readonly tenant: string
  readonly entries: readonly FollowedEntry[]
}

/** A slice under the lease it was read with. */
export interface LeasedSlice extends Slice {
  readonly epoch: number
  /** The seq that the cursor stands at, and the one behind the last entry read, or passed over. */
  readonly from: number
  readonly next: number
}

export interface Lease {
  readonly consumer: string
  readonly owner: string
}

/** How much one statement reads; the rest waits for the next. */
export interface Bounds {
  readonly tenants: number
  readonly entries: number
  readonly bytes: number
}

// Cursors move in the transaction that writes what follows from the entries, so one that is lost in a crash of the
// server takes both with it: flushing each would only cost time. The setting holds until the transaction ends.
const LAZY = `set_config('synchronous_commit', 'off', true)`

/** At most so many entries of streams are given at once to who wants no others. */
const STREAM_ENTRIES = 500
/** What `parseEnvelope` and `leafType` look at: how many bytes a leaf opens and closes with. */
const OPENING_BYTES = 1024
const CLOSING_BYTES = 160
/** Within so many bytes a leaf names its stream, if it stands in one. */
const STREAM_WITHIN = 320

/** Gives every log that `consumer` does not know yet a cursor. @param tenants only these; undefined for all */
export async function enrol(db: Db, consumer: string, tenants: readonly string[] | undefined): Promise<void> {
  const these = tenants === undefined ? '' : 'and h.tenant = any($2)'
  const text = `
    insert into subscriptions (consumer, tenant)
    select $1, h.tenant from heads h
    where not exists (select from subscriptions s where s.consumer = $1 and s.tenant = h.tenant) ${these}
    on conflict do nothing`
  await db.executeQuery(CompiledQuery.raw(text, tenants === undefined ? [consumer] : [consumer, tenants]))
}

/** Which entries a consumer wants; the others are passed over and never sent. */
export interface Wanted {
  /** Only entries of these types. */
  readonly types?: readonly string[] | undefined
  /**
   * Only entries that may stand in a stream, and of their leaves what they open and close with: `parseEnvelope` and
   * `leafType` tell what it is.
   */
  readonly streams?: true | undefined
}

interface ClaimedRow {
  tenant: string
  epoch: number
  from: number
  /** Behind the last entry looked at; null where the rows themselves tell. */
  upto: number | null
  seq: number | null
  leaf: Buffer | null
}

/**
 * Leases the cursors of logs that are ahead of them, and reads on from there: one statement for many tenants. Cursors
 * that somebody else has leased are left alone until the lease runs out.
 * @param tenants only these; undefined for all
 * @param options.after tenants behind this one come first, so that everybody's turn comes
 */
export async function claim(
  db: Db,
  { consumer, owner }: Lease,
  tenants: readonly string[] | undefined,
  options: {
    readonly leaseMs: number
    readonly bounds: Bounds
    readonly not: readonly string[]
    readonly after: string
  } & Wanted,
): Promise<LeasedSlice[]> {
  const { leaseMs, bounds, not, after, types, streams } = options
  const values: unknown[] = [consumer, owner, not, after, bounds.tenants, leaseMs, bounds.entries]
  const parameter = (value: unknown): string => `$${values.push(value)}`
  const these = tenants === undefined ? '' : `and s.tenant = any(${parameter(tenants)})`
  const text = `
    with behind as materialized (
      select s.tenant, h.next_seq as head from subscriptions s join heads h on h.tenant = s.tenant
      where s.consumer = $1 and s.next_seq < h.next_seq
        and (s.owner is null or s.owner = $2 or s.until < clock_timestamp())
        and s.tenant <> all($3) ${these}
      order by s.tenant > $4 desc, s.tenant
      limit $5
      for update of s skip locked
    ), leased as (
      update subscriptions s
      set owner = $2, until = clock_timestamp() + $6 * interval '1 ms',
          epoch = s.epoch + case when s.owner = $2 then 0 else 1 end
      from behind b where s.consumer = $1 and s.tenant = b.tenant
      returning s.tenant, s.next_seq, s.epoch, b.head, ${LAZY}
    )
    select l.tenant, l.epoch, l.next_seq as from, e.upto, e.seq, e.leaf
    from leased l cross join lateral (${streams ? ofStreams() : ofTypes(types, parameter(bounds.bytes), parameter)}) as e
    order by l.tenant, e.seq`
  const { rows } = await db.executeQuery<ClaimedRow>(CompiledQuery.raw(text, values))
  const slices: (LeasedSlice & { entries: FollowedEntry[]; next: number })[] = []
  for (const { tenant, epoch, from, upto, seq, leaf } of rows) {
    let slice = slices.at(-1)
    if (slice?.tenant !== tenant) {
      slice = { tenant, epoch, from, next: upto ?? from, entries: [] }
      slices.push(slice)
    }
    if (seq === null) continue
    if (upto === null) slice.next = seq + 1
    if (leaf) slice.entries.push({ seq, leaf })
  }
  for (const slice of slices) {
    if (streams && slice.entries.length === STREAM_ENTRIES) slice.next = (slice.entries.at(-1)?.seq ?? slice.from) + 1
  }
  return slices
}

/** What to read of each log: entries in order within the bounds, the leaf only where its type is wanted. */
function ofTypes(types: readonly string[] | undefined, bytes: string, parameter: (value: unknown) => string): string {
  // The type closes every leaf, so what is passed over is never sent.
  const ofType =
    types === undefined
      ? 'true'
      : `exists (select from unnest(${parameter(types.map(closing))}::bytea[]) as t(closing)
          where substr(leaf, octet_length(leaf) - octet_length(closing) + 1) = closing)`
  return `
      select null::int8 as upto, seq, case when of_type then leaf end as leaf from (
        select seq, leaf, ${ofType} as of_type, max(seq) over () as last
        from (
          select seq, leaf, sum(octet_length(leaf)) over (order by seq) - octet_length(leaf) as bytes_before
          from entries where tenant = l.tenant and seq >= l.next_seq
          order by seq limit (select greatest(1, $7 / count(*)) from leased)
        ) as next
        where bytes_before < (select ${bytes}::int8 / count(*) from leased)
      ) as read
      where of_type or seq = last`
}

/** What to read of each log: the ends of entries that name a stream where one stands, and how far it was looked. */
function ofStreams(): string {
  return `
      select r.upto, f.seq, f.leaf
      from (select least(l.head, l.next_seq + greatest(1, $7::int8 / count(*))) as upto from leased) as r
      left join lateral (
        select seq, substr(leaf, 1, ${OPENING_BYTES})
          || substr(leaf, greatest(${OPENING_BYTES + 1}, octet_length(leaf) - ${CLOSING_BYTES - 1})) as leaf
        from entries
        where tenant = l.tenant and seq >= l.next_seq and seq < r.upto
          and position('\\x${Buffer.from(',"stream":"').toString('hex')}'::bytea in substr(leaf, 1, ${STREAM_WITHIN})) > 0
        order by seq limit ${STREAM_ENTRIES}
      ) as f on true`
}

const closing = (type: string): string => `\\x${Buffer.from(`"type":"${type}"}}`).toString('hex')}`

/** Somebody else follows these logs now: what was done for them must not be kept. */
export class LeaseLost extends Error {
  override readonly name = 'LeaseLost'
  readonly tenants: ReadonlySet<string>

  constructor(tenants: ReadonlySet<string>) {
    super(`the lease was lost for ${[...tenants].join(', ')}`)
    this.tenants = tenants
  }
}

/**
 * Moves the cursors past the slices, first thing in the transaction: nobody can take the leases over until it ends.
 * Cursors that have caught up are released.
 * @param options.durably whether the commit waits for the disk: for consumers that act on what no rollback takes back
 * @returns the tenants that are behind still
 * @throws LeaseLost when a cursor is no longer where, or whose, it was; roll back
 */
export async function move(
  tx: Tx,
  { consumer, owner }: Lease,
  slices: readonly LeasedSlice[],
  { durably = false }: { readonly durably?: boolean } = {},
): Promise<string[]> {
  const text = `/* ${durably ? 'move_durably' : 'move'} */
    update subscriptions s
    set next_seq = m.next_seq,
        owner = case when m.next_seq < h.next_seq then s.owner end,
        until = case when m.next_seq < h.next_seq then s.until end
    from unnest($3::text[], $4::int8[], $5::int8[], $6::int8[]) as m(tenant, epoch, from_seq, next_seq)
    join heads h on h.tenant = m.tenant
    where s.consumer = $1 and s.owner = $2 and s.tenant = m.tenant and s.epoch = m.epoch and s.next_seq = m.from_seq
    returning s.tenant, s.owner is not null as behind${durably ? '' : `, ${LAZY}`}`
  const { rows } = await tx.executeQuery<{ tenant: string; behind: boolean }>(
    CompiledQuery.raw(text, [
      consumer,
      owner,
      slices.map(({ tenant }) => tenant),
      slices.map(({ epoch }) => epoch),
      slices.map(({ from }) => from),
      slices.map(({ next }) => next),
    ]),
  )
  if (rows.length < slices.length) {
    const moved = new Set(rows.map((row) => row.tenant))
    throw new LeaseLost(new Set(slices.map(({ tenant }) => tenant).filter((tenant) => !moved.has(tenant))))
  }
  return rows.filter((row) => row.behind).map((row) => row.tenant)
}

/** Keeps the leases for another while. Those whose cursors move this moment are locked, so nobody else can take them. */
export async function renew(db: Db, lease: Lease, tenants: readonly string[], leaseMs: number): Promise<void> {
  const text = `
    with held as materialized (
      select tenant from subscriptions
      where consumer = $1 and owner = $2 and tenant = any($3)
      for update skip locked
    )
    update subscriptions s set until = clock_timestamp() + $4 * interval '1 ms'
    from held where s.consumer = $1 and s.tenant = held.tenant
    returning ${LAZY}`
  await db.executeQuery(CompiledQuery.raw(text, [lease.consumer, lease.owner, tenants, leaseMs]))
}

/** Gives up leases, so that others need not wait for them to run out. @param tenants only these; undefined for all */
export async function release(db: Db, { consumer, owner }: Lease, tenants?: readonly string[]): Promise<void> {
  const these = tenants === undefined ? '' : 'and tenant = any($3)'
  const text = `update subscriptions set owner = null, until = null where consumer = $1 and owner = $2 ${these}`
  const values = tenants === undefined ? [consumer, owner] : [consumer, owner, tenants]
  await db.executeQuery(CompiledQuery.raw(text, values))
}

/** How far a consumer is behind the logs' heads. */
export interface Lag {
  readonly consumer: string
  /** Logs that are ahead of their cursor. */
  readonly tenants: number
  /** Entries not yet followed, of all tenants and of the worst. */
  readonly entries: number
  readonly maxEntries: number
  /** Age of the oldest entry not yet followed, 0 where there is none. */
  readonly seconds: number
}

/** @param tenants only these; undefined for all */
export async function lagOf(db: Db, consumers: readonly string[], tenants?: readonly string[]): Promise<Lag[]> {
  const text = `
    select c.consumer, count(b.lag)::int8 as tenants, coalesce(sum(b.lag), 0)::int8 as entries,
           coalesce(max(b.lag), 0)::int8 as max_entries,
           coalesce(greatest(0, extract(epoch from clock_timestamp() - min(b.since))), 0)::float8 as seconds
    from unnest($1::text[]) with ordinality as c(consumer, nth)
    left join lateral (
      select h.next_seq - coalesce(s.next_seq, 0) as lag,
             (select recorded_at from entries e where e.tenant = h.tenant and e.seq = coalesce(s.next_seq, 0)) as since
      from heads h left join subscriptions s on s.consumer = c.consumer and s.tenant = h.tenant
      where h.next_seq > coalesce(s.next_seq, 0) ${tenants === undefined ? '' : 'and h.tenant = any($2)'}
    ) as b on true
    group by c.consumer, c.nth order by c.nth`
  const { rows } = await db.executeQuery<{
    consumer: string
    tenants: number
    entries: number
    max_entries: number
    seconds: number
  }>(CompiledQuery.raw(text, tenants === undefined ? [consumers] : [consumers, tenants]))
  return rows.map(({ consumer, tenants, entries, max_entries: maxEntries, seconds }) => ({
    consumer,
    tenants,
    entries,
    maxEntries,
    seconds,
  }))
}

/** The consumer behind whose cursor `entry_index` and `entry_refs` are complete. */
export const ENTRY_INDEX = 'entry-index'

/** The consumer behind whose cursor `reports` is complete. */
export const REPORTS = 'reports'

/** The consumer that tells Temporal what the log says. */
export const DISPATCHER = 'dispatcher'

/** The consumer that tells Temporal of schedules and of runs that were asked for. */
export const SCHEDULER = 'schedules'

/** How many processes the log has begun and not ended, by kind, and how old the oldest is: as far as the dispatcher has read. */
export async function openByKind(db: Db): Promise<{ kind: string; count: number; oldestSeconds: number }[]> {
  const text = `select kind, count(*)::int8 as count,
      coalesce(greatest(0, extract(epoch from clock_timestamp() - min(since))), 0)::float8 as "oldestSeconds"
    from open_processes group by kind order by kind`
  const { rows } = await db.executeQuery<{ kind: string; count: number; oldestSeconds: number }>(
    CompiledQuery.raw(text),
  )
  return rows
}
