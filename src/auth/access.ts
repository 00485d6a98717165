import type { StreamEntry } from '../ledger/streams.js'
import { withoutCovered } from './permissions.js'

/** A named set of permissions. */
export interface Role {
  readonly permissions: readonly string[]
  /** Roles whose permissions it has too. */
  readonly inherits: readonly string[]
  /** Of its stream. */
  readonly version: number
}

/** A principal that a tenant knows. */
export interface Registered {
  readonly kind: 'person' | 'service'
  /** Who answers for a service. */
  readonly owner?: string
  /** The person that this one counts as. */
  readonly sameAs?: string
  readonly roles: readonly string[]
  readonly disabled?: true
  /** Of its stream. */
  readonly version: number
}

/** Who may do what in a tenant: a fold of its log. The records have no prototype, so any name may be asked for. */
export interface Access {
  readonly roles: Readonly<Record<string, Role>>
  readonly principals: Readonly<Record<string, Registered>>
  /** Roles that were removed, with the versions of their streams. */
  readonly removed: Readonly<Record<string, number>>
}

export const NO_ACCESS: Access = { roles: record(), principals: record(), removed: record() }

/** The streams that it is folded from. */
export const ACCESS_PREFIXES = ['principal/', 'role/'] as const

export const roleStream = (role: string): string => `role/${role}`
export const principalStream = (principal: string): string => `principal/${principal}`

/** The role that holds what a principal's own tokens may do; made with them, never by hand. */
export const ownRole = (principal: string): string => `${OWN}${principal}`
export const OWN = 'own:'

/** Entries come in the order of the log; what is on other streams changes nothing. */
export function evolveAccess(access: Access, entry: StreamEntry): Access {
  return foldAccess(access, [entry])
}

/** The same for many entries at once: the records are copied once, not once an entry. */
export function foldAccess(access: Access, entries: readonly StreamEntry[]): Access {
  const relevant = entries.filter(({ stream }) => ACCESS_PREFIXES.some((prefix) => stream.startsWith(prefix)))
  if (relevant.length === 0) return access
  const roles = Object.assign(record<Role>(), access.roles)
  const principals = Object.assign(record<Registered>(), access.principals)
  const removed = Object.assign(record<number>(), access.removed)
  for (const entry of relevant) {
    if (entry.stream.startsWith('role/')) evolveRole(roles, removed, entry)
    else evolvePrincipal(principals, entry)
  }
  return { roles, principals, removed }
}

function evolveRole(
  roles: Record<string, Role>,
  removed: Record<string, number>,
  { stream, version, event }: StreamEntry,
): void {
  const name = stream.slice('role/'.length)
  if (event.type === 'role.removed') {
    delete roles[name]
    removed[name] = version
  }
  if (event.type !== 'role.defined') return
  delete removed[name]
  const { permissions, inherits = [] } = event.data as unknown as Pick<Role, 'permissions'> & Partial<Role>
  roles[name] = { permissions, inherits, version }
}

function evolvePrincipal(principals: Record<string, Registered>, { stream, version, event }: StreamEntry): void {
  const name = stream.slice('principal/'.length)
  const before = principals[name]
  const data = event.data ?? {}
  if (event.type === 'principal.registered') {
    const { kind, owner } = data as unknown as Pick<Registered, 'kind' | 'owner'>
    principals[name] = {
      kind,
      ...(owner !== undefined && { owner }),
      ...(before?.sameAs !== undefined && { sameAs: before.sameAs }),
      roles: before?.roles ?? [],
      version,
    }
    return
  }
  if (!before) return
  const { role = '', sameAs } = data as { role?: string; sameAs?: string }
  const { sameAs: _sameAs, ...unlinked } = before
  switch (event.type) {
    case 'principal.linked':
      principals[name] = { ...before, ...(sameAs !== undefined && { sameAs }), version }
      break
    case 'principal.unlinked':
      principals[name] = { ...unlinked, version }
      break
    case 'principal.disabled':
      principals[name] = { ...before, disabled: true, version }
      break
    case 'role.granted':
      principals[name] = { ...before, roles: [...before.roles.filter((held) => held !== role), role], version }
      break
    case 'role.revoked':
      principals[name] = { ...before, roles: before.roles.filter((held) => held !== role), version }
      break
    default:
      principals[name] = { ...before, version }
  }
}

/** The person that a principal counts as: the root of the people it is linked to, itself where it is linked to nobody. */
export function personOf(access: Access, principal: string): string {
  return chain(principal, (name) => access.principals[name]?.sameAs).at(-1) ?? principal
}

/** Everybody who counts as the same person, the principal itself included. */
export function linkedTo(access: Access, principal: string): readonly string[] {
  const root = personOf(access, principal)
  const others = Object.keys(access.principals).filter((name) => name !== principal && personOf(access, name) === root)
  return [principal, ...(root === principal || others.includes(root) ? [] : [root]), ...others]
}

/** Who answers for a service: its owner, the owner's owner, and so on up to people. Nobody for a person. */
export function ownersOf(access: Access, principal: string): readonly string[] {
  return chain(principal, (name) => access.principals[name]?.owner).slice(1)
}

/**
 * What a principal's roles allow, inheritance included; none for who is not registered or was disabled. People who are
 * linked keep their own roles.
 */
export function rolePermissions(access: Access, principal: string): readonly string[] {
  const registered = access.principals[principal]
  if (!registered || registered.disabled) return []
  return permissionsOf(access, registered.roles)
}

/** What roles allow together, inheritance included; roles that are not there allow nothing. */
export function permissionsOf(access: Access, roles: readonly string[]): readonly string[] {
  return withoutCovered(inherited(access, roles).flatMap((role) => access.roles[role]?.permissions ?? []))
}

/** The version of a role's stream, also where the role was removed; 0 where there never was one. */
export function roleVersion(access: Access, role: string): number {
  return access.roles[role]?.version ?? access.removed[role] ?? 0
}

/** Whether a principal has a role, directly or because another of its roles inherits it. */
export function holdsRole(access: Access, principal: string, role: string): boolean {
  const registered = access.principals[principal]
  if (!registered || registered.disabled || !access.roles[role]) return false
  return inherited(access, registered.roles).includes(role)
}

/** Roles and all that they inherit, each once. Cycles are refused where roles are defined; here they end. */
export function inherited(access: Pick<Access, 'roles'>, roles: readonly string[]): string[] {
  const found = new Set(roles)
  // A set's iteration reaches what is added on the way.
  for (const role of found) for (const other of access.roles[role]?.inherits ?? []) found.add(other)
  return [...found]
}

/** A name and those that follow from it, each once. */
function chain(start: string, next: (name: string) => string | undefined): string[] {
  const names = new Set<string>()
  for (let name: string | undefined = start; name !== undefined && !names.has(name); name = next(name)) names.add(name)
  return [...names]
}

function record<T>(): Record<string, T> {
  return Object.create(null) as Record<string, T>
}
