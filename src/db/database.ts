import { CompiledQuery, Kysely, PostgresDialect, type PostgresPool, type PostgresPoolClient } from 'kysely'
import pg from 'pg'
import { DomainError } from '../errors.js'
import type { Address } from './address.js'
import { parsers } from './parsers.js'
import type { Tables } from './types.js'

/** The roles that log in. `countersign_owner` does not: only migrations act as it. */
export const loginRoles = ['writer', 'command', 'reader', 'keyring', 'operator'] as const
export type LoginRole = (typeof loginRoles)[number]

export interface Credentials {
  readonly user: string
  readonly password: string
}

export type Db = Kysely<Tables>
/** One connection inside a transaction that `inTenant` began. */
export type Tx = Kysely<Tables>

/** One process's way to the database: a pool for each role that asks in pieces, and single connections for what streams. */
export interface Database {
  readonly address: Address
  /** One tenant's commands. */
  readonly command: Db
  /** One tenant's requests. */
  readonly reader: Db
  /** Commands that touch key material. */
  readonly keyring: Db
  /** All tenants, for followers and verification. */
  readonly operator: Db
  /** A connection of its own, not yet connected; the caller ends it. */
  client(role: LoginRole, options?: pg.ClientConfig): pg.Client
  /** A pool of its own for who holds connections for long; the caller ends it. */
  pool(role: LoginRole, size: number, options?: pg.ClientConfig): pg.Pool
  close(): Promise<void>
}

export interface DatabaseOptions {
  readonly address: Address
  readonly credentials: (role: LoginRole) => Credentials
  /** Connections per role at most. */
  readonly poolSize?: number
  /** How long to wait for a connection before giving up. */
  readonly connectTimeoutMs?: number
}

const applicationName = 'countersign'

export function openDatabase(options: DatabaseOptions): Database {
  const { address, credentials, poolSize = 8, connectTimeoutMs = 5_000 } = options
  const settings = (role: LoginRole): pg.ClientConfig => ({
    ...address,
    ...credentials(role),
    types: parsers,
    application_name: `${applicationName} ${role}`,
    connectionTimeoutMillis: connectTimeoutMs,
    keepAlive: true,
  })
  const newPool = (role: LoginRole, max: number, extra?: pg.ClientConfig): pg.Pool => {
    const pool = new pg.Pool({ ...settings(role), ...extra, max })
    // A connection that dies is met by its next query, or replaced where it was idle; without listeners, the pool's for
    // idle ones and its own for one between two queries of a transaction, it would end the process.
    pool.on('error', () => undefined)
    pool.on('connect', (client) => client.on('error', () => undefined))
    return pool
  }
  const pools: pg.Pool[] = []
  const kysely = (role: LoginRole): Db => {
    const pool = newPool(role, poolSize)
    pools.push(pool)
    return new Kysely<Tables>({ dialect: new PostgresDialect({ pool: preparing(pool) }) })
  }
  return {
    address,
    command: kysely('command'),
    reader: kysely('reader'),
    keyring: kysely('keyring'),
    operator: kysely('operator'),
    client: (role, extra) => new pg.Client({ ...settings(role), ...extra }),
    pool: newPool,
    close: async () => {
      await Promise.all(pools.map((pool) => pool.end()))
    },
  }
}

/**
 * Statements that open with a name in a comment are prepared under it, once per connection: planning a large one anew
 * costs more than running it.
 */
function preparing(pool: pg.Pool): PostgresPool {
  return {
    async connect() {
      const client = await pool.connect()
      const query = (text: string, values: unknown[]) => {
        const name = NAMED.exec(text)?.[1]
        return name === undefined ? client.query(text, values) : client.query({ name, text, values })
      }
      return {
        query: query as unknown as PostgresPoolClient['query'],
        // A connection that is still inside a transaction is still bound to its tenant: nobody else may get it.
        release: () => client.release(client.getTransactionStatus() !== 'I'),
      }
    },
    end: () => pool.end(),
  }
}

const NAMED = /^\/\* ([a-z_]+) \*\//

/**
 * Runs `work` in a transaction that row-level security binds to `tenant`.
 * @param options.snapshot all statements see the database as the first one does
 * @throws DomainError OUTCOME_UNKNOWN when the connection was lost at the commit
 */
export async function inTenant<T>(
  db: Db,
  tenant: string,
  work: (tx: Tx) => Promise<T>,
  { snapshot = false }: { readonly snapshot?: boolean } = {},
): Promise<T> {
  if (!TENANT.test(tenant)) throw new RangeError(`${JSON.stringify(tenant)} cannot name a tenant`)
  return db.connection().execute(async (connection) => {
    // Both in one round trip; the grammar of tenants leaves nothing to escape.
    await connection.executeQuery(
      CompiledQuery.raw(
        `begin${snapshot ? ' isolation level repeatable read' : ''}; select set_config('countersign.tenant', '${tenant}', true)`,
      ),
    )
    try {
      const result = await work(connection)
      await connection.executeQuery(CompiledQuery.raw('commit')).catch(unknownWhereLost)
      return result
    } catch (error) {
      await connection.executeQuery(CompiledQuery.raw('rollback')).catch(() => undefined)
      throw error
    }
  })
}

/**
 * Whether what failed this way may have been committed all the same: the connection was lost, or the server was on its way
 * down.
 */
export function mayHaveCommitted(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError) || !error.code) return true
  return error.code.startsWith('57P') || error.code.startsWith('08')
}

function unknownWhereLost(error: unknown): never {
  if (!mayHaveCommitted(error)) throw error
  throw new DomainError(
    'OUTCOME_UNKNOWN',
    'the connection was lost while this was being committed: look whether it was done before you send it again',
    { retryAfterS: 2 },
  )
}

const TENANT = /^[a-z][a-z0-9-]{1,62}$/
