import { setTimeout as delay } from 'node:timers/promises'
import { inTenant, type Database } from '../db/database.js'
import { DomainError } from '../errors.js'
import { tenantUnknown } from './errors.js'
import { checkFilter, type EntryFilter, type SeqRange } from './filter.js'
import { leafHash } from './hash.js'
import { readCursor, writeCursor, type Order } from './page-cursor.js'
import { rangeOf, reachOf, readPage, usesIndex, type Reach } from './page.js'
import { viewOf, type EntryRow, type EntryView } from './view.js'

export interface PageRequest {
  /** Entries at most, 1 to 1000. */
  readonly limit?: number | undefined
  /** From the page before; the filter and the order must be the same. */
  readonly cursor?: string | undefined
  readonly order?: Order | undefined
  /** Waits until the index has reached this seq: a reader's way to see its own write. */
  readonly atLeast?: number | undefined
  /** How long to wait for it. */
  readonly patienceMs?: number | undefined
  readonly signal?: AbortSignal | undefined
}

export interface EntryPage extends Reach {
  readonly entries: EntryView[]
  /** Where to go on; absent where nothing more is there now. */
  readonly next?: string
}

export const DEFAULT_LIMIT = 100
export const MAX_LIMIT = 1_000
const PATIENCE_MS = 5_000

/**
 * One page of a log's entries, in the order of seq. Unfiltered pages come straight from the log; filtered ones from the
 * index, and so reach as far as `indexedUpTo`.
 * @throws DomainError FILTER_INVALID, RANGE_INVALID, CURSOR_INVALID, INDEX_BEHIND, TENANT_UNKNOWN
 */
export async function listEntries(
  database: Database,
  tenant: string,
  filter: EntryFilter,
  request: PageRequest = {},
): Promise<EntryPage> {
  const { limit = DEFAULT_LIMIT, cursor, order = 'asc', atLeast } = request
  checkFilter(filter)
  if (!(Number.isInteger(limit) && limit >= 1 && limit <= MAX_LIMIT)) {
    throw new DomainError('RANGE_INVALID', `limit is a whole number from 1 to ${MAX_LIMIT}`, { pointer: '/limit' })
  }
  const question = { tenant, filter, order }
  const behind = cursor === undefined ? undefined : readCursor(question, cursor)
  if (atLeast !== undefined) await waitForIndex(database, tenant, atLeast, request)
  const { rows, more, ...reach } = await readPage(database, tenant, filter, { limit, order, behind })
  const last = rows.at(-1)
  return {
    entries: rows.map(viewOf),
    ...(more && last ? { next: writeCursor(question, last.seq) } : {}),
    ...reach,
  }
}

export interface RowStream extends Reach {
  /** The range that the rows are taken from, fixed when the stream began. */
  readonly range: SeqRange
  readonly rows: AsyncIterable<EntryRow>
}

/**
 * All entries that a filter finds up to now, in pages that are read as they are taken: for exports and reports of any
 * length. Nothing is held open in the database between pages.
 * @throws DomainError as `listEntries`; INDEX_BEHIND also midway, when the index is being rebuilt
 */
export async function streamRows(
  database: Database,
  tenant: string,
  filter: EntryFilter,
  request: Omit<PageRequest, 'cursor' | 'limit'> & { readonly pageSize?: number } = {},
): Promise<RowStream> {
  const { order = 'asc', pageSize = MAX_LIMIT, atLeast, signal } = request
  checkFilter(filter)
  if (atLeast !== undefined) await waitForIndex(database, tenant, atLeast, request)
  const { range, ...reach } = await inTenant(
    database.reader,
    tenant,
    async (tx) => rangeOf(tx, tenant, filter, await reachOf(tx, tenant)),
    { snapshot: true },
  )
  const fixed: EntryFilter = { ...filter, fromSeq: range.first, toSeq: Math.max(range.last, 0) }
  async function* rows(): AsyncGenerator<EntryRow> {
    if (range.first > range.last) return
    for (let behind: number | undefined, more = true; more;) {
      signal?.throwIfAborted()
      if (usesIndex(filter)) await waitForIndex(database, tenant, range.last, request)
      const page = await readPage(database, tenant, fixed, { limit: pageSize, order, behind })
      yield* page.rows
      more = page.more
      behind = page.rows.at(-1)?.seq
    }
  }
  return { ...reach, range, rows: rows() }
}

/** The same as answers show entries. */
export async function streamEntries(
  ...arguments_: Parameters<typeof streamRows>
): Promise<Reach & { readonly range: SeqRange; readonly entries: AsyncIterable<EntryView> }> {
  const { rows, ...rest } = await streamRows(...arguments_)
  async function* entries(): AsyncGenerator<EntryView> {
    for await (const row of rows) yield viewOf(row)
  }
  return { ...rest, entries: entries() }
}

/**
 * Waits until filters find everything up to `seq`.
 * @throws DomainError INDEX_BEHIND after `patienceMs`
 */
export async function waitForIndex(
  database: Database,
  tenant: string,
  seq: number,
  { patienceMs = PATIENCE_MS, signal }: { patienceMs?: number | undefined; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const deadline = performance.now() + patienceMs
  for (let pauseMs = 5; ; pauseMs = Math.min(2 * pauseMs, 100)) {
    const { indexedUpTo, head } = await inTenant(database.reader, tenant, (tx) => reachOf(tx, tenant))
    if (indexedUpTo >= seq) return
    if (performance.now() + pauseMs > deadline) {
      const missing =
        seq < head.size
          ? `the index has reached ${indexedUpTo}, not ${seq} yet`
          : `the log ends at entry ${head.size - 1}: there is no entry ${seq} yet`
      throw new DomainError('INDEX_BEHIND', `${missing}; ask again, or without waiting for it`, { retryAfterS: 1 })
    }
    await delay(pauseMs, undefined, signal ? { signal } : {})
  }
}

/** An entry with its exact bytes. */
export interface EntryProof extends EntryView {
  readonly leaf: Buffer
  /** Hex. */
  readonly leafHash: string
}

/** @throws DomainError ENTRY_UNKNOWN */
export async function getEntry(database: Database, tenant: string, seq: number): Promise<EntryProof> {
  const row = Number.isSafeInteger(seq)
    ? await inTenant(database.reader, tenant, (tx) =>
        tx
          .selectFrom('entries')
          .select(['seq', 'leaf', 'chain_hash'])
          .where('tenant', '=', tenant)
          .where('seq', '=', seq)
          .executeTakeFirst(),
      )
    : undefined
  if (!row) throw new DomainError('ENTRY_UNKNOWN', `there is no entry ${seq}`)
  return { ...viewOf(row), leaf: row.leaf, leafHash: leafHash(row.leaf).toString('hex') }
}

export interface LogHead {
  /** Identity of the log, 32 hex digits. */
  readonly log: string
  /** How many entries it has; the next one's seq. */
  readonly size: number
  /** Of the last entry, hex: worth keeping elsewhere, for `verify --expect`. */
  readonly chainHash: string
  /** Of the last entry. */
  readonly recordedAt: string
}

/** @throws DomainError TENANT_UNKNOWN */
export async function headOf(database: Database, tenant: string): Promise<LogHead> {
  const row = await inTenant(database.reader, tenant, (tx) =>
    tx
      .selectFrom('heads')
      .innerJoin('tenants', 'tenants.id', 'heads.tenant')
      .select(['log', 'next_seq', 'chain_hash', 'recorded_at'])
      .where('heads.tenant', '=', tenant)
      .executeTakeFirst(),
  )
  if (!row) throw tenantUnknown(tenant)
  return {
    log: row.log,
    size: row.next_seq,
    chainHash: row.chain_hash.toString('hex'),
    recordedAt: row.recorded_at,
  }
}

export interface Verification {
  readonly verifiedAt: string
  /** The entries looked at: from this one up to before that one. */
  readonly fromSeq: number
  readonly nextSeq: number
  /** Of the last of them, hex. */
  readonly chainHash: string
  readonly findings: number
  readonly durationMs: number
}

/** @returns undefined where the log was never verified */
export async function lastVerification(database: Database, tenant: string): Promise<Verification | undefined> {
  const row = await inTenant(database.reader, tenant, (tx) =>
    tx
      .selectFrom('verifications')
      .select(['verified_at', 'from_seq', 'next_seq', 'chain_hash', 'findings', 'duration_ms'])
      .where('tenant', '=', tenant)
      .orderBy('verified_at', 'desc')
      .limit(1)
      .executeTakeFirst(),
  )
  return (
    row && {
      verifiedAt: row.verified_at,
      fromSeq: row.from_seq,
      nextSeq: row.next_seq,
      chainHash: row.chain_hash.toString('hex'),
      findings: row.findings,
      durationMs: row.duration_ms,
    }
  )
}
