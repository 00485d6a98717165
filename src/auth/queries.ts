import { timingSafeEqual } from 'node:crypto'
import { inTenant, type Database, type Tx } from '../db/database.js'
import { readStreams } from '../ledger/streams.js'
import type { Principal } from '../principal.js'
import { ACCESS_PREFIXES, foldAccess, NO_ACCESS, rolePermissions, type Access } from './access.js'
import { allows, intersect } from './permissions.js'
import { digestKey, tenantOfToken } from './token.js'

/** How long a token and its principal's roles are believed without asking again: what another process takes away ends after it. */
const TIME_TO_LIVE_MS = 5_000
/** How long a tenant's roles serve for other tokens of it. */
const ACCESS_FRESH_MS = 1_000
const MAX_KNOWN = 10_000
const MAX_TENANTS = 1_000

interface Known {
  readonly id: string
  readonly digest: Buffer
  readonly principal: Principal
  readonly expiresAtMs: number
  checkedAtMs: number
}

/** Who may do what in a tenant, as far as the log was read. */
interface KnownAccess {
  readonly access: Access
  /** Of the last entry folded, -1 for none. */
  readonly seq: number
  readonly readAtMs: number
}

/** Why a token is not taken. */
export type Refusal = 'unknown' | 'expired' | 'revoked'

/**
 * Who a token is, remembered for a few seconds so that a request need not wait for the database. It may do what its own
 * permissions and its principal's roles both allow.
 */
export class Authenticator {
  private readonly database: Pick<Database, 'reader'>
  private readonly now: () => number
  /** By digest, never by the token itself. */
  private readonly known = new Map<string, Known>()
  private readonly tenants = new Map<string, KnownAccess>()
  private readonly firstReads = new Map<string, Promise<KnownAccess>>()
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

  /** Ends what is remembered of a tenant's roles, because they changed: at once in this process. */
  forgetRoles(tenant: string): void {
    this.forgotten++
    const known = this.tenants.get(tenant)
    if (known) this.tenants.set(tenant, { ...known, readAtMs: -Infinity })
    for (const [key, { principal }] of this.known) if (principal.tenant === tenant) this.known.delete(key)
  }

  private async ask(tenant: string, digest: Buffer, key: string): Promise<Principal | Refusal> {
    const { forgotten } = this
    const now = this.now()
    const { row, access } = await inTenant(this.database.reader, tenant, async (tx) => {
      const row = await tx
        .selectFrom('tokens')
        .select(['id', 'hash', 'principal', 'permissions', 'expires_at', 'revoked_at'])
        .where('tenant', '=', tenant)
        .where('hash', '=', digest)
        .executeTakeFirst()
      if (!row) return { row, access: undefined }
      const known = this.tenants.get(tenant) ?? (await this.readFirst(tx, tenant, now))
      // What is missing may have been granted just now; what was taken away may be believed for a while.
      const serves = now - known.readAtMs < ACCESS_FRESH_MS && isCovered(known.access, row)
      return { row, access: serves ? known : await readAccess(tx, tenant, known, now) }
    })
    this.known.delete(key)
    if (!row || !access || !timingSafeEqual(row.hash, digest)) return 'unknown'
    const unchanged = forgotten === this.forgotten
    if (unchanged) this.remember(tenant, access)
    if (row.revoked_at !== null) return 'revoked'
    const expiresAtMs = row.expires_at === null ? Infinity : Date.parse(row.expires_at)
    if (this.now() >= expiresAtMs) return 'expired'
    const principal: Principal = {
      tenant,
      id: row.principal,
      via: `token:${row.id}`,
      permissions: isCovered(access.access, row)
        ? row.permissions
        : intersect(row.permissions, rolePermissions(access.access, row.principal)),
    }
    if (unchanged) {
      if (this.known.size >= MAX_KNOWN) this.dropOldest()
      this.known.set(key, { id: row.id, digest, principal, expiresAtMs, checkedAtMs: access.readAtMs })
    }
    return principal
  }

  /** Many ask at once when a process has just started: one of them reads everything, for all. */
  private async readFirst(tx: Tx, tenant: string, now: number): Promise<KnownAccess> {
    let first = this.firstReads.get(tenant)
    if (!first) {
      first = readAccess(tx, tenant, undefined, now).finally(() => this.firstReads.delete(tenant))
      this.firstReads.set(tenant, first)
    }
    return first
  }

  private remember(tenant: string, access: KnownAccess): void {
    const before = this.tenants.get(tenant)
    if (before && before.readAtMs >= access.readAtMs) return
    this.tenants.delete(tenant)
    const [oldest] = this.tenants.keys()
    if (oldest !== undefined && this.tenants.size >= MAX_TENANTS) this.tenants.delete(oldest)
    this.tenants.set(tenant, access)
  }

  private dropOldest(): void {
    const [oldest] = this.known.keys()
    if (oldest !== undefined) this.known.delete(oldest)
  }
}

/** Reads on in the log from where `known` ends. Entries are committed in the order of the log, so none is passed over. */
async function readAccess(tx: Tx, tenant: string, known: KnownAccess | undefined, now: number): Promise<KnownAccess> {
  const entries = await readStreams(tx, tenant, ACCESS_PREFIXES, known?.seq ?? -1)
  return {
    access: foldAccess(known?.access ?? NO_ACCESS, entries),
    seq: entries.at(-1)?.seq ?? known?.seq ?? -1,
    readAtMs: now,
  }
}

function isCovered(access: Access, { principal, permissions }: Pick<TokenView, 'principal' | 'permissions'>): boolean {
  const allowed = rolePermissions(access, principal)
  return permissions.every((permission) => allows(allowed, permission))
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
