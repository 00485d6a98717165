import { inTenant, type Database, type Tx } from '../src/db/database.js'
import { sql } from 'kysely'
import { readLeaf } from '../src/ledger/entry.js'
import { reachOf } from '../src/ledger/page.js'
import { beginningWith, streamEntry } from '../src/ledger/streams.js'
import { GOVERNANCE_PREFIXES } from '../src/approvals/governance.js'
import { changeRow, directRow, refusedRow, type ApprovalRow } from './change-approvals.js'
import type { ReportParameters } from './parameters.js'
import { indexBehind } from './recorded.js'

/** Places read at once, each with its leaf or, for changes, the leaves of their whole stream. */
const PAGE = 200

interface Place {
  readonly seq: number
  /** The change that a row of its own is made of, by its first entry. */
  readonly change?: string
}

/**
 * Everything that says how decisions were made in a fixed range, in the order of the log: each change that something happened
 * to, at the place where it was requested; votes that were refused; what was done directly. One snapshot.
 * @throws DomainError INDEX_BEHIND when the index of types has not reached the end of the range
 */
export async function* changeApprovalRows(
  database: Database,
  parameters: ReportParameters,
): AsyncGenerator<ApprovalRow> {
  const { range, tenant } = parameters
  if (range === null) return
  const places = await inTenant(database.reader, tenant, (tx) => placesOf(tx, tenant, range), { snapshot: true })
  // What has been appended never changes, so that each few hundred may be read in a transaction of their own.
  for (let start = 0; start < places.length; start += PAGE) {
    yield* await inTenant(database.reader, tenant, (tx) =>
      rowsAt(tx, parameters, range.lastSeq, places.slice(start, start + PAGE)),
    )
  }
}

type Range = NonNullable<ReportParameters['range']>

async function placesOf(tx: Tx, tenant: string, { firstSeq, lastSeq }: Range): Promise<Place[]> {
  const { indexedUpTo } = await reachOf(tx, tenant)
  if (indexedUpTo < lastSeq) throw indexBehind(lastSeq + 1, indexedUpTo + 1)
  const inRange = tx
    .selectFrom('streams')
    .where('tenant', '=', tenant)
    .where('seq', '>=', firstSeq)
    .where('seq', '<=', lastSeq)
  const changes = await tx
    .selectFrom('streams as first')
    .select(['first.seq', 'first.stream as change'])
    .where('first.tenant', '=', tenant)
    .where('first.version', '=', 1)
    .where('first.stream', 'in', inRange.where((where) => beginningWith(where, ['change/'])).select('stream'))
    .execute()
  const direct = await inRange
    .where((where) => beginningWith(where, GOVERNANCE_PREFIXES))
    .select('seq')
    .execute()
  const refused = await tx
    .selectFrom('entry_index')
    .select('seq')
    .where('tenant', '=', tenant)
    .where('type', '=', 'vote.refused')
    .where('seq', '>=', firstSeq)
    .where('seq', '<=', lastSeq)
    .where('source', 'is', null)
    .execute()
  return [...changes, ...direct, ...refused].toSorted((a, b) => a.seq - b.seq)
}

async function rowsAt(
  tx: Tx,
  parameters: ReportParameters,
  lastSeq: number,
  places: readonly Place[],
): Promise<ApprovalRow[]> {
  const { tenant } = parameters
  const changes = new Map<string, Buffer[]>()
  const names = places.flatMap(({ change }) => change ?? [])
  const ofChanges = await tx
    .selectFrom('streams')
    .innerJoin('entries', (join) =>
      join.onRef('entries.tenant', '=', 'streams.tenant').onRef('entries.seq', '=', 'streams.seq'),
    )
    .select(['stream', 'leaf'])
    .where('streams.tenant', '=', tenant)
    .where(sql<boolean>`stream = any(${names})`)
    .where('streams.seq', '<=', lastSeq)
    .orderBy('streams.seq')
    .execute()
  for (const { stream, leaf } of ofChanges) changes.set(stream, [...(changes.get(stream) ?? []), leaf])
  const others = await tx
    .selectFrom('entries')
    .select(['seq', 'leaf'])
    .where('tenant', '=', tenant)
    .where(sql<boolean>`seq = any(${places.flatMap(({ seq, change }) => (change === undefined ? seq : []))})`)
    .execute()
  const bySeq = new Map(others.map(({ seq, leaf }) => [seq, leaf]))
  return places.flatMap(({ seq, change }) => {
    if (change !== undefined) return changeRow((changes.get(change) ?? []).map(streamEntry), parameters) ?? []
    const leaf = bySeq.get(seq)
    return leaf === undefined ? [] : (otherRow(leaf) ?? [])
  })
}

function otherRow(leaf: Buffer): ApprovalRow | undefined {
  const { entry, event } = readLeaf(leaf)
  return event.type === 'vote.refused' ? refusedRow({ ...entry, event }) : directRow(streamEntry(leaf))
}
