import { DomainError } from '../errors.js'
import type { Principal } from '../principal.js'
import { inherited, OWN, ownRole, permissionsOf, roleStream, roleVersion, type Access, type Role } from './access.js'
import { allows, checkPermission } from './permissions.js'
import { expectRegistered } from './principals.js'

export const ROLE_NAME = /^[a-z][a-z0-9-]{0,62}$/
export const MAX_ROLE_PERMISSIONS = 64
export const MAX_INHERITED = 16

export interface Definition {
  readonly role: string
  readonly permissions: readonly string[]
  readonly inherits?: readonly string[]
}

/**
 * A role as a definition would make it: sorted, each name once.
 * @returns undefined where it is defined so already
 * @throws DomainError ROLE_INVALID, PERMISSION_INVALID, ROLE_UNKNOWN, ROLE_CYCLE
 */
export function definition(access: Access, given: Definition): Omit<Role, 'version'> | undefined {
  const { role } = given
  if (!ROLE_NAME.test(role)) {
    const message = `${JSON.stringify(role.slice(0, 80))} cannot name a role: 1 to 63 of a-z, 0-9 and -, a letter first`
    throw new DomainError('ROLE_INVALID', message, { pointer: '/role' })
  }
  for (const [n, permission] of given.permissions.entries()) checkPermission(permission, `/permissions/${n}`)
  const permissions = [...new Set(given.permissions)].sort()
  const inherits = [...new Set(given.inherits)].sort()
  if (permissions.length + inherits.length === 0) {
    throw new DomainError('ROLE_INVALID', 'a role has permissions, or inherits them', { pointer: '/permissions' })
  }
  if (permissions.length > MAX_ROLE_PERMISSIONS || inherits.length > MAX_INHERITED) {
    const message = `a role has at most ${MAX_ROLE_PERMISSIONS} permissions and inherits at most ${MAX_INHERITED} roles`
    throw new DomainError('ROLE_INVALID', message, { pointer: '/permissions' })
  }
  for (const [n, other] of (given.inherits ?? []).entries()) {
    const pointer = `/inherits/${n}`
    if (other !== role) expectRole(access, other, pointer)
    if (other === role || inherited(access, [other]).includes(role)) {
      throw new DomainError('ROLE_CYCLE', `${role} would inherit from itself, through ${other}`, { pointer })
    }
    if (other.startsWith(OWN)) throw notYours(other, pointer)
  }
  const before = access.roles[role]
  const same = before && isSame(before.permissions, permissions) && isSame(before.inherits, inherits)
  return same ? undefined : { permissions, inherits }
}

/** @throws DomainError ROLE_UNKNOWN */
export function expectRole(access: Access, role: string, pointer: string): Role {
  const known = access.roles[role]
  if (known) return known
  throw new DomainError('ROLE_UNKNOWN', `there is no role ${JSON.stringify(role.slice(0, 160))}`, { pointer })
}

/**
 * Whether granting changes anything: who has a role already keeps it.
 * @throws DomainError PRINCIPAL_UNKNOWN, PRINCIPAL_DISABLED, ROLE_UNKNOWN, ROLE_INVALID
 */
export function grants(access: Access, principal: string, role: string): boolean {
  const registered = expectRegistered(access, principal, '/principal')
  expectRole(access, role, '/role')
  if (role.startsWith(OWN) && role !== ownRole(principal)) throw notYours(role, '/role')
  if (registered.disabled) throw disabled(principal)
  return !registered.roles.includes(role)
}

export function disabled(principal: string): DomainError {
  const message = `${principal} was disabled: register it again first`
  return new DomainError('PRINCIPAL_DISABLED', message, { pointer: '/principal' })
}

/**
 * Whether removing changes anything.
 * @throws DomainError ROLE_IN_USE: who holds it would get it back, with other permissions, once it is defined again
 */
export function removes(access: Access, role: string): boolean {
  if (!access.roles[role]) return false
  const heirs = Object.keys(access.roles).filter((other) => access.roles[other]?.inherits.includes(role))
  const holders = Object.keys(access.principals).filter((who) => access.principals[who]?.roles.includes(role))
  if (heirs.length + holders.length === 0) return true
  const users = [...heirs, ...holders].sort()
  const named = users.slice(0, NAMED).join(', ') + (users.length > NAMED ? ' and more' : '')
  throw new DomainError('ROLE_IN_USE', `${role} is held or inherited: ${named}`, { pointer: '/role' })
}

const NAMED = 5

/** Who has a role, by inheritance too. */
export function holders(access: Access, role: string): string[] {
  return Object.keys(access.principals).filter((who) =>
    inherited(access, access.principals[who]?.roles ?? []).includes(role),
  )
}

/** The same access with one role changed: to ask what would follow from it. */
export function withRole(access: Access, name: string, role: Omit<Role, 'version'>): Access {
  const roles = Object.assign(Object.create(null) as Record<string, Role>, access.roles)
  roles[name] = { ...role, version: roleVersion(access, name) }
  return { ...access, roles }
}

/** What `after` allows beyond `before`. */
export function gained(before: readonly string[], after: readonly string[]): string[] {
  return after.filter((permission) => !allows(before, permission))
}

/**
 * Nobody grants what they do not have.
 * @param permissions what somebody would gain
 * @param place JSON pointer of each, where the caller named them one by one
 * @throws DomainError PERMISSION_ESCALATION
 */
export function expectOwn(by: Principal, permissions: readonly string[], place: (permission: string) => string): void {
  for (const permission of permissions) {
    if (allows(by.permissions, permission)) continue
    throw new DomainError(
      'PERMISSION_ESCALATION',
      `${permission} is not yours to grant: what is passed on is only what its giver has`,
      { pointer: place(permission) },
    )
  }
}

/** The versions of roles and of all they inherit: what they allow is what was looked at as long as these stand. */
export function roleVersions(access: Access, roles: readonly string[]): Record<string, number> {
  return Object.fromEntries(inherited(access, roles).map((role) => [roleStream(role), roleVersion(access, role)]))
}

/** What a role allows, as a list that can be compared and shown. */
export function effective(access: Access, roles: readonly string[]): string[] {
  return [...permissionsOf(access, roles)].sort()
}

function notYours(role: string, pointer: string): DomainError {
  return new DomainError('ROLE_INVALID', `${role} belongs to one principal's tokens: define a role of another name`, {
    pointer,
  })
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((each, n) => each === b[n])
}
