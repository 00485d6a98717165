import { inherited, OWN, personOf, type Access } from './access.js'
import { effective, expectRole, holders } from './roles.js'
import { expectRegistered } from './principals.js'

/** A role as answers show it. */
export interface RoleView {
  readonly role: string
  readonly permissions: readonly string[]
  readonly inherits: readonly string[]
  /** What it allows with all that it inherits. */
  readonly effective: readonly string[]
  /** Who has it, by inheritance too. */
  readonly holders: number
  readonly version: number
}

/** A principal as answers show it. */
export interface PrincipalView {
  readonly principal: string
  readonly kind: 'person' | 'service'
  readonly owner?: string
  readonly sameAs?: string
  /** The person that it counts as, where that is another pseudonym. */
  readonly countsAs?: string
  readonly roles: readonly string[]
  /** What its roles allow; nothing while it is disabled. */
  readonly permissions: readonly string[]
  readonly disabled?: true
  readonly version: number
}

export interface Page {
  readonly limit: number
  /** The name where the last page ended. */
  readonly after?: string | undefined
}

/**
 * Roles by name.
 * @param page.own those that belong to one principal's tokens, too
 */
export function listRoles(access: Access, { own, ...page }: Page & { readonly own: boolean }): RoleView[] {
  const names = Object.keys(access.roles).filter((name) => own || !name.startsWith(OWN))
  const held = new Map<string, number>()
  for (const { roles } of Object.values(access.principals)) {
    for (const role of inherited(access, roles)) held.set(role, (held.get(role) ?? 0) + 1)
  }
  return pageOf(names, page).map((name) => viewOf(access, name, held.get(name) ?? 0))
}

/** @throws DomainError ROLE_UNKNOWN */
export function roleOf(access: Access, name: string): RoleView {
  return viewOf(access, name, holders(access, name).length)
}

function viewOf(access: Access, name: string, held: number): RoleView {
  const { permissions, inherits, version } = expectRole(access, name, '/role')
  return {
    role: name,
    permissions,
    inherits,
    effective: effective(access, [name]),
    holders: held,
    version,
  }
}

/** Principals by name, disabled ones too. */
export function listPrincipals(access: Access, page: Page): PrincipalView[] {
  return pageOf(Object.keys(access.principals), page).map((name) => principalOf(access, name))
}

/** @throws DomainError PRINCIPAL_UNKNOWN */
export function principalOf(access: Access, principal: string): PrincipalView {
  const { kind, owner, sameAs, roles, disabled, version } = expectRegistered(access, principal, '/principal')
  const countsAs = personOf(access, principal)
  return {
    principal,
    kind,
    ...(owner !== undefined && { owner }),
    ...(sameAs !== undefined && { sameAs }),
    ...(countsAs !== principal && { countsAs }),
    roles: [...roles].sort(),
    permissions: disabled ? [] : effective(access, roles),
    ...(disabled && { disabled }),
    version,
  }
}

function pageOf(names: readonly string[], { limit, after }: Page): string[] {
  return names
    .filter((name) => after === undefined || name > after)
    .sort()
    .slice(0, limit)
}
