import { Type } from 'typebox'
import type { ChangeKind } from '../approvals/kind.js'
import { DomainError } from '../errors.js'
import type { Json } from '../ledger/event.js'
import { instantMs, timeFault } from '../ledger/rfc3339.js'
import { principalStream } from './access.js'
import { expectWithinRoles, TOKEN_CREATE } from './minting.js'
import { expectRegistered, withPeople } from './principals.js'
import { disabled } from './roles.js'
import { checkGrant, type TokenGrant } from './token.js'

/** What the payload of a change of this kind asks for, with its expiry in UTC. */
export function askedToken(payload: Json): TokenGrant {
  const { principal, permissions, expiresAt } = payload as unknown as TokenGrant
  if (expiresAt === undefined) return { principal, permissions }
  const fault = timeFault(expiresAt)
  if (fault !== undefined) {
    throw new DomainError('TOKEN_EXPIRY_INVALID', `${JSON.stringify(expiresAt)} ${fault}`, { pointer: '/expiresAt' })
  }
  return { principal, permissions, expiresAt: new Date(instantMs(expiresAt)).toISOString() }
}

/**
 * A token that takes two people. Approving it makes none: the principal it is for claims it, once, so that nobody else has
 * ever seen its secret.
 */
export const tokenCreate: ChangeKind = {
  name: TOKEN_CREATE,
  what: 'let a principal claim a token with these permissions',
  payload: Type.Object(
    {
      principal: Type.String({ minLength: 1, maxLength: 128, description: '`person:01J…` or `service:billing`' }),
      permissions: Type.Array(Type.String({ maxLength: 256 }), { minItems: 1, maxItems: 64 }),
      expiresAt: Type.Optional(Type.String({ maxLength: 64, description: 'RFC 3339 with an offset' })),
    },
    { additionalProperties: false },
  ),
  beneficiaries: (payload, { access }) => withPeople(access, [askedToken(payload).principal]),
  base: (payload, { access }) => {
    const { principal } = askedToken(payload)
    return { [principalStream(principal)]: access.principals[principal]?.version ?? 0 }
  },
  diff: (payload, { access }) => {
    const grant = askedToken(payload)
    // Whether it has expired is asked again when it is claimed.
    checkGrant(grant, 0)
    if (expectRegistered(access, grant.principal, '/principal').disabled) throw disabled(grant.principal)
    expectWithinRoles(access, grant)
    return { before: null, after: { ...grant, permissions: [...grant.permissions] } }
  },
  outside: () => 'taken',
  neverInEmergency: true,
}
