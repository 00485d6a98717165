import { timingSafeEqual } from 'node:crypto'
import { inTenant, type Database } from '../db/database.js'
import type { Principal } from '../principal.js'
import { digestKey, tenantOfToken } from './token.js'

/** How long a token is believed without asking again: a revocation in another process takes effect after it. */
const TIME_TO_LIVE_MS = 5_000
const MAX_KNOWN = 10_000

interface Known {
  readonly id: string
  readonly digest: Buffer
  readonly principal: Principal
  readonly expiresAtMs: number
  checkedAtMs: number
}

/** Why a token is not taken. */
export type Refusal = 'unknown' | 'expired' | 'revoked'

/** Who a token is, remembered for a few seconds so that a request need not wait for the database. */
export class Authenticator {
  private readonly database: Pick<Database, 'reader'>
  private readonly now: () => number
  /** By digest, never by the token itself. */
  private readonly known = new Map<string, Known>()
  private readonly asking = new Map<string, Promise<Principal | Refusal>>()
  private readonly scratch = Buffer.alloc(32)
  /** Rises with every `forget`, so that an answer already on its way is not remembered. */
  private forgotten = 0

  constructor(database: Pick<Database, 'reader'>, now: () => number = Date.now) {
    this.database = database
    this.now = now
  }

  /**
   * Who the token is, as far as it is known without asking.
   * @returns `stale` for a token that was valid once and must be looked up again
   */
  recall(token: string): Principal | 'stale' | undefined {
    const key = digestKey(token)
    const known = this.known.get(key)
    if (!known) return undefined
    this.scratch.write(key, 'latin1')
    if (!timingSafeEqual(known.digest, this.scratch)) return undefined
    const now = this.now()
    if (now >= known.expiresAtMs) return undefined
    return now - known.checkedAtMs < TIME_TO_LIVE_MS ? known.principal : 'stale'
  }

  /** Asks the database who the token is. */
  async lookUp(token: string): Promise<Principal | Refusal> {
    const tenant = tenantOfToken(token)
    if (tenant === undefined) return 'unknown'
    const key = digestKey(token)
    const digest = Buffer.from(key, 'latin1')
    let answer = this.asking.get(key)
    if (!answer) {
      answer = this.ask(tenant, digest, key).finally(() => this.asking.delete(key))
      this.asking.set(key, answer)
    }
    return answer
  }

  /** Ends what is remembered of a token. */
  forget(tenant: string, id: string): void {
    this.forgotten++
    for (const [key, known] of this.known) {
      if (known.id === id && known.principal.tenant === tenant) this.known.delete(key)
    }
  }

  private async ask(tenant: string, digest: Buffer, key: string): Promise<Principal | Refusal> {
    const { forgotten } = this
    const row = await inTenant(this.database.reader, tenant, (tx) =>
      tx
        .selectFrom('tokens')
        .select(['id', 'hash', 'principal', 'permissions', 'expires_at', 'revoked_at'])
        .where('tenant', '=', tenant)
        .where('hash', '=', digest)
        .executeTakeFirst(),
    )
    this.known.delete(key)
    if (!row || !timingSafeEqual(row.hash, digest)) return 'unknown'
    if (row.revoked_at !== null) return 'revoked'
    const expiresAtMs = row.expires_at === null ? Infinity : Date.parse(row.expires_at)
    const now = this.now()
    if (now >= expiresAtMs) return 'expired'
    const principal: Principal = {
      tenant,
      id: row.principal,
      via: `token:${row.id}`,
      permissions: row.permissions,
    }
    if (forgotten === this.forgotten) {
      if (this.known.size >= MAX_KNOWN) this.dropOldest()
      this.known.set(key, { id: row.id, digest, principal, expiresAtMs, checkedAtMs: now })
    }
    return principal
  }

  private dropOldest(): void {
    const [oldest] = this.known.keys()
    if (oldest !== undefined) this.known.delete(oldest)
  }
}

export interface TokenView {
  readonly id: string
  readonly principal: string
  readonly permissions: readonly string[]
  readonly description?: string
  readonly createdAt: string
  readonly expiresAt?: string
  readonly revokedAt?: string
}

/** A tenant's tokens, newest first; `before` is the id where the last page ended. */
export async function listTokens(
  database: Pick<Database, 'reader'>,
  tenant: string,
  { limit, before }: { limit: number; before?: string | undefined },
): Promise<TokenView[]> {
  const rows = await inTenant(database.reader, tenant, (tx) => {
    const query = tx
      .selectFrom('tokens')
      .select(['id', 'principal', 'permissions', 'description', 'created_at', 'expires_at', 'revoked_at'])
      .where('tenant', '=', tenant)
      .orderBy('id', 'desc')
      .limit(limit)
    return (before === undefined ? query : query.where('id', '<', before)).execute()
  })
  return rows.map((row) => ({
    id: row.id,
    principal: row.principal,
    permissions: row.permissions,
    ...(row.description !== null && { description: row.description }),
    createdAt: row.created_at,
    ...(row.expires_at !== null && { expiresAt: row.expires_at }),
    ...(row.revoked_at !== null && { revokedAt: row.revoked_at }),
  }))
}
