import { CompiledQuery } from 'kysely'
import type { Database, Tx } from '../db/database.js'
import type { Envelope } from '../ledger/envelope.js'
import type { LeafEvent } from '../ledger/event.js'
import { instantUs } from '../ledger/rfc3339.js'
import { Follower, type Consumer } from '../ledger/subscribe.js'
import { ENTRY_INDEX, type Slice } from '../ledger/subscriptions.js'
import { BinaryArray, elementTypes, timestamptz, wideTimestamptz } from '../ledger/wire.js'

/** Builds what lists and reports filter by. */
export function entryIndex(): Consumer {
  const rows = new IndexRows()
  return {
    name: ENTRY_INDEX,
    async write(tx, slices) {
      rows.reset()
      for (const slice of slices) rows.add(slice)
      await clear(tx, slices)
      await rows.insert(tx)
    },
  }
}

/**
 * Drops the index of one tenant, or of all, and builds it again. Until it is done answers say how far it is complete.
 * A service that runs meanwhile takes part.
 */
export async function rebuildIndex(database: Database, tenant?: string): Promise<void> {
  const tenants =
    tenant === undefined
      ? (await database.operator.selectFrom('heads').select('tenant').execute()).map((row) => row.tenant)
      : [tenant]
  for (const each of tenants) await dropIndex(database, each)
  await new Follower(database, entryIndex()).catchUp(tenants)
}

/** The new epoch fences whoever read entries before and has not written yet. */
async function dropIndex(database: Database, tenant: string): Promise<void> {
  await database.operator.transaction().execute(async (tx) => {
    await tx
      .updateTable('subscriptions')
      .set((is) => ({ next_seq: 0, owner: null, until: null, epoch: is('epoch', '+', 1) }))
      .where('consumer', '=', ENTRY_INDEX)
      .where('tenant', '=', tenant)
      .execute()
    await tx.deleteFrom('entry_index').where('tenant', '=', tenant).execute()
    await tx.deleteFrom('entry_refs').where('tenant', '=', tenant).execute()
  })
}

/**
 * Removes what stands where these slices will: nothing, unless somebody has reset a cursor by hand. Looking costs a
 * tenth of what `on conflict` costs on every row.
 */
async function clear(tx: Tx, slices: readonly Slice[]): Promise<void> {
  const standing = `/* index_standing */    select m.tenant, m.seq from unnest($1::text[], $2::int8[]) as m(tenant, seq)
    where exists (select from entry_index i where i.tenant = m.tenant and i.seq >= m.seq)`
  const values = [slices.map(({ tenant }) => tenant), slices.map(({ entries }) => entries[0]?.seq)]
  const { rows } = await tx.executeQuery<{ tenant: string; seq: number }>(CompiledQuery.raw(standing, values))
  for (const { tenant, seq } of rows) {
    await tx.deleteFrom('entry_index').where('tenant', '=', tenant).where('seq', '>=', seq).execute()
    await tx.deleteFrom('entry_refs').where('tenant', '=', tenant).where('seq', '>=', seq).execute()
  }
}

/** Rows of many entries as the parameters of two statements; its memory is reused. */
class IndexRows {
  private readonly entries = {
    tenant: new BinaryArray(elementTypes.text),
    seq: new BinaryArray(elementTypes.int8),
    recordedAt: new BinaryArray(elementTypes.timestamptz),
    occurredAt: new BinaryArray(elementTypes.timestamptz),
    type: new BinaryArray(elementTypes.text),
    actor: new BinaryArray(elementTypes.text),
    outcome: new BinaryArray(elementTypes.text),
    stream: new BinaryArray(elementTypes.text),
    source: new BinaryArray(elementTypes.text),
  }
  private readonly refs = {
    tenant: new BinaryArray(elementTypes.text),
    reference: new BinaryArray(elementTypes.text),
    role: new BinaryArray(elementTypes.text),
    seq: new BinaryArray(elementTypes.int8),
  }
  private references = 0

  reset(): void {
    this.references = 0
    for (const table of [this.entries, this.refs]) for (const column of Object.values(table)) column.reset()
  }

  add({ tenant, entries }: Slice): void {
    const { entries: to } = this
    for (const { seq, leaf } of entries) {
      const { entry, event } = JSON.parse(leaf.toString()) as { entry: Envelope; event: LeafEvent }
      to.tenant.text(tenant)
      to.seq.int8(seq)
      to.recordedAt.int8(timestamptz(Date.parse(entry.at)))
      if (event.occurredAt === undefined) to.occurredAt.null()
      else to.occurredAt.int8(wideTimestamptz(instantUs(event.occurredAt)))
      to.type.text(event.type)
      textOrNull(to.actor, event.actor?.id)
      textOrNull(to.outcome, event.outcome)
      textOrNull(to.stream, entry.stream)
      textOrNull(to.source, event.source?.name)
      for (const [role, reference] of referencesOf(event)) {
        this.refs.tenant.text(tenant)
        this.refs.reference.text(reference)
        this.refs.role.text(role)
        this.refs.seq.int8(seq)
        this.references++
      }
    }
  }

  async insert(tx: Tx): Promise<void> {
    await tx.executeQuery(CompiledQuery.raw(INSERT_ENTRIES, parameters(this.entries)))
    if (this.references > 0) await tx.executeQuery(CompiledQuery.raw(INSERT_REFS, parameters(this.refs)))
  }
}

const INSERT_ENTRIES = `/* index_entries */  insert into entry_index (tenant, seq, recorded_at, occurred_at, type, actor, outcome, stream, source)
  select * from unnest($1::text[], $2::int8[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[], $7::text[],
                       $8::text[], $9::text[])`

const INSERT_REFS = `/* index_refs */  insert into entry_refs (tenant, reference, role, seq)
  select * from unnest($1::text[], $2::text[], $3::text[], $4::int8[])`

type Role = 'actor' | 'target' | 'subject'

/** Whom and what an entry is found by. Subjects are those who have personal data sealed in it. */
function referencesOf(event: LeafEvent): [role: Role, reference: string][] {
  const targets = new Set(event.targets?.map((target) => target.id))
  const subjects = new Set(event.sealed?.map((group) => group.subject))
  return [
    ...(event.actor ? ([['actor', event.actor.id]] as [Role, string][]) : []),
    ...[...targets].map((id): [Role, string] => ['target', id]),
    ...[...subjects].map((id): [Role, string] => ['subject', id]),
  ]
}

function textOrNull(column: BinaryArray, value: string | undefined): void {
  if (value === undefined) column.null()
  else column.text(value)
}

function parameters(table: Readonly<Record<string, BinaryArray>>): Buffer[] {
  return Object.values(table).map((column) => column.parameter())
}
