import { CompiledQuery } from 'kysely'
import type { Db, Tx } from '../db/database.js'
import { leafType } from '../ledger/envelope.js'
import { endingTypes, type Area, type Routed } from './routes.js'

/** A process that the log has begun and not ended, as far as the dispatcher has read. */
export interface OpenProcess {
  readonly tenant: string
  readonly stream: string
  /** The name of its workflow, or `parked`. */
  readonly kind: string
}

/** Streams with parked entries are listed beside the processes: both want somebody's eye when they grow old. */
export const PARKED_KIND = 'parked'

/** Keeps the list of what is open, in the transaction that moves the cursors past these entries. */
export async function recordOpen(
  tx: Tx,
  slices: readonly { readonly tenant: string; readonly routed: readonly Routed[] }[],
): Promise<void> {
  const opened: Record<'tenant' | 'stream' | 'kind' | 'seq' | 'since', (string | number)[]> = {
    tenant: [],
    stream: [],
    kind: [],
    seq: [],
    since: [],
  }
  const closed: { tenant: string[]; stream: string[] } = { tenant: [], stream: [] }
  for (const { tenant, routed } of slices) {
    // What a stream comes to at the end of the slice.
    const last = new Map<string, Routed>()
    for (const entry of routed) if (entry.route !== 'nudge') last.set(entry.stream, entry)
    for (const { stream, route, area, seq, at } of last.values()) {
      if (route === 'end' || route === 'retry') {
        closed.tenant.push(tenant)
        closed.stream.push(stream)
      } else {
        opened.tenant.push(tenant)
        opened.stream.push(stream)
        opened.kind.push(route === 'park' ? PARKED_KIND : (area.workflow?.name ?? ''))
        opened.seq.push(seq)
        opened.since.push(at)
      }
    }
  }
  if (closed.tenant.length > 0) {
    const text = `delete from open_processes o using unnest($1::text[], $2::text[]) as c(tenant, stream)
      where o.tenant = c.tenant and o.stream = c.stream`
    await tx.executeQuery(CompiledQuery.raw(text, [closed.tenant, closed.stream]))
  }
  if (opened.tenant.length > 0) {
    const text = `insert into open_processes (tenant, stream, kind, seq, since)
      select * from unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::timestamptz[])
      on conflict (tenant, stream) do nothing`
    await tx.executeQuery(
      CompiledQuery.raw(text, [opened.tenant, opened.stream, opened.kind, opened.seq, opened.since]),
    )
  }
}

/** Open processes of one tenant in the order of their streams, some at a time; what is parked is not among them. */
export async function listOpen(db: Db, tenant: string, after: string, limit: number): Promise<OpenProcess[]> {
  return db
    .selectFrom('open_processes')
    .select(['tenant', 'stream', 'kind'])
    .where('tenant', '=', tenant)
    .where('kind', '<>', PARKED_KIND)
    .where('stream', '>', after)
    .orderBy('stream')
    .limit(limit)
    .execute()
}

/** Whether the log says that the process of a stream is over: asked of the entries themselves. */
export async function isOver(db: Db, tenant: string, stream: string, area: Area): Promise<boolean> {
  const ending = new Set(endingTypes(area))
  const rows = await db
    .selectFrom('streams')
    .innerJoin('entries', (join) =>
      join.onRef('entries.tenant', '=', 'streams.tenant').onRef('entries.seq', '=', 'streams.seq'),
    )
    .select('leaf')
    .where('streams.tenant', '=', tenant)
    .where('streams.stream', '=', stream)
    .orderBy('streams.version', 'desc')
    .execute()
  return rows.some(({ leaf }) => ending.has(leafType(leaf) ?? ''))
}
