import { hash } from 'node:crypto'
import { DomainError } from '../errors.js'
import type { Fold } from '../ledger/append.js'
import type { LeafEvent } from '../ledger/event.js'
import type { Principal } from '../principal.js'
import type { Ground } from './access-events.js'
import { checkPermission } from './permissions.js'
import { checkPrincipal, partyOf } from './principals.js'
import { isSensitive } from './sensitive.js'

/** `cs_<tenant>.<secret>`: the secret is 256 bits in base64url, so that 43 characters hold it. */
const TOKEN = /^cs_([a-z][a-z0-9-]{1,62})\.[A-Za-z0-9_-]{43}$/
const SECRET_BYTES = 32

/** A token as it is shown, once. */
export function tokenText(tenant: string, secret: Uint8Array): string {
  if (secret.length !== SECRET_BYTES) throw new RangeError(`a secret of ${secret.length} bytes`)
  return `cs_${tenant}.${Buffer.from(secret).toString('base64url')}`
}

/** The tenant that a token says it is of; undefined for what no token looks like. */
export function tenantOfToken(text: string): string | undefined {
  return TOKEN.exec(text)?.[1]
}

/** All that is kept of a token's secret: SHA-256 of its text, tenant included. 256 random bits need no slow hash. */
export function tokenDigest(text: string): Buffer {
  return Buffer.from(digestKey(text), 'latin1')
}

/** The digest as a string of 32 characters, one a byte: what maps take, at half the price of a buffer. */
export function digestKey(text: string): string {
  return hash('sha256', text, 'binary')
}

export interface TokenGrant {
  /** Who acts with it: `person:…` or `service:…`. */
  readonly principal: string
  readonly permissions: readonly string[]
  /** When it ends, UTC with milliseconds; absent: when it is revoked. */
  readonly expiresAt?: string
}

export type TokenState =
  { readonly status: 'absent' } | { readonly status: 'active' | 'revoked'; readonly grant: TokenGrant }

export const tokenStream = (id: string): string => `token/${id}`

export const tokenFold: Fold<TokenState> = {
  initial: { status: 'absent' },
  evolve(state, event) {
    if (event.type === 'token.created') {
      const { principal, permissions, expiresAt } = event.data as unknown as TokenGrant
      return {
        status: 'active',
        grant: { principal, permissions, ...(expiresAt !== undefined && { expiresAt }) },
      }
    }
    if (event.type === 'token.revoked' && state.status !== 'absent') return { status: 'revoked', grant: state.grant }
    return state
  },
}

const MAX_PERMISSIONS = 64

/**
 * What holds of every token, however it comes to be made.
 * @throws DomainError PRINCIPAL_INVALID, PRINCIPAL_RESERVED, PERMISSION_INVALID, TOKEN_EXPIRY_INVALID
 */
export function checkGrant({ principal, permissions, expiresAt }: TokenGrant, nowMs: number): void {
  checkPrincipal(principal)
  if (permissions.length === 0 || permissions.length > MAX_PERMISSIONS) {
    throw new DomainError('PERMISSION_INVALID', `a token has 1 to ${MAX_PERMISSIONS} permissions`, {
      pointer: '/permissions',
    })
  }
  for (const [n, permission] of permissions.entries()) checkPermission(permission, `/permissions/${n}`)
  if (expiresAt !== undefined && !(Date.parse(expiresAt) > nowMs)) {
    throw new DomainError('TOKEN_EXPIRY_INVALID', `${expiresAt} is not in the future`, { pointer: '/expiresAt' })
  }
}

/**
 * The entry that names a new token, never its secret. It says why it may be made where that is a change or an override, and
 * during setup where it is sensitive.
 */
export function tokenCreated({ by, authority, cause }: Ground, id: string, grant: TokenGrant): LeafEvent {
  const { principal, permissions, expiresAt } = grant
  return {
    type: 'token.created',
    actor: partyOf(by.id),
    ...(cause !== undefined && { cause }),
    data: {
      permissions: [...permissions],
      principal,
      ...(expiresAt !== undefined && { expiresAt }),
      ...((!('setup' in authority) || isSensitive(permissions)) && { authority: { ...authority } }),
    },
    targets: [{ id: `token:${id}`, type: 'token' }, partyOf(principal)],
  }
}

/**
 * Ends a token. Ending one that has ended changes nothing, so a retried request records nothing.
 * @throws DomainError TOKEN_UNKNOWN
 */
export function revoke(state: TokenState, id: string, by: Principal): LeafEvent[] {
  if (state.status === 'absent') throw new DomainError('TOKEN_UNKNOWN', `there is no token ${id}`)
  if (state.status === 'revoked') return []
  return [
    {
      type: 'token.revoked',
      actor: partyOf(by.id),
      targets: [{ id: `token:${id}`, type: 'token' }, partyOf(state.grant.principal)],
    },
  ]
}
