import type { Authority, Effect } from '../approvals/kind.js'
import type { LeafEvent, Party } from '../ledger/event.js'
import type { Principal } from '../principal.js'
import { ownRole, principalStream, roleStream, type Registered, type Role } from './access.js'
import { kindOf, partyOf } from './principals.js'

/** What a protected entry says of why it may stand where it stands. */
export interface Ground {
  readonly by: Principal
  readonly authority: Authority
  readonly cause?: number
}

export function roleDefined(ground: Ground, role: string, given: Pick<Role, 'permissions' | 'inherits'>): Effect {
  const { permissions, inherits } = given
  const data = { role, permissions: [...permissions], inherits: [...inherits] }
  return on(roleStream(role), resting(ground, { type: 'role.defined', data, targets: [roleParty(role)] }))
}

export function roleRemoved(ground: Ground, role: string): Effect {
  return on(roleStream(role), resting(ground, { type: 'role.removed', data: { role }, targets: [roleParty(role)] }))
}

export function roleGranted(ground: Ground, principal: string, role: string): Effect {
  const targets = [partyOf(principal), roleParty(role)]
  return on(principalStream(principal), resting(ground, { type: 'role.granted', data: { principal, role }, targets }))
}

/** Rights are taken away at once, by one alone: such an entry needs no authority. */
export function roleRevoked(by: Principal, principal: string, role: string): Effect {
  return on(principalStream(principal), {
    type: 'role.revoked',
    actor: partyOf(by.id),
    data: { principal, role },
    targets: [partyOf(principal), roleParty(role)],
  })
}

export function principalRegistered(ground: Ground, principal: string, owner: string | undefined): Effect {
  const kind: Registered['kind'] = kindOf(principal)
  const data = { principal, kind, ...(owner !== undefined && { owner }) }
  const targets = [partyOf(principal), ...(owner === undefined ? [] : [partyOf(owner)])]
  return on(principalStream(principal), resting(ground, { type: 'principal.registered', data, targets }))
}

export function principalLinked(ground: Ground, principal: string, sameAs: string): Effect {
  const targets = [partyOf(principal), partyOf(sameAs)]
  return on(
    principalStream(principal),
    resting(ground, { type: 'principal.linked', data: { principal, sameAs }, targets }),
  )
}

export function principalUnlinked(ground: Ground, principal: string): Effect {
  return on(
    principalStream(principal),
    resting(ground, { type: 'principal.unlinked', data: { principal }, targets: [partyOf(principal)] }),
  )
}

export function principalDisabled(by: Principal, principal: string): Effect {
  return on(principalStream(principal), {
    type: 'principal.disabled',
    actor: partyOf(by.id),
    data: { principal },
    targets: [partyOf(principal)],
  })
}

/** A principal's own role as its tokens need it: registered, defined and granted where that is not so yet. */
export function ownRoleEvents(
  ground: Ground,
  principal: string,
  registered: Registered | undefined,
  permissions: readonly string[] | undefined,
): Effect[] {
  const role = ownRole(principal)
  return [
    ...(registered ? [] : [principalRegistered(ground, principal, undefined)]),
    ...(permissions ? [roleDefined(ground, role, { permissions, inherits: [] })] : []),
    ...(registered?.roles.includes(role) ? [] : [roleGranted(ground, principal, role)]),
  ]
}

/** A protected event, with what it rests on. */
function resting({ by, authority, cause }: Ground, event: LeafEvent): LeafEvent {
  return {
    actor: partyOf(by.id),
    ...(cause !== undefined && { cause }),
    ...event,
    data: { ...event.data, authority: { ...authority } },
  }
}

function on(stream: string, ...events: LeafEvent[]): Effect {
  return { stream, events }
}

function roleParty(role: string): Party {
  return { id: `role:${role}`, type: 'role' }
}
