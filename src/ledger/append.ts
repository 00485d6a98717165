import { CompiledQuery, sql } from 'kysely'
import { inTenant, type Db, type Tx } from '../db/database.js'
import { DomainError } from '../errors.js'
import type { Principal } from '../principal.js'
import { Batch, type Addition, type Head, type Placed, type PreparedEvent } from './batch.js'
import { CLOCK_AHEAD, clockAhead, KeyEpochMoved, StreamVersionConflict, tenantUnknown } from './errors.js'
import { readLeaf } from './entry.js'
import type { LeafEvent } from './event.js'
import { prepare } from './prepare.js'
import { wake } from './wake.js'

export interface AppendTarget {
  readonly by: Principal
  readonly stream: string
  /** How many events the caller saw in the stream, 0 for a new one. */
  readonly expectedVersion: number
  /** The key epoch under which groups were sealed; needed where there are any. */
  readonly epoch?: number
}

export interface Appended extends Placed {
  /** The stream's version now. */
  readonly version: number
}

/**
 * The first door: appends `events` to one stream inside the caller's transaction, which `inTenant` bound to the tenant.
 * The tenant's head stays locked until the transaction ends; `wake` tells followers afterwards, or they find out by polling.
 * @throws StreamVersionConflict when the stream has moved on; abandon the transaction and start over
 * @throws KeyEpochMoved when keys changed since the groups were sealed; the same
 * @throws DomainError CLOCK_AHEAD
 */
export async function append(tx: Tx, target: AppendTarget, events: readonly PreparedEvent[]): Promise<Appended> {
  const { by, stream, expectedVersion, epoch } = target
  // Positions come from this locked row. A sequence would let a slow transaction commit behind a follower's cursor, and
  // its entries would never be seen.
  const head = await lockHead(tx, by.tenant)
  if (events.some((event) => event.sealed.length > 0) && epoch !== head.keyEpoch) {
    throw new KeyEpochMoved(by.tenant, epoch ?? -1, head.keyEpoch)
  }
  const addition = { by: by.id, via: by.via, events, stream: { name: stream, version: expectedVersion + 1 } }
  const placed = await tryAppendAt(tx, head, addition, Date.now())
  if (!placed) {
    const { version } = await streamVersion(tx, by.tenant, stream)
    throw new StreamVersionConflict(stream, expectedVersion, version)
  }
  return { ...placed, version: expectedVersion + events.length }
}

/** Locks a tenant's head until the transaction ends: what is read after it stays true until then. */
export async function lockHead(tx: Tx, tenant: string): Promise<Head> {
  const row = await tx
    .selectFrom('heads')
    .innerJoin('tenants', 'tenants.id', 'heads.tenant')
    .select(['log', 'next_seq', 'chain_hash', 'recorded_at', 'key_epoch'])
    .where('heads.tenant', '=', tenant)
    .forUpdate('heads')
    .executeTakeFirst()
  if (!row) throw tenantUnknown(tenant)
  return {
    tenant,
    log: row.log,
    nextSeq: row.next_seq,
    chainHash: row.chain_hash,
    recordedAtMs: Date.parse(row.recorded_at),
    keyEpoch: row.key_epoch,
  }
}

/** A stream's version, 0 for a new one, and the database's time. Ask under the head's lock. */
export async function streamVersion(
  tx: Tx,
  tenant: string,
  stream: string,
): Promise<{ version: number; nowMs: number }> {
  const { rows } = await sql<{ version: number; now: string }>`
    select clock_timestamp() as now, coalesce(
      (select version from streams where tenant = ${tenant} and stream = ${stream} order by version desc limit 1), 0) as version
  `.execute(tx)
  const row = rows[0]
  if (!row) throw new Error('a select without a row')
  return { version: row.version, nowMs: Date.parse(row.now) }
}

/** Appends behind a head that the transaction has locked or just made, to a stream that was read under its lock. */
export async function appendAt(tx: Tx, head: Head, addition: Addition, nowMs: number): Promise<Placed> {
  const placed = await tryAppendAt(tx, head, addition, nowMs)
  if (!placed) throw new Error(`the locked head of tenant ${head.tenant} did not move`)
  return placed
}

/** The same for several additions, which may be to several streams: all of them in one statement. */
export async function appendAll(
  tx: Tx,
  head: Head,
  additions: readonly Addition[],
  nowMs: number,
): Promise<readonly Placed[]> {
  if (additions.length === 0) return []
  const placed = await tryAppendAll(tx, head, additions, nowMs)
  if (!placed) throw new Error(`the locked head of tenant ${head.tenant} did not move`)
  return placed
}

/** @returns undefined where the addition's stream is at another version; nothing was written */
async function tryAppendAt(tx: Tx, head: Head, addition: Addition, nowMs: number): Promise<Placed | undefined> {
  return (await tryAppendAll(tx, head, [addition], nowMs))?.[0]
}

async function tryAppendAll(
  tx: Tx,
  head: Head,
  additions: readonly Addition[],
  nowMs: number,
): Promise<readonly Placed[] | undefined> {
  const batch = spareBatches.pop() ?? new Batch()
  batch.reset()
  const placed = batch.extend(head, additions, nowMs)
  const { text, values } = batch.statement({ notify: false })
  const { rows } = await tx.executeQuery<{ moved: number[] }>(CompiledQuery.raw(text, values)).catch(asDomainError)
  spareBatches.push(batch)
  return rows[0]?.moved.length === 1 ? placed : undefined
}

function asDomainError(error: unknown): never {
  throw (error as { code?: unknown } | null)?.code === CLOCK_AHEAD ? clockAhead() : error
}

/** A batch keeps its memory for the next one: as many are kept as were ever in use at once. */
const spareBatches: Batch[] = []

/** How a stream's state follows from its events. */
export interface Fold<S> {
  /** Plain JSON, so that a snapshot can start it. */
  readonly initial: S
  readonly evolve: (state: S, event: LeafEvent, seq: number) => S
}

export interface CommandTarget {
  readonly by: Principal
  readonly stream: string
}

const ATTEMPTS = 5

/**
 * Runs a command: folds its stream, decides, appends, in one transaction, again where another writer was faster.
 * @param decide pure; the events to append, none where nothing changes
 * @returns the stream's state after it
 */
export async function command<S>(
  db: Db,
  { by, stream }: CommandTarget,
  fold: Fold<S>,
  decide: (state: S, nowMs: number) => readonly LeafEvent[],
  alsoWrite?: (tx: Tx, placed: Placed) => Promise<void>,
): Promise<S> {
  for (let attempt = 1; ; attempt++) {
    try {
      const { state, grew } = await inTenant(db, by.tenant, async (tx) => {
        const head = await lockHead(tx, by.tenant)
        const { version, nowMs } = await streamVersion(tx, by.tenant, stream)
        const state: S = await foldStream(tx, by.tenant, stream, fold)
        const events = decide(state, nowMs)
        if (events.length === 0) return { state, grew: false }
        const addition = {
          by: by.id,
          via: by.via,
          events: events.map((event, index) => prepare(event, { by, stream }, index)),
          stream: { name: stream, version: version + 1 },
        }
        const placed = await appendAt(tx, head, addition, nowMs)
        await alsoWrite?.(tx, placed)
        const next = events.reduce<S>((next, event, index) => fold.evolve(next, event, placed.seq + index), state)
        return { state: next, grew: true }
      })
      if (grew) wake(db, by.tenant)
      return state
    } catch (error) {
      if (!isTransient(error) || attempt === ATTEMPTS) throw error
    }
  }
}

/** A stream's state: all of its events, folded in order. */
export async function foldStream<S>(tx: Tx, tenant: string, stream: string, fold: Fold<S>): Promise<S> {
  const rows = await tx
    .selectFrom('streams')
    .innerJoin('entries', (join) =>
      join.onRef('entries.tenant', '=', 'streams.tenant').onRef('entries.seq', '=', 'streams.seq'),
    )
    .select(['streams.seq', 'leaf'])
    .where('streams.tenant', '=', tenant)
    .where('stream', '=', stream)
    .orderBy('streams.version')
    .execute()
  return rows.reduce<S>((next, row) => fold.evolve(next, readLeaf(row.leaf).event, row.seq), fold.initial)
}

/** Whether trying again may go better: another writer was faster, or PostgreSQL broke a deadlock. */
export function isTransient(error: unknown): boolean {
  if (error instanceof DomainError) return error.code === 'LEDGER_STREAM_VERSION_CONFLICT'
  const code = (error as { code?: unknown } | null)?.code
  return code === '40001' || code === '40P01'
}
