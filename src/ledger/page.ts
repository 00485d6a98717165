import { sql } from 'kysely'
import { inTenant, type Database, type Tx } from '../db/database.js'
import { tenantUnknown } from './errors.js'
import { indexedPlaces, instantParameter, needsIndex, type EntryFilter, type SeqRange } from './filter.js'
import type { Order } from './page-cursor.js'
import { ENTRY_INDEX } from './subscriptions.js'
import type { EntryRow } from './view.js'

/** Leaf bytes of one page; a page of large entries is shorter than its limit. */
const MAX_PAGE_BYTES = 8 * 1024 * 1024

/** How far answers about a log reach. */
export interface Reach {
  /** Filters find all entries up to and including this seq; -1 where they find none. */
  readonly indexedUpTo: number
  /** The log's end, whatever the index has of it. */
  readonly head: { readonly size: number }
}

interface Page extends Reach {
  readonly rows: EntryRow[]
  readonly more: boolean
}

interface PageBounds {
  readonly limit: number
  readonly order: Order
  /** The seq of the last entry of the page before. */
  readonly behind: number | undefined
}

/** Reads one page; its reach and its rows are of one moment. */
export async function readPage(
  database: Database,
  tenant: string,
  filter: EntryFilter,
  { limit, order, behind }: PageBounds,
): Promise<Page> {
  return inTenant(
    database.reader,
    tenant,
    async (tx) => {
      const { range, ...reach } = await rangeOf(tx, tenant, filter, await reachOf(tx, tenant))
      const after = order === 'asc' ? { first: Math.max(range.first, (behind ?? -1) + 1) } : undefined
      const before = order === 'desc' ? { last: Math.min(range.last, (behind ?? Infinity) - 1) } : undefined
      const left = { ...range, ...after, ...before }
      if (left.first > left.last) return { ...reach, rows: [], more: false }
      return { ...reach, ...(await rowsIn(tx, tenant, filter, left, order, limit)) }
    },
    { snapshot: true },
  )
}

async function rowsIn(
  tx: Tx,
  tenant: string,
  filter: EntryFilter,
  range: SeqRange,
  order: Order,
  limit: number,
): Promise<Pick<Page, 'rows' | 'more'>> {
  const direction = sql.raw(order)
  const found = needsIndex(filter)
    ? sql`select e.seq, e.leaf, e.chain_hash from (${indexedPlaces(tenant, filter, range, order, limit + 1)}) as p
          join entries e on e.tenant = ${tenant} and e.seq = p.seq`
    : sql`select seq, leaf, chain_hash from entries
          where tenant = ${tenant} and seq >= ${range.first} and seq <= ${range.last}
          order by seq ${direction} limit ${limit + 1}`
  const { rows } = await sql<EntryRow & { found: number }>`
    select seq, leaf, chain_hash, found from (
      select seq, leaf, chain_hash, count(*) over () as found,
             sum(octet_length(leaf)) over (order by seq ${direction}) - octet_length(leaf) as bytes_before
      from (${found}) as f
    ) as b where bytes_before < ${MAX_PAGE_BYTES} order by seq ${direction} limit ${limit}`.execute(tx)
  return { rows, more: (rows[0]?.found ?? 0) > rows.length }
}

/** @throws DomainError TENANT_UNKNOWN */
export async function reachOf(tx: Tx, tenant: string): Promise<Reach> {
  const row = await tx
    .selectFrom('heads')
    .leftJoin('subscriptions', (join) =>
      join.onRef('subscriptions.tenant', '=', 'heads.tenant').on('consumer', '=', ENTRY_INDEX),
    )
    .select(['heads.next_seq as size', 'subscriptions.next_seq as indexed'])
    .where('heads.tenant', '=', tenant)
    .executeTakeFirst()
  if (!row) throw tenantUnknown(tenant)
  return { indexedUpTo: (row.indexed ?? 0) - 1, head: { size: row.size } }
}

/** Times too are looked up in the index. */
export const usesIndex = (filter: EntryFilter): boolean =>
  needsIndex(filter) || filter.from !== undefined || filter.to !== undefined

/** The places that a filter's ranges leave. Recorded times never go backwards, so a range of them is one of seq. */
export async function rangeOf(
  tx: Tx,
  tenant: string,
  filter: EntryFilter,
  reach: Reach,
): Promise<Reach & { readonly range: SeqRange }> {
  const end = usesIndex(filter) ? reach.indexedUpTo : reach.head.size - 1
  const given = { first: filter.fromSeq ?? 0, last: Math.min(filter.toSeq ?? end, end) }
  if (filter.from === undefined && filter.to === undefined) return { ...reach, range: given }
  const ofTenant = () => tx.selectFrom('entry_index').select('seq').where('tenant', '=', tenant).limit(1)
  const first =
    filter.from === undefined
      ? undefined
      : await ofTenant()
          .where('recorded_at', '>=', sql<string>`${instantParameter(filter.from)}`)
          .orderBy('recorded_at')
          .orderBy('seq')
          .executeTakeFirst()
  const last =
    filter.to === undefined
      ? undefined
      : await ofTenant()
          .where('recorded_at', '<', sql<string>`${instantParameter(filter.to)}`)
          .orderBy('recorded_at', 'desc')
          .orderBy('seq', 'desc')
          .executeTakeFirst()
  const range = {
    first: filter.from === undefined ? given.first : Math.max(given.first, first?.seq ?? reach.head.size),
    last: filter.to === undefined ? given.last : Math.min(given.last, last?.seq ?? -1),
  }
  return { ...reach, range }
}
