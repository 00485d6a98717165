import { sql, type CompiledQuery } from 'kysely'
import type pg from 'pg'
import { inTenant, type Database } from '../src/db/database.js'
import { readLeaf } from '../src/ledger/entry.js'
import { columnConditions } from '../src/ledger/filter.js'
import { leafHash } from '../src/ledger/hash.js'
import { canonicalize } from '../src/ledger/jcs.js'
import { rangeOf, reachOf } from '../src/ledger/page.js'
import { ENTRY_INDEX } from '../src/ledger/subscriptions.js'
import type { EntryRow } from '../src/ledger/view.js'
import type { AuditTrailRow } from './audit-trail.js'
import type { ReportParameters } from './parameters.js'
import { indexBehind } from './recorded.js'

const PAGE_ROWS = 500

/** What a report is about, before its range is fixed. */
export type AuditTrailScope = Pick<ReportParameters, 'tenant' | 'by' | 'from' | 'to' | 'filter'>

/** The part of the parameters that the log decides. */
export type FixedRange = Pick<ReportParameters, 'log' | 'asOf' | 'range' | 'completeTo'>

/**
 * Fixes the entries that a report looks at: the first `size` of the log, and of a period of recorded time only those recorded in
 * it. Claimed times have no order, so a period of those looks at all of them.
 * @throws DomainError INDEX_BEHIND when the index has not reached them
 */
export async function fixRange(database: Database, scope: AuditTrailScope, size: number): Promise<FixedRange> {
  const { tenant, by, from, to } = scope
  return inTenant(
    database.reader,
    tenant,
    async (tx) => {
      const reach = await reachOf(tx, tenant)
      if (reach.indexedUpTo < size - 1) throw indexBehind(size, reach.indexedUpTo + 1)
      const { log, now } = await tx
        .selectFrom('tenants')
        .select(['log', sql<string>`clock_timestamp()`.as('now')])
        .where('id', '=', tenant)
        .executeTakeFirstOrThrow()
      const fixed = { log, asOf: now, completeTo: size - 1 }
      const period = by === 'occurred' ? {} : { ...(from && { from }), ...(to && { to }) }
      const { range } = await rangeOf(tx, tenant, { ...period, toSeq: size - 1 }, reach)
      if (range.first > range.last) return { ...fixed, range: null }
      const chainHash = async (seq: number) => {
        const entry = tx.selectFrom('entries').select('chain_hash').where('tenant', '=', tenant).where('seq', '=', seq)
        return (await entry.executeTakeFirstOrThrow()).chain_hash.toString('hex')
      }
      const [firstSeq, lastSeq] = [range.first, range.last]
      const hashes = { firstChainHash: await chainHash(firstSeq), lastChainHash: await chainHash(lastSeq) }
      return { ...fixed, range: { firstSeq, lastSeq, ...hashes } }
    },
    { snapshot: true },
  )
}

/**
 * The entries of a fixed range that match, by place in the log, or by the time that was claimed where the period is one
 * of those. Read through one cursor in one snapshot, in which the index is known to be complete for the range.
 * @throws DomainError INDEX_BEHIND when it is not: somebody rebuilds it
 */
export async function* auditTrailRows(database: Database, parameters: ReportParameters): AsyncGenerator<AuditTrailRow> {
  const { range, tenant } = parameters
  if (range === null) return
  const client = database.client('reader')
  // What breaks the connection is told by the query that meets it.
  client.on('error', () => undefined)
  await client.connect()
  try {
    await client.query('begin isolation level repeatable read read only')
    await client.query(`select set_config('countersign.tenant', $1, true)`, [tenant])
    await expectIndex(client, tenant, range.lastSeq + 1)
    const query = statement(database, parameters, range)
    await client.query(`declare report no scroll cursor for ${query.sql}`, [...query.parameters])
    for (;;) {
      const { rows } = await client.query<EntryRow>(`fetch ${PAGE_ROWS} from report`)
      for (const row of rows) yield rowOf(row)
      if (rows.length < PAGE_ROWS) return
    }
  } finally {
    await client.end()
  }
}

function statement(
  database: Database,
  { tenant, by, from, to, filter }: ReportParameters,
  { firstSeq, lastSeq }: NonNullable<ReportParameters['range']>,
): CompiledQuery {
  const { type, actor, target, subject, stream, outcome } = filter
  const occurred = by === 'recorded' ? {} : { ...(from && { occurredFrom: from }), ...(to && { occurredTo: to }) }
  const columns = { ...(type && { type }), ...(stream && { stream }), ...(outcome && { outcome }), ...occurred }
  const conditions = [
    sql`i.tenant = ${tenant} and i.seq >= ${firstSeq} and i.seq <= ${lastSeq}`,
    ...columnConditions(columns),
  ]
  if (by === 'occurred') conditions.push(sql`i.occurred_at is not null`)
  for (const [role, reference] of Object.entries({ actor, target, subject })) {
    if (reference === undefined) continue
    conditions.push(sql`exists (select from entry_refs r
      where r.tenant = ${tenant} and r.reference = ${reference} and r.role = ${role} and r.seq = i.seq)`)
  }
  return sql`
    select i.seq, e.leaf, e.chain_hash
    from entry_index i join entries e on e.tenant = i.tenant and e.seq = i.seq
    where ${sql.join(conditions, sql` and `)}
    order by ${by === 'occurred' ? sql`i.occurred_at, i.seq` : sql`i.seq`}`.compile(database.reader)
}

function rowOf({ seq, leaf, chain_hash: chainHash }: EntryRow): AuditTrailRow {
  const { entry, event } = readLeaf(leaf)
  const groups = new Map<string, string[]>()
  for (const { subject, group } of event.sealed ?? []) groups.set(subject, [...(groups.get(subject) ?? []), group])
  return {
    seq,
    recordedAt: entry.at,
    ...(event.occurredAt === undefined ? {} : { occurredAt: event.occurredAt }),
    type: event.type,
    ...(event.actor === undefined ? {} : { actor: event.actor.id }),
    ...(event.actor?.type === undefined ? {} : { actorType: event.actor.type }),
    ...(event.outcome === undefined ? {} : { outcome: event.outcome }),
    ...(event.reason === undefined ? {} : { reason: event.reason }),
    targets: event.targets ?? [],
    ...(event.source === undefined ? {} : { source: event.source.name ?? entry.by }),
    ...(event.id === undefined ? {} : { eventId: event.id }),
    by: entry.by,
    via: entry.via,
    ...(entry.stream === undefined ? {} : { stream: entry.stream }),
    subjects: [...groups].map(([subject, names]) => ({ subject, groups: names })),
    leafHash: leafHash(leaf).toString('hex'),
    chainHash: chainHash.toString('hex'),
    data: event.data === undefined ? '' : canonicalize(event.data),
  }
}

async function expectIndex(client: pg.Client, tenant: string, size: number): Promise<void> {
  const text = 'select next_seq from subscriptions where tenant = $1 and consumer = $2'
  const { rows } = await client.query<{ next_seq: number }>(text, [tenant, ENTRY_INDEX])
  const reached = rows[0]?.next_seq ?? 0
  if (reached < size) throw indexBehind(size, reached)
}
