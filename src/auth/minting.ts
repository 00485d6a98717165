import type { Authority, Effect } from '../approvals/kind.js'
import type { Governance } from '../approvals/governance.js'
import { DomainError } from '../errors.js'
import type { Principal } from '../principal.js'
import { ownRoleEvents } from './access-events.js'
import { linkedTo, ownRole, personOf, rolePermissions, type Access } from './access.js'
import { allows, approveSomething, withoutCovered } from './permissions.js'
import { disabled, expectOwn } from './roles.js'
import { isSensitive } from './sensitive.js'
import type { TokenGrant } from './token.js'

/** The kind of change that makes a token where one person alone may not. */
export const TOKEN_CREATE = 'token.create'

export interface Minting {
  readonly authority: Authority
  /** What has to be so before the token may do what it says. */
  readonly effects: readonly Effect[]
}

/**
 * What making a token directly takes. In setup its principal is registered, and gets by a role of its own what the token
 * may do. Once approvals are enforced, the principal's roles have to allow it already, and what is sensitive takes two.
 * @param grant has passed `checkGrant`
 * @throws DomainError PERMISSION_ESCALATION, PRINCIPAL_DISABLED, TOKEN_BEYOND_ROLES, CHANGE_REQUIRED
 */
export function minting(governance: Governance, by: Principal, grant: TokenGrant): Minting {
  const { access, enforcedSeq } = governance
  const { principal, permissions } = grant
  expectOwn(by, permissions, (permission) => `/permissions/${permissions.indexOf(permission)}`)
  const registered = access.principals[principal]
  if (registered?.disabled) throw disabled(principal)
  const authority = { setup: true } as const
  if (enforcedSeq === undefined) return { authority, effects: ownRoleFor({ by, authority }, access, grant) }
  expectWithinRoles(access, grant)
  const why = takesTwo(governance, by.id, grant)
  if (why !== undefined) throw changeRequired(why)
  return { authority, effects: [] }
}

/**
 * Why making a token takes an approved change once approvals are enforced.
 * @param by who makes it
 * @returns undefined where one person alone may
 */
export function takesTwo(
  { access, emergency }: Pick<Governance, 'access' | 'emergency'>,
  by: string,
  { principal, permissions }: Pick<TokenGrant, 'principal' | 'permissions'>,
): string | undefined {
  if (isSensitive(permissions)) return 'its permissions are sensitive'
  if (access.principals[principal]?.kind !== 'person' || isSamePerson(access, by, principal)) return undefined
  if (mayApprove(access, principal)) return 'it acts for another person, who may approve changes'
  const mayBreakGlass = emergency?.people.some((each) => isSamePerson(access, each, principal)) ?? false
  return mayBreakGlass ? 'it acts for another person, who may break glass' : undefined
}

/** @throws DomainError TOKEN_BEYOND_ROLES */
export function expectWithinRoles(access: Access, { principal, permissions }: TokenGrant): void {
  const allowed = rolePermissions(access, principal)
  const n = permissions.findIndex((permission) => !allows(allowed, permission))
  if (n < 0) return
  throw new DomainError(
    'TOKEN_BEYOND_ROLES',
    `no role of ${principal} allows ${permissions[n] ?? ''}: a token does what its principal's roles allow, too`,
    { pointer: `/permissions/${n}` },
  )
}

/**
 * Registers a principal and extends its own role where its roles do not allow yet what its tokens may do.
 * @param grants the permissions of one token, or of all it has together
 */
export function ownRoleFor(
  ground: { readonly by: Principal; readonly authority: Authority },
  access: Access,
  { principal, permissions }: Pick<TokenGrant, 'principal' | 'permissions'>,
): Effect[] {
  const registered = access.principals[principal]
  const allowed = rolePermissions(access, principal)
  if (registered && permissions.every((permission) => allows(allowed, permission))) return []
  const before = access.roles[ownRole(principal)]?.permissions ?? []
  const missing = permissions.some((permission) => !allows(before, permission))
  const together = withoutCovered([...before, ...permissions]).sort()
  return ownRoleEvents(ground, principal, registered, missing ? together : undefined)
}

function isSamePerson(access: Access, a: string, b: string): boolean {
  return personOf(access, a) === personOf(access, b)
}

/** Whether somebody may approve changes of any kind, under any of the names that count as this person. */
function mayApprove(access: Access, principal: string): boolean {
  return linkedTo(access, principal).some((each) => approveSomething(rolePermissions(access, each)))
}

function changeRequired(why: string): DomainError {
  return new DomainError(
    'CHANGE_REQUIRED',
    `this token takes an approved change, because ${why}: request a change of kind ${TOKEN_CREATE}`,
  )
}
