import { randomBytes } from 'node:crypto'
import { inTenant, type Database } from '../db/database.js'
import { DomainError } from '../errors.js'
import { appendAt } from '../ledger/append.js'
import { TENANT } from '../ledger/envelope.js'
import { eventBytes } from '../ledger/event.js'
import { GENESIS } from '../ledger/hash.js'
import { host } from '../principal.js'
import type { Installation } from './installation.js'
import { wrapKey } from './wrap.js'

export interface Tenant {
  readonly id: string
  /** Identity of its log, 32 hex digits. */
  readonly log: string
}

/**
 * Creates a tenant: its log, which opens with `log.created`, and its index key.
 * @throws DomainError TENANT_ID_INVALID, TENANT_EXISTS
 */
export async function createTenant(database: Database, installation: Installation, id: string): Promise<Tenant> {
  if (!TENANT.test(id)) {
    throw new DomainError(
      'TENANT_ID_INVALID',
      `${JSON.stringify(id)} cannot name a tenant: 2 to 63 of a-z, 0-9 and -, a letter first`,
    )
  }
  const log = randomBytes(16).toString('hex')
  await inTenant(database.keyring, id, async (tx) => {
    const now = new Date()
    const inserted = await tx
      .insertInto('tenants')
      .values({ id, log, created_at: now.toISOString() })
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirst()
    if (inserted.numInsertedOrUpdatedRows === 0n)
      throw new DomainError('TENANT_EXISTS', `there is a tenant ${id} already`)
    const head = { tenant: id, log, nextSeq: 0, chainHash: GENESIS, recordedAtMs: now.getTime(), keyEpoch: 0 }
    await tx
      .insertInto('heads')
      .values({ tenant: id, next_seq: 0, chain_hash: GENESIS, recorded_at: now.toISOString() })
      .execute()
    const wrapped = wrapKey(installation, { tenant: id, purpose: 'index', id, generation: 1 }, randomBytes(32))
    await tx.insertInto('tenant_keys').values({ tenant: id, purpose: 'index', generation: 1, wrapped }).execute()
    const { id: by, via } = host(id)
    const body = eventBytes({ type: 'log.created', data: { log } })
    await appendAt(tx, head, { by, via, events: [{ body, sealed: [] }] }, now.getTime())
  })
  return { id, log }
}

/** @returns the tenant, created now or before */
export async function ensureTenant(database: Database, installation: Installation, id: string): Promise<Tenant> {
  const known = await findTenant(database, id)
  if (known) return known
  try {
    return await createTenant(database, installation, id)
  } catch (error) {
    if (!(error instanceof DomainError && error.code === 'TENANT_EXISTS')) throw error
    const other = await findTenant(database, id)
    if (!other) throw error
    return other
  }
}

export async function findTenant(database: Database, id: string): Promise<Tenant | undefined> {
  return database.operator.selectFrom('tenants').select(['id', 'log']).where('id', '=', id).executeTakeFirst()
}

export async function listTenants(
  database: Database,
): Promise<(Tenant & { created_at: string; size: number; recorded_at: string })[]> {
  return database.operator
    .selectFrom('tenants')
    .innerJoin('heads', 'heads.tenant', 'tenants.id')
    .select(['tenants.id', 'tenants.log', 'tenants.created_at', 'heads.next_seq as size', 'heads.recorded_at'])
    .orderBy('tenants.id')
    .execute()
}
