import { evolveGovernanceBy, type Governance } from '../approvals/governance.js'
import { governed } from '../approvals/governed.js'
import type { Effect } from '../approvals/kind.js'
import type { Database, Tx } from '../db/database.js'
import type { StreamEntry } from '../ledger/streams.js'
import type { Principal } from '../principal.js'
import { principalDisabled, roleRevoked } from './access-events.js'
import type { Access } from './access.js'
import { appendEffects } from './effects.js'
import { expectRegistered } from './principals.js'
import { expectRole } from './roles.js'

/**
 * Refuses what would leave a policy that nobody could satisfy, once approvals are enforced.
 * @throws DomainError POLICY_UNSATISFIABLE
 */
export type StillSatisfiable = (
  tx: Tx,
  tenant: string,
  change: { readonly before: Governance; readonly after: Governance; readonly nowMs: number },
) => Promise<void>

/**
 * Takes a role away from a principal: at once and by one person alone, also once approvals are enforced. Repeating it
 * changes nothing.
 * @throws DomainError PRINCIPAL_UNKNOWN, ROLE_UNKNOWN, POLICY_UNSATISFIABLE
 */
export async function revokeRole(
  database: Database,
  by: Principal,
  { principal, role }: { readonly principal: string; readonly role: string },
  expectStillSatisfiable: StillSatisfiable,
): Promise<void> {
  await take(database, by, expectStillSatisfiable, (access) => {
    if (expectRegistered(access, principal, '/principal').roles.includes(role))
      return [roleRevoked(by, principal, role)]
    expectRole(access, role, '/role')
    return []
  })
}

/**
 * Has none of a principal's roles allow anything until it is registered again. Repeating it changes nothing.
 * @throws DomainError PRINCIPAL_UNKNOWN, POLICY_UNSATISFIABLE
 */
export async function disablePrincipal(
  database: Database,
  by: Principal,
  principal: string,
  expectStillSatisfiable: StillSatisfiable,
): Promise<void> {
  await take(database, by, expectStillSatisfiable, (access) =>
    expectRegistered(access, principal, '/principal').disabled ? [] : [principalDisabled(by, principal)],
  )
}

async function take(
  database: Database,
  by: Principal,
  expectStillSatisfiable: StillSatisfiable,
  decide: (access: Access) => Effect[],
): Promise<void> {
  await governed({ database }, by, async (tx, now) => {
    const before = now.governance
    const effects = decide(before.access)
    if (effects.length === 0) return
    const after = evolveGovernanceBy(before, asEntries(by, before.access, effects))
    await expectStillSatisfiable(tx, by.tenant, { before, after, nowMs: now.nowMs })
    await appendEffects(tx, now, by, effects)
  })
}

/** Effects as the entries that they are about to become, as far as a fold of who may do what looks at them. */
function asEntries(by: Principal, access: Access, effects: readonly Effect[]): StreamEntry[] {
  return effects.flatMap(({ stream, events }) =>
    events.map((event, n) => ({
      at: '',
      by: by.id,
      log: '',
      seq: 0,
      stream,
      tenant: by.tenant,
      version: (access.principals[stream.slice('principal/'.length)]?.version ?? 0) + n + 1,
      via: by.via,
      event,
    })),
  )
}
