import type pg from 'pg'
import type { Database } from '../src/db/database.js'
import { DomainError } from '../src/errors.js'
import { readLeaf } from '../src/ledger/entry.js'
import { leafHash } from '../src/ledger/hash.js'
import { canonicalize } from '../src/ledger/jcs.js'
import type { AuditTrailFilter, AuditTrailParameters, AuditTrailRow } from './audit-trail.js'

const PAGE_ROWS = 500

/** What a report is about, before its range is fixed. */
export type AuditTrailScope = Pick<AuditTrailParameters, 'tenant' | 'by' | 'from' | 'to' | 'filter'>

/** The part of the parameters that the log decides. */
export type FixedRange = Pick<AuditTrailParameters, 'log' | 'asOf' | 'range' | 'completeTo'>

/**
 * Fixes the entries that a report looks at: those of the log as it is now, and of a period of recorded time only those
 * recorded in it. Claimed times have no order, so a period of those looks at all entries.
 * @param nextSeq the index must have reached this entry
 */
export async function fixRange(database: Database, scope: AuditTrailScope, nextSeq: number): Promise<FixedRange> {
  const { tenant, by, from, to } = scope
  return inSnapshot(database, tenant, async (client) => {
    const head = await one<{ log: string; next_seq: number; now: string }>(
      client,
      `select log, next_seq, clock_timestamp() as now from tenants join heads on tenant = id where id = $1`,
      [tenant],
    )
    await expectIndex(client, tenant, nextSeq)
    const fixed = { log: head.log, asOf: head.now, completeTo: nextSeq - 1 }
    if (nextSeq === 0) return { ...fixed, range: null }
    const before = async (instant: string | undefined, otherwise: number) =>
      instant === undefined || by === 'occurred' ? otherwise : countBefore(client, tenant, instant, nextSeq)
    const firstSeq = await before(from, 0)
    const lastSeq = (await before(to, nextSeq)) - 1
    if (firstSeq > lastSeq) return { ...fixed, range: null }
    const chainHash = async (seq: number) => {
      const text = `select encode(chain_hash, 'hex') as hash from entries where tenant = $1 and seq = $2`
      return (await one<{ hash: string }>(client, text, [tenant, seq])).hash
    }
    const range = {
      firstSeq,
      lastSeq,
      firstChainHash: await chainHash(firstSeq),
      lastChainHash: await chainHash(lastSeq),
    }
    return { ...fixed, range }
  })
}

/**
 * The entries of a fixed range that match, by place in the log, or by the time that was claimed where the period is one
 * of those. Read in one snapshot, in which the index is known to be complete for the range.
 * @throws DomainError INDEX_BEHIND when it is not: somebody rebuilds it
 */
export async function* auditTrailRows(
  database: Database,
  parameters: AuditTrailParameters,
): AsyncGenerator<AuditTrailRow> {
  const { range, tenant } = parameters
  if (range === null) return
  const client = await openSnapshot(database, tenant)
  try {
    await expectIndex(client, tenant, range.lastSeq + 1)
    const { text, values } = statement(parameters, range)
    await client.query(`declare report no scroll cursor for ${text}`, values)
    for (;;) {
      const { rows } = await client.query<PageRow>(`fetch ${PAGE_ROWS} from report`)
      for (const row of rows) yield rowOf(row)
      if (rows.length < PAGE_ROWS) return
    }
  } finally {
    await client.end()
  }
}

interface PageRow {
  seq: number
  leaf: Buffer
  chain_hash: Buffer
}

function statement(parameters: AuditTrailParameters, range: NonNullable<AuditTrailParameters['range']>) {
  const { tenant, by, from, to, filter } = parameters
  const values: unknown[] = [tenant, range.firstSeq, range.lastSeq]
  const parameter = (value: unknown) => `$${values.push(value)}`
  const conditions = ['i.tenant = $1', 'i.seq between $2 and $3', ...filterConditions(filter, parameter)]
  if (by === 'occurred') {
    conditions.push('i.occurred_at is not null')
    if (from !== undefined) conditions.push(`i.occurred_at >= ${parameter(from)}::timestamptz`)
    if (to !== undefined) conditions.push(`i.occurred_at < ${parameter(to)}::timestamptz`)
  }
  const text = `
    select i.seq, e.leaf, e.chain_hash
    from entry_index i join entries e on e.tenant = i.tenant and e.seq = i.seq
    where ${conditions.join(' and ')}
    order by ${by === 'occurred' ? 'i.occurred_at, i.seq' : 'i.seq'}`
  return { text, values }
}

// Ranges and child rows only: under row-level security other operators keep the planner from using an index.
function filterConditions(filter: AuditTrailFilter, parameter: (value: unknown) => string): string[] {
  const conditions: string[] = []
  const { type, actor, target, subject, stream, outcome } = filter
  if (type?.endsWith('.*')) {
    const prefix = type.slice(0, -1)
    // '/' comes right after '.' in the "C" collation.
    conditions.push(`i.type >= ${parameter(prefix)}`, `i.type < ${parameter(`${prefix.slice(0, -1)}/`)}`)
  } else if (type !== undefined) conditions.push(`i.type = ${parameter(type)}`)
  if (actor !== undefined) conditions.push(`i.actor = ${parameter(actor)}`)
  if (stream !== undefined) conditions.push(`i.stream = ${parameter(stream)}`)
  if (outcome !== undefined) conditions.push(`i.outcome = ${parameter(outcome)}`)
  for (const [role, reference] of [['target', target] as const, ['subject', subject] as const]) {
    if (reference === undefined) continue
    conditions.push(
      `exists (select from entry_refs r where r.tenant = i.tenant and r.reference = ${parameter(reference)} and r.role = '${role}' and r.seq = i.seq)`,
    )
  }
  return conditions
}

function rowOf({ seq, leaf, chain_hash: chainHash }: PageRow): AuditTrailRow {
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

/** How many of the first `nextSeq` entries were recorded before `instant`: recorded times never go backwards. */
async function countBefore(client: pg.Client, tenant: string, instant: string, nextSeq: number): Promise<number> {
  const text = `
    select seq from entry_index where tenant = $1 and recorded_at >= $2 and seq < $3
    order by recorded_at, seq limit 1`
  const { rows } = await client.query<{ seq: number }>(text, [tenant, instant, nextSeq])
  return rows[0]?.seq ?? nextSeq
}

async function expectIndex(client: pg.Client, tenant: string, nextSeq: number): Promise<void> {
  const text = `select next_seq from subscriptions where tenant = $1 and consumer = 'entry-index'`
  const { rows } = await client.query<{ next_seq: number }>(text, [tenant])
  if ((rows[0]?.next_seq ?? 0) < nextSeq) throw indexBehind(nextSeq, rows[0]?.next_seq ?? 0)
}

export function indexBehind(wanted: number, reached: number): DomainError {
  return new DomainError(
    'INDEX_BEHIND',
    `the index has reached ${reached} of ${wanted} entries: try again in a moment`,
    { retryAfterS: 2 },
  )
}

async function inSnapshot<T>(database: Database, tenant: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = await openSnapshot(database, tenant)
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

/** A connection inside a read-only transaction that sees one moment of one tenant. */
async function openSnapshot(database: Database, tenant: string): Promise<pg.Client> {
  const client = database.client('reader')
  client.on('error', () => undefined)
  await client.connect()
  await client.query('begin isolation level repeatable read read only')
  await client.query(`select set_config('countersign.tenant', $1, true)`, [tenant])
  return client
}

async function one<R extends object>(client: pg.Client, text: string, values: unknown[]): Promise<R> {
  const { rows } = await client.query<R>(text, values)
  const [row] = rows
  if (!row) throw new Error('a select of one row gave none')
  return row
}
