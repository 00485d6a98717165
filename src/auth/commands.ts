import { randomBytes } from 'node:crypto'
import type { Database, Tx } from '../db/database.js'
import { DomainError } from '../errors.js'
import { command } from '../ledger/append.js'
import { timeFault } from '../ledger/rfc3339.js'
import { ulid } from '../ledger/ulid.js'
import type { Principal } from '../principal.js'
import type { Authenticator } from './queries.js'
import { create, revoke, tokenDigest, tokenFold, tokenStream, tokenText } from './token.js'

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
 * Makes a token; the entry names it, never its secret.
 * @throws DomainError those of `create` in token.ts, SUBJECT_UNKNOWN for a person the tenant does not know
 */
export async function createToken(database: Database, by: Principal, request: TokenRequest): Promise<CreatedToken> {
  const id = ulid()
  const token = tokenText(by.tenant, randomBytes(32))
  const { principal, permissions, description } = request
  checkDescription(description)
  const expiresAt = request.expiresAt === undefined ? undefined : instant(request.expiresAt)
  const grant = { principal, permissions, ...(expiresAt !== undefined && { expiresAt }) }
  await command(
    database.command,
    { by, stream: tokenStream(id) },
    tokenFold,
    (state, nowMs) => create(state, id, by, grant, nowMs),
    async (tx, placed) => {
      await expectPerson(tx, by.tenant, principal)
      await tx
        .insertInto('tokens')
        .values({
          tenant: by.tenant,
          id,
          hash: tokenDigest(token),
          principal,
          permissions: [...permissions],
          description: description ?? null,
          created_at: placed.at,
          expires_at: expiresAt ?? null,
          revoked_at: null,
        })
        .execute()
    },
  )
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

async function expectPerson(tx: Tx, tenant: string, principal: string): Promise<void> {
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
