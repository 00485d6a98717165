import { Type, type Static, type TSchema } from 'typebox'
import type { ChangeKind, EffectContext } from '../approvals/kind.js'
import type { Tx } from '../db/database.js'
import { DomainError } from '../errors.js'
import type { Json } from '../ledger/event.js'
import {
  principalLinked,
  principalRegistered,
  principalUnlinked,
  roleDefined,
  roleGranted,
  roleRemoved,
} from './access-events.js'
import {
  inherited,
  linkedTo,
  principalStream,
  rolePermissions,
  roleVersion,
  roleStream,
  type Access,
  type Registered,
  type Role,
} from './access.js'
import { expectRegistered, links, registration, withPeople } from './principals.js'
import {
  definition,
  effective,
  expectOwn,
  gained,
  grants,
  holders,
  MAX_INHERITED,
  MAX_ROLE_PERMISSIONS,
  removes,
  roleVersions,
  withRole,
} from './roles.js'

const PrincipalText = Type.String({ minLength: 1, maxLength: 128, description: '`person:01J…` or `service:billing`' })
const RoleText = Type.String({ minLength: 1, maxLength: 132, description: 'A role: a-z, 0-9 and -, a letter first' })

export const RoleDefinition = Type.Object(
  {
    role: RoleText,
    permissions: Type.Array(Type.String({ maxLength: 256 }), { maxItems: MAX_ROLE_PERMISSIONS }),
    inherits: Type.Optional(Type.Array(RoleText, { maxItems: MAX_INHERITED })),
  },
  { additionalProperties: false },
)
export const RoleName = Type.Object({ role: RoleText }, { additionalProperties: false })
export const RoleGrant = Type.Object({ principal: PrincipalText, role: RoleText }, { additionalProperties: false })
export const PrincipalRecord = Type.Object(
  { principal: PrincipalText, owner: Type.Optional(PrincipalText) },
  { additionalProperties: false },
)
export const PrincipalLink = Type.Object(
  { principal: PrincipalText, sameAs: PrincipalText },
  { additionalProperties: false },
)
export const PrincipalName = Type.Object({ principal: PrincipalText }, { additionalProperties: false })

const roleDefine = kind(
  'role.define',
  'defines a role: its permissions, and the roles that it inherits',
  RoleDefinition,
  {
    beneficiaries(given, access) {
      const { role } = given
      const defined = definition(access, given)
      if (!defined) return []
      const after = withRole(access, role, defined)
      return withPeople(
        access,
        holders(access, role).filter((who) => {
          const held = access.principals[who]?.roles ?? []
          // Policies ask for roles, too: who comes to hold one gains by it even where it allows nothing new.
          return (
            inherited(after, held).some((each) => !inherited(access, held).includes(each)) ||
            gained(rolePermissions(access, who), rolePermissions(after, who)).length > 0
          )
        }),
      )
    },
    base: ({ role, inherits = [] }, access) => ({
      [roleStream(role)]: roleVersion(access, role),
      ...roleVersions(access, inherits),
    }),
    diff(given, access) {
      const { role } = given
      const defined = definition(access, given)
      const after = defined ? withRole(access, role, defined) : access
      return { before: roleView(access, role), after: roleView(after, role) }
    },
    effects(given, context, access) {
      const { role } = given
      const defined = definition(access, given)
      if (!defined) return []
      const before = access.roles[role] ? effective(access, [role]) : []
      const after = effective(withRole(access, role, defined), [role])
      ownInSetup(context, gained(before, after), (permission) => {
        const n = given.permissions.indexOf(permission)
        return n < 0 ? '/inherits' : `/permissions/${n}`
      })
      return [roleDefined(context, role, defined)]
    },
  },
)

const roleRemove = kind('role.remove', 'removes a role that nobody has and no other role inherits', RoleName, {
  beneficiaries: () => [],
  base: ({ role }, access) => ({ [roleStream(role)]: roleVersion(access, role) }),
  diff(given, access) {
    const { role } = given
    removes(access, role)
    return { before: roleView(access, role), after: null }
  },
  effects: ({ role }, context, access) => (removes(access, role) ? [roleRemoved(context, role)] : []),
})

const roleGrant = kind('role.grant', 'gives a principal a role', RoleGrant, {
  beneficiaries: ({ principal }, access) => withPeople(access, [principal]),
  base: ({ principal, role }, access) => ({
    [principalStream(principal)]: access.principals[principal]?.version ?? 0,
    ...roleVersions(access, [role]),
  }),
  diff({ principal, role }, access) {
    const granted = grants(access, principal, role)
    const held = expectRegistered(access, principal, '/principal').roles
    return {
      before: rolesView(access, held),
      after: rolesView(access, granted ? [...held, role] : held),
    }
  },
  effects({ principal, role }, context, access) {
    if (!grants(access, principal, role)) return []
    ownInSetup(context, effective(access, [role]), () => '/role')
    return [roleGranted(context, principal, role)]
  },
})

const principalRegister = kind(
  'principal.register',
  'registers a person or a service, says who owns it, or brings back who was disabled',
  PrincipalRecord,
  {
    beneficiaries({ principal, owner }, access) {
      const before = access.principals[principal]?.owner
      return withPeople(access, [principal, ...[owner, before].filter((each) => each !== undefined)])
    },
    base: ({ principal, owner }, access) => versions(access, [principal, ...(owner === undefined ? [] : [owner])]),
    diff(given, access) {
      const { principal } = given
      const before = access.principals[principal]
      return { before: principalView(before), after: principalView(registration(access, given) ?? before) }
    },
    effects(given, context, access) {
      const registered = registration(access, given)
      if (!registered) return []
      const { principal } = given
      if (access.principals[principal]?.disabled) {
        ownInSetup(context, effective(access, registered.roles), () => '/principal')
      }
      return [principalRegistered(context, principal, registered.owner)]
    },
    async write(tx, { principal }, { by }) {
      await expectKnownPerson(tx, by.tenant, principal)
    },
  },
)

const principalLink = kind('principal.link', 'has two pseudonyms count as one person', PrincipalLink, {
  beneficiaries: ({ principal, sameAs }, access) => withPeople(access, [principal, sameAs]),
  base: ({ principal, sameAs }, access) => versions(access, [principal, sameAs]),
  diff(given, access) {
    const { principal, sameAs } = given
    const before = access.principals[principal]
    const after = links(access, given) && before ? { ...before, sameAs } : before
    return { before: principalView(before), after: principalView(after) }
  },
  effects: (given, context, access) =>
    links(access, given) ? [principalLinked(context, given.principal, given.sameAs)] : [],
})

const principalUnlink = kind('principal.unlink', 'has a pseudonym count as a person of its own again', PrincipalName, {
  beneficiaries: ({ principal }, access) => linkedTo(access, principal),
  base: ({ principal }, access) => versions(access, [principal]),
  diff({ principal }, access) {
    const before = expectRegistered(access, principal, '/principal')
    const { sameAs: _linked, ...after } = before
    return { before: principalView(before), after: principalView(after) }
  },
  effects: ({ principal }, context, access) =>
    expectRegistered(access, principal, '/principal').sameAs === undefined
      ? []
      : [principalUnlinked(context, principal)],
})

/** Changes of who may do what. None of them can be made by break-glass. */
export const accessKinds: readonly ChangeKind[] = [
  roleDefine,
  roleRemove,
  roleGrant,
  principalRegister,
  principalLink,
  principalUnlink,
]

/** A kind whose payload has passed its schema, and which rests on the tenant's access alone. */
interface AccessKind<P> {
  readonly beneficiaries: (payload: P, access: Access) => readonly string[]
  readonly base: (payload: P, access: Access) => Readonly<Record<string, number>>
  readonly diff: (payload: P, access: Access) => { readonly before: Json; readonly after: Json }
  readonly effects: (
    payload: P,
    context: EffectContext,
    access: Access,
  ) => ReturnType<NonNullable<ChangeKind['effects']>>
  readonly write?: (tx: Tx, payload: P, context: EffectContext) => Promise<void>
}

function kind<S extends TSchema>(name: string, what: string, payload: S, own: AccessKind<Static<S>>): ChangeKind {
  const { write } = own
  return {
    name,
    what,
    payload,
    beneficiaries: (given, { access }) => own.beneficiaries(given as Static<S>, access),
    base: (given, { access }) => own.base(given as Static<S>, access),
    diff: (given, { access }) => own.diff(given as Static<S>, access),
    effects: (given, context) => own.effects(given as Static<S>, context, context.governance.access),
    ...(write && { write: (tx, given, context) => write(tx, given as Static<S>, context) }),
    neverInEmergency: true,
  }
}

/** What two people approved may go beyond what either has; before that, nobody grants what they do not have. */
function ownInSetup(
  { by, authority }: EffectContext,
  permissions: readonly string[],
  place: (permission: string) => string,
): void {
  if ('setup' in authority) expectOwn(by, permissions, place)
}

function versions(access: Access, principals: readonly string[]): Record<string, number> {
  return Object.fromEntries(principals.map((each) => [principalStream(each), access.principals[each]?.version ?? 0]))
}

function roleView(access: Access, name: string): Json {
  const role: Role | undefined = access.roles[name]
  if (!role) return null
  return {
    permissions: [...role.permissions],
    inherits: [...role.inherits],
    effective: effective(access, [name]),
    holders: holders(access, name).length,
  }
}

function rolesView(access: Access, roles: readonly string[]): Json {
  return { roles: [...roles].sort(), effective: effective(access, roles) }
}

function principalView(registered: Omit<Registered, 'version'> | undefined): Json {
  if (!registered) return null
  const { kind, owner, sameAs, roles, disabled } = registered
  return {
    kind,
    ...(owner !== undefined && { owner }),
    ...(sameAs !== undefined && { sameAs }),
    ...(disabled && { disabled }),
    roles: [...roles].sort(),
  }
}

/**
 * @throws DomainError SUBJECT_UNKNOWN for a person that the tenant does not know
 */
export async function expectKnownPerson(tx: Tx, tenant: string, principal: string): Promise<void> {
  if (!principal.startsWith('person:')) return
  const known = await tx
    .selectFrom('subjects')
    .select('subject')
    .where('tenant', '=', tenant)
    .where('subject', '=', principal)
    .where('erased_seq', 'is', null)
    .executeTakeFirst()
  if (known) return
  throw new DomainError('SUBJECT_UNKNOWN', `${principal} is nobody this tenant knows: use a pseudonym from an answer`, {
    pointer: '/principal',
  })
}
