import { registerTokenHolders } from '../auth/upgrade.js'
import { readConfig, type Config } from '../config.js'
import type { Database } from '../db/database.js'
import { pendingMigrations } from '../db/migrate.js'
import { provideDatabase, type ProvidedDatabase } from '../embedded/home.js'
import { DomainError, messageOf, systemCode } from '../errors.js'
import type { IngestDeps } from '../keyring/ingest.js'
import { readKeyFile, type Installation } from '../keyring/installation.js'
import { openAsInstallation, setUp } from '../keyring/set-up.js'
import { Subjects } from '../keyring/subjects.js'
import { ensureTenant } from '../keyring/tenants.js'
import { Appender } from '../ledger/appender.js'
import { SYSTEM_TENANT } from '../principal.js'
import type { Cli } from './cli.js'

/** What a command works with: the database, the keys, and the way into the log. Made for one command, closed after it. */
export interface Host {
  readonly config: Config
  /** Where the database is, with the operator's credentials. */
  readonly provided: ProvidedDatabase
  readonly installation: Installation
  readonly database: Database
  /** Names of the migrations that ran now. */
  readonly migrations: readonly string[]
  /** For appending; connects when first used. */
  readonly deps: IngestDeps
  close(): Promise<void>
}

export interface HostOptions {
  /** Migrates a database given by DATABASE_URL too; the embedded one is ours and always migrated. */
  readonly migrate?: boolean
  /** The command minds `cli.signal` itself and ends in its own time. */
  readonly graceful?: boolean
}

/** Opens what a command needs, runs it, and closes everything however it ends. */
export async function withHost<T>(cli: Cli, work: (host: Host) => Promise<T>, options: HostOptions = {}): Promise<T> {
  const config = readConfig()
  const provided = await provide(config, cli)
  try {
    const host = await openHost(config, provided, options)
    try {
      return options.graceful === true ? await work(host) : await Promise.race([work(host), interrupted(cli.signal)])
    } finally {
      await host.close()
    }
  } finally {
    await provided.close()
  }
}

/** The database that the settings name, or the embedded one. */
export async function provide(
  config: Config,
  cli: Pick<Cli, 'note' | 'warn'>,
  options: { lasting?: boolean } = {},
): Promise<ProvidedDatabase> {
  return provideDatabase(config, { log: (line) => cli.note(line), warn: (line) => cli.warn(line), ...options })
}

/**
 * Opens the database with the logins of the key file, which is all that a command needs. The credentials of the address
 * serve to migrate: always where the database is the embedded one, which is ours, else only when told to.
 * @throws DomainError DATABASE_UNREACHABLE, DATABASE_NOT_MIGRATED, KEY_FILE_MISSING, KEY_FILE_FOREIGN
 */
export async function openHost(
  config: Config,
  provided: ProvidedDatabase,
  { migrate = false }: HostOptions = {},
): Promise<Host> {
  const { url, embedded } = provided
  const { installation, migrations, setUpNow } = await reached(url, async () => {
    const found = migrate ? 'not asked' : await findInstallation(url, config)
    if (typeof found !== 'string') return { installation: found, migrations: [], setUpNow: false }
    if (embedded || migrate) return { ...(await setUp(url, config.keyFile)), setUpNow: true }
    throw new DomainError('DATABASE_NOT_MIGRATED', `${found}; run: countersign migrate`)
  })
  const database = openAsInstallation(url, installation, { poolSize: config.poolSize })
  let deps: IngestDeps | undefined
  const close = async () => {
    await deps?.appender.close()
    await database.close()
  }
  try {
    await ensureTenant(database, installation, SYSTEM_TENANT)
    if (setUpNow) await registerTokenHolders(database)
  } catch (error) {
    await close()
    throw error
  }
  return {
    config,
    provided,
    installation,
    database,
    migrations,
    get deps() {
      return (deps ??= {
        database,
        installation,
        appender: new Appender(database, {
          queueEvents: config.queueLimitEvents,
          patienceMs: config.appendTimeoutMs,
        }),
        subjects: new Subjects(database, installation),
        maxGroupBytes: config.sealedLimitBytes,
      })
    },
    close,
  }
}

/** The installation of the key file, if the database was set up with it by this version; else what is in the way. */
async function findInstallation(url: string, { keyFile }: Config): Promise<Installation | string> {
  const installation = readKeyFile(keyFile)
  if (installation === undefined) return `there is no key file ${keyFile} yet`
  const database = openAsInstallation(url, installation, { poolSize: 1 })
  const client = database.client('operator')
  try {
    await client.connect()
    const pending = await pendingMigrations(client)
    if (pending.length > 0) return `the database lacks ${pending.length} migration(s), ${pending[0] ?? ''} first`
    const row = await database.operator.selectFrom('installation').select(['id', 'key_ids']).executeTakeFirst()
    const same = row?.id === installation.id && row.key_ids.join() === installation.keys.map(({ id }) => id).join()
    return same ? installation : `the database does not know the keys of ${keyFile}`
  } catch (error) {
    // The login or the table that it reads is not there: nothing was set up, or not with this key file.
    if (!/^(28|42)/.test(systemCode(error) ?? '')) throw error
    return `the installation of ${keyFile} has no access to the database`
  } finally {
    await client.end().catch(() => undefined)
    await database.close()
  }
}

/** Says where nothing answered, and never with which password. */
async function reached<T>(url: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const code = systemCode(error)
    const lost = error instanceof AggregateError || (code !== undefined && UNREACHABLE.test(code))
    if (error instanceof DomainError || !lost) throw error
    const { host, pathname } = new URL(url)
    const said = error instanceof AggregateError ? error.errors.map(messageOf).join('; ') : messageOf(error)
    throw new DomainError('DATABASE_UNREACHABLE', `no connection to ${host}${pathname}: ${said}; check DATABASE_URL`)
  }
}

/** Of the network and name service, and PostgreSQL's about connections, authorisation, missing databases and shutdown. */
const UNREACHABLE = /^(ECONN|ENOTFOUND|EAI_|ETIMEDOUT|EHOST|ENET|EPIPE|08|28|3D000|53300|57P)/

/** Rejects once the user asks to stop. */
export function interrupted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const stop = () => reject(new DOMException('interrupted', 'AbortError'))
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })
}

/**
 * The tenant that a command is about: the one named, else the only one there is.
 * @throws DomainError TENANT_UNKNOWN, USAGE when it has to be named
 */
export async function tenantOf({ database }: Host, named: string | undefined): Promise<string> {
  const tenants = database.operator.selectFrom('tenants').select('id')
  if (named !== undefined && (await tenants.where('id', '=', named).executeTakeFirst())) return named
  const ids = (
    await tenants
      .orderBy('id')
      .limit(KNOWN_SHOWN + 1)
      .execute()
  ).map(({ id }) => id)
  if (named !== undefined) throw new DomainError('TENANT_UNKNOWN', `there is no tenant ${named}; ${known(ids)}`)
  const [only, ...others] = ids.filter((id) => id !== SYSTEM_TENANT)
  if (only !== undefined && others.length === 0) return only
  if (only === undefined) {
    throw new DomainError('TENANT_UNKNOWN', 'there is no tenant yet; make one with: countersign tenant create acme')
  }
  throw new DomainError('USAGE', `name the tenant with --tenant; ${known(ids)}`)
}

/** So many tenants are named to who named none of them. */
const KNOWN_SHOWN = 20

function known(ids: readonly string[]): string {
  return `there are ${ids.slice(0, KNOWN_SHOWN).join(', ')}${ids.length > KNOWN_SHOWN ? ' and more' : ''}`
}
