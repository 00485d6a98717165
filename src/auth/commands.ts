import { randomBytes } from 'node:crypto'
import { governed, type Governed } from '../approvals/governed.js'
import type { Database, Tx } from '../db/database.js'
import { DomainError } from '../errors.js'
import { command } from '../ledger/append.js'
import { timeFault } from '../ledger/rfc3339.js'
import { ulid } from '../ledger/ulid.js'
import type { Principal } from '../principal.js'
import type { Ground } from './access-events.js'
import { appendEffects } from './effects.js'
import { holding } from './holding.js'
import { expectKnownPerson } from './kinds.js'
import { minting } from './minting.js'
import type { Authenticator } from './queries.js'
import {
  checkGrant,
  revoke,
  tokenCreated,
  tokenDigest,
  tokenFold,
  tokenStream,
  tokenText,
  type TokenGrant,
} from './token.js'

export interface TokenRequest {
  readonly principal: string
  readonly permissions: readonly string[]
  /** RFC 3339 with offset; kept to the millisecond. */
  readonly expiresAt?: string | undefined
  /** A note for whoever lists tokens. It is free text, so it stays out of the log. */
  readonly description?: string | undefined
}

export interface CreatedToken {
  readonly id: string
  /** Shown this once: only its digest is kept. */
  readonly token: string
  readonly principal: string
  readonly permissions: readonly string[]
  readonly expiresAt?: string
  readonly description?: string
}

/** Characters of a description at most. */
export const MAX_DESCRIPTION = 200

/**
 * Makes a token; the entry names it, never its secret. In setup its principal is registered with it.
 * @throws DomainError those of `checkGrant` in token.ts and `minting` in minting.ts, SUBJECT_UNKNOWN for a person the tenant
 * does not know, TOKEN_DESCRIPTION_INVALID, TOKEN_REVOKED, TOKEN_EXPIRED
 */
export async function createToken(database: Database, by: Principal, request: TokenRequest): Promise<CreatedToken> {
  const grant = grantOf(request)
  return governed({ database }, by, async (tx, now) => {
    checkGrant(grant, now.nowMs)
    const { authority, effects } = minting(now.governance, await holding(tx, now, by), grant)
    await expectKnownPerson(tx, by.tenant, grant.principal)
    await appendEffects(tx, now, by, effects)
    return mintToken(tx, now, { by, authority }, grant)
  })
}

/**
 * What a token asked for is to be.
 * @throws DomainError TOKEN_EXPIRY_INVALID
 */
export function grantOf({ principal, permissions, ...request }: TokenRequest): DescribedGrant {
  const { description } = request
  const expiresAt = request.expiresAt === undefined ? undefined : instant(request.expiresAt)
  return {
    principal,
    permissions,
    ...(expiresAt !== undefined && { expiresAt }),
    ...(description !== undefined && { description }),
  }
}

export interface DescribedGrant extends TokenGrant {
  readonly description?: string
}

/**
 * The entry and the row of a new token, behind the locked head. Whether it may be made is for the caller to say.
 * @throws DomainError those of `checkGrant` in token.ts, TOKEN_DESCRIPTION_INVALID
 */
export async function mintToken(
  tx: Tx,
  now: Pick<Governed, 'head' | 'nowMs'>,
  ground: Ground,
  { description, ...grant }: DescribedGrant,
): Promise<CreatedToken> {
  checkDescription(description)
  checkGrant(grant, now.nowMs)
  const { by } = ground
  const id = ulid()
  const token = tokenText(by.tenant, randomBytes(32))
  await appendEffects(tx, now, by, [{ stream: tokenStream(id), events: [tokenCreated(ground, id, grant)] }])
  await tx
    .insertInto('tokens')
    .values({
      tenant: by.tenant,
      id,
      hash: tokenDigest(token),
      principal: grant.principal,
      permissions: [...grant.permissions],
      description: description ?? null,
      created_at: new Date(now.head.recordedAtMs).toISOString(),
      expires_at: grant.expiresAt ?? null,
      revoked_at: null,
    })
    .execute()
  return { id, token, ...grant, ...(description !== undefined && { description }) }
}

/**
 * Ends a token: at once in this process, within the authenticator's time to live in others.
 * @throws DomainError TOKEN_UNKNOWN
 */
export async function revokeToken(
  database: Database,
  by: Principal,
  id: string,
  authenticator?: Pick<Authenticator, 'forget'>,
): Promise<void> {
  if (!TOKEN_ID.test(id)) throw new DomainError('TOKEN_UNKNOWN', 'there is no such token')
  await command(
    database.command,
    { by, stream: tokenStream(id) },
    tokenFold,
    (state) => revoke(state, id, by),
    async (tx, placed) => {
      await tx
        .updateTable('tokens')
        .set({ revoked_at: placed.at })
        .where('tenant', '=', by.tenant)
        .where('id', '=', id)
        .execute()
    },
  )
  authenticator?.forget(by.tenant, id)
}

const TOKEN_ID = /^[0-9A-Z]{26}$/

function checkDescription(description: string | undefined): void {
  if (description === undefined) return
  if (description.length >= 1 && description.length <= MAX_DESCRIPTION && !/[\p{Cc}\p{Cs}]/u.test(description)) return
  throw new DomainError(
    'TOKEN_DESCRIPTION_INVALID',
    `a description has 1 to ${MAX_DESCRIPTION} characters, none of them a control character`,
    { pointer: '/description' },
  )
}

function instant(text: string): string {
  const fault = timeFault(text)
  if (fault === undefined) {
    const at = new Date(text)
    if (!Number.isNaN(at.getTime())) return at.toISOString()
  }
  throw new DomainError('TOKEN_EXPIRY_INVALID', `${JSON.stringify(text.slice(0, 80))} ${fault ?? 'is no time'}`, {
    pointer: '/expiresAt',
  })
}
