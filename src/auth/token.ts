import { hash } from 'node:crypto'
import { DomainError } from '../errors.js'
import type { Fold } from '../ledger/append.js'
import type { LeafEvent } from '../ledger/event.js'
import { HOST, SERVICE, type Principal } from '../principal.js'
import { allows, checkPermission } from './permissions.js'

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

const SERVICE_ID = /^service:[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/
const PERSON_ID = /^person:[A-Za-z0-9._:@-]{1,121}$/
/** The operator on the host, and the service itself: no token acts as them. */
const RESERVED = new Set([HOST, SERVICE])
const MAX_PERMISSIONS = 64

/**
 * A new token. Nobody grants what they do not have.
 * @throws DomainError PRINCIPAL_INVALID, PRINCIPAL_RESERVED, PERMISSION_INVALID, PERMISSION_ESCALATION,
 * TOKEN_EXPIRY_INVALID, TOKEN_EXISTS
 */
export function create(state: TokenState, id: string, by: Principal, grant: TokenGrant, nowMs: number): LeafEvent[] {
  const { principal, permissions, expiresAt } = grant
  if (state.status !== 'absent') throw new DomainError('TOKEN_EXISTS', `there is a token ${id} already`)
  checkPrincipal(principal)
  checkPermissions(by, permissions)
  if (expiresAt !== undefined && !(Date.parse(expiresAt) > nowMs)) {
    throw new DomainError('TOKEN_EXPIRY_INVALID', `${expiresAt} is not in the future`, { pointer: '/expiresAt' })
  }
  return [
    {
      type: 'token.created',
      actor: actorOf(by.id),
      targets: [{ id: `token:${id}`, type: 'token' }, actorOf(principal)],
      data: { permissions: [...permissions], principal, ...(expiresAt !== undefined && { expiresAt }) },
    },
  ]
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
      actor: actorOf(by.id),
      targets: [{ id: `token:${id}`, type: 'token' }, actorOf(state.grant.principal)],
    },
  ]
}

function checkPrincipal(principal: string): void {
  if (!SERVICE_ID.test(principal) && !PERSON_ID.test(principal)) {
    throw new DomainError(
      'PRINCIPAL_INVALID',
      `${JSON.stringify(principal.slice(0, 80))} is no principal: name a person by pseudonym (person:…) or a service (service:billing)`,
      { pointer: '/principal' },
    )
  }
  if (RESERVED.has(principal)) {
    throw new DomainError(
      'PRINCIPAL_RESERVED',
      `${principal} is ${principal === HOST ? 'the operator on the host' : 'the service itself'}: choose another name`,
      {
        pointer: '/principal',
      },
    )
  }
}

function checkPermissions(by: Principal, wanted: readonly string[]): void {
  if (wanted.length === 0 || wanted.length > MAX_PERMISSIONS) {
    throw new DomainError('PERMISSION_INVALID', `a token has 1 to ${MAX_PERMISSIONS} permissions`, {
      pointer: '/permissions',
    })
  }
  for (const [n, permission] of wanted.entries()) {
    checkPermission(permission, `/permissions/${n}`)
    if (!allows(by.permissions, permission)) {
      throw new DomainError(
        'PERMISSION_ESCALATION',
        `${permission} is not yours to grant: a token can pass on only what its maker has`,
        { pointer: `/permissions/${n}` },
      )
    }
  }
}

function actorOf(principal: string): { id: string; type: string } {
  return { id: principal, type: principal.startsWith('person:') ? 'user' : 'service' }
}
