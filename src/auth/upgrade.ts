import { sql } from 'kysely'
import { governed } from '../approvals/governed.js'
import { inTenant, type Database, type Tx } from '../db/database.js'
import { host } from '../principal.js'
import { appendEffects } from './effects.js'
import { ownRoleFor } from './minting.js'

/** Principals that enter a log in one transaction, at two to three entries each. */
const AT_ONCE = 200

export interface Upgraded {
  readonly tenant: string
  readonly principals: number
}

/**
 * Registers the principals of tokens that were made before principals were registered, each with a role of its own that
 * allows what its live tokens may do together. Whoever is registered is left alone, so that repeating it changes nothing;
 * so are tenants whose approvals are enforced, where nobody is registered without a change.
 * @returns the tenants in which somebody was registered
 */
export async function registerTokenHolders(database: Database): Promise<Upgraded[]> {
  const tenants = await database.operator.selectFrom('tenants').select('id').orderBy('id').execute()
  const upgraded: Upgraded[] = []
  for (const { id: tenant } of tenants) {
    const unregistered = await inTenant(database.reader, tenant, (tx) => readUnregistered(tx, tenant))
    let principals = 0
    while (principals < unregistered.length) {
      const some = unregistered.slice(principals, principals + AT_ONCE)
      const done = await registerSome(database, tenant, some)
      if (!done) break
      principals += some.length
    }
    if (principals > 0) upgraded.push({ tenant, principals })
  }
  return upgraded
}

async function registerSome(database: Database, tenant: string, principals: readonly string[]): Promise<boolean> {
  const by = host(tenant)
  return governed({ database }, by, async (tx, now) => {
    const { access, enforcedSeq } = now.governance
    if (enforcedSeq !== undefined) return false
    const holders = await readHolders(tx, tenant, principals)
    const ground = { by, authority: { setup: true } } as const
    const effects = holders
      .filter(({ principal }) => access.principals[principal] === undefined)
      .flatMap((holder) => ownRoleFor(ground, access, holder))
    await appendEffects(tx, now, by, effects)
    return true
  })
}

/** Who has live tokens and is not registered. */
async function readUnregistered(tx: Tx, tenant: string): Promise<string[]> {
  const { rows } = await sql<{ principal: string }>`
    select distinct t.principal from tokens t
    where t.tenant = ${tenant} and t.revoked_at is null and (t.expires_at is null or t.expires_at > now())
      and not exists (
        select from streams s where s.tenant = t.tenant and s.stream = 'principal/' || t.principal and s.version = 1)
    order by t.principal`.execute(tx)
  return rows.map(({ principal }) => principal)
}

/** What principals may do by all of their live tokens. */
async function readHolders(
  tx: Tx,
  tenant: string,
  principals: readonly string[],
): Promise<{ principal: string; permissions: string[] }[]> {
  const { rows } = await sql<{ principal: string; permissions: string[] }>`
    select principal, array_agg(distinct permission order by permission) as permissions
    from tokens, unnest(permissions) as permission
    where tenant = ${tenant} and principal = any(${[...principals]}) and revoked_at is null
      and (expires_at is null or expires_at > now())
    group by principal order by principal`.execute(tx)
  return rows
}
