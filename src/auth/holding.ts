import type { Tx } from '../db/database.js'
import type { Governance } from '../approvals/governance.js'
import { DomainError } from '../errors.js'
import type { Principal } from '../principal.js'
import { rolePermissions } from './access.js'
import { intersect } from './permissions.js'

const TOKEN = 'token:'

/**
 * Who is acting, as it is under the tenant's lock: a process believes a token for a few seconds, which is too long for who
 * gives rights away.
 * @throws DomainError TOKEN_REVOKED, TOKEN_EXPIRED
 */
export async function holding(
  tx: Tx,
  { nowMs, governance }: { readonly nowMs: number; readonly governance: Governance },
  by: Principal,
): Promise<Principal> {
  if (!by.via.startsWith(TOKEN)) return by
  const row = await tx
    .selectFrom('tokens')
    .select(['principal', 'permissions', 'expires_at', 'revoked_at'])
    .where('tenant', '=', by.tenant)
    .where('id', '=', by.via.slice(TOKEN.length))
    .executeTakeFirst()
  if (row?.principal !== by.id || row.revoked_at !== null) {
    throw new DomainError('TOKEN_REVOKED', 'the token was revoked')
  }
  if (row.expires_at !== null && nowMs >= Date.parse(row.expires_at)) {
    throw new DomainError('TOKEN_EXPIRED', 'the token has expired')
  }
  return { ...by, permissions: intersect(row.permissions, rolePermissions(governance.access, by.id)) }
}
