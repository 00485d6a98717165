import { readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Kysely, Migrator, PostgresDialect, type Migration, type MigrationProvider } from 'kysely'
import pg from 'pg'
import { DomainError } from '../errors.js'
import { loginRoles, type LoginRole, type Credentials } from './database.js'
import { parsers } from './parsers.js'

const folder = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'migrations')

const provider: MigrationProvider = {
  async getMigrations() {
    const migrations: Record<string, Migration> = {}
    for (const file of await readdir(folder)) {
      if (!file.endsWith('.js')) continue
      migrations[file.slice(0, -'.js'.length)] = (await import(join(folder, file))) as Migration
    }
    return migrations
  },
}

/** Any two migrating processes of one database wait for each other here. */
const migrationLock = 0x43_53_4d_47

export interface Admin {
  readonly client: pg.Client
  readonly db: Kysely<unknown>
  close(): Promise<void>
}

/**
 * Connects with the operator's own credentials and holds the migration lock until closed.
 * @throws DomainError DATABASE_UNSUITABLE when the server is older than 15 or does not flush what it acknowledges
 */
export async function openAdmin(url: string): Promise<Admin> {
  const pool = new pg.Pool({ connectionString: url, types: parsers, max: 2, application_name: 'countersign migrate' })
  pool.on('error', () => undefined)
  const client = new pg.Client({ connectionString: url, types: parsers, application_name: 'countersign migrate' })
  client.on('error', () => undefined)
  try {
    await client.connect()
    await refuseUnsuitable(client)
    await client.query('select pg_advisory_lock($1)', [migrationLock])
  } catch (error) {
    await client.end().catch(() => undefined)
    await pool.end()
    throw error
  }
  return {
    client,
    db: new Kysely({ dialect: new PostgresDialect({ pool }) }),
    async close() {
      await client.end()
      await pool.end()
    },
  }
}

/** What was acknowledged must be durable, so a server that skips flushing is refused. */
export async function refuseUnsuitable(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query<{ version: string; fsync: string; full_page_writes: string }>(
    `select current_setting('server_version_num') as version, current_setting('fsync') as fsync,
            current_setting('full_page_writes') as full_page_writes`,
  )
  const server = rows[0]
  if (!server) throw new Error('the server did not tell its settings')
  if (Number(server.version) < 150_000) {
    throw new DomainError(
      'DATABASE_UNSUITABLE',
      `PostgreSQL 15 or newer is needed; this server is ${Math.floor(Number(server.version) / 10_000)}`,
    )
  }
  for (const setting of ['fsync', 'full_page_writes'] as const) {
    if (server[setting] !== 'on') {
      throw new DomainError(
        'DATABASE_UNSUITABLE',
        `the server runs with ${setting}=${server[setting]}, so it would lose entries it acknowledged; turn it on`,
      )
    }
  }
}

/** Brings the schema up to date. @returns the names of the migrations that ran now */
export async function migrateSchema(admin: Admin): Promise<string[]> {
  const { error, results } = await new Migrator({ db: admin.db, provider }).migrateToLatest()
  if (error) throw error instanceof Error ? error : new Error('migration failed', { cause: error })
  return (results ?? []).filter((result) => result.status === 'Success').map((result) => result.migrationName)
}

/**
 * Looks without changing anything, as the operator's login may.
 * @param client connected
 * @returns the names of the migrations that have yet to run; all of them for an empty database
 * @throws DomainError DATABASE_UNSUITABLE; DATABASE_NEWER when a newer version of this program has migrated it
 */
export async function pendingMigrations(client: pg.ClientBase): Promise<string[]> {
  await refuseUnsuitable(client)
  const { rows } = await client.query<{ there: boolean }>(
    `select to_regclass('public.kysely_migration') is not null as there`,
  )
  const ran = rows[0]?.there
    ? (await client.query<{ name: string }>('select name from public.kysely_migration')).rows.map(({ name }) => name)
    : []
  const ours = Object.keys(await provider.getMigrations()).sort()
  const unknown = ran.filter((name) => !ours.includes(name))
  if (unknown.length > 0) {
    throw new DomainError(
      'DATABASE_NEWER',
      `this database was migrated by a newer version, which brought ${unknown.join(', ')}: use that version`,
    )
  }
  return ours.filter((name) => !ran.includes(name))
}

/** Creates or updates the installation's logins, one for each role, and lets only them into the database. */
export async function ensureLogins(admin: Admin, credentials: (role: LoginRole) => Credentials): Promise<void> {
  const { client } = admin
  const database = client.escapeIdentifier(client.database ?? '')
  for (const role of loginRoles) {
    const { user, password } = credentials(role)
    const name = client.escapeIdentifier(user)
    const { rowCount } = await client.query('select from pg_roles where rolname = $1', [user])
    await client.query(
      `${rowCount ? 'alter' : 'create'} role ${name} login inherit password ${client.escapeLiteral(password)}`,
    )
    await client.query(`grant countersign_${role} to ${name}`)
    await client.query(`grant connect on database ${database} to ${name}`)
  }
  // Who runs without the administrator's credentials sees whether the schema is the one it was built for.
  await client.query('grant select on public.kysely_migration to countersign_operator')
}
