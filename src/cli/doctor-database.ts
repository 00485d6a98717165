import { existsSync } from 'node:fs'
import pg from 'pg'
import { readConfig, type Config } from '../config.js'
import { pendingMigrations } from '../db/migrate.js'
import { homePaths, type ProvidedDatabase } from '../embedded/home.js'
import { messageOf, systemCode } from '../errors.js'
import { keysNotBackedUp } from '../keyring/backup.js'
import { readKeyFile, type Installation } from '../keyring/installation.js'
import { openAsInstallation } from '../keyring/set-up.js'
import { tenantsWithoutKey } from '../keyring/signing-keys.js'
import type { Database } from '../db/database.js'
import type { Cli } from './cli.js'
import type { Check } from './doctor.js'
import { provide } from './host.js'
import { counted } from './terminal.js'

type Show = (check: Check) => void

/** The database, its key file, and whether they belong together. Looks with the logins that services use. */
export async function checkDatabase(show: Show, cli: Cli): Promise<void> {
  let config
  try {
    config = readConfig()
  } catch {
    return // said already
  }
  const started = config.databaseUrl !== undefined || existsSync(homePaths(config.home).data)
  if (!started) {
    show({ id: 'database', status: 'ok', found: `nothing in ${config.home} yet: the first start makes it` })
    return
  }
  let provided
  try {
    provided = await provide(config, cli)
  } catch (error) {
    show({ id: 'database', status: 'fail', found: messageOf(error) })
    return
  }
  try {
    const installation = checkKeyFile(show, config)
    if (installation !== undefined) await checkServer(show, config, provided, installation)
    else await checkReach(show, provided)
  } finally {
    await provided.close()
  }
}

function checkKeyFile(show: Show, { keyFile, databaseUrl }: Config): Installation | undefined {
  const id = 'key file'
  try {
    const installation = readKeyFile(keyFile)
    if (installation !== undefined) {
      show({ id, status: 'ok', found: `${keyFile}, only its owner can read it` })
      return installation
    }
    const advice =
      databaseUrl === undefined
        ? 'restore it from its backup; only where there never was one does countersign migrate make it'
        : 'countersign migrate makes it for a new database; else restore it from its backup'
    show({ id, status: 'fail', found: `${keyFile} is not there`, advice })
  } catch (error) {
    show({ id, status: 'fail', found: messageOf(error) })
  }
  return undefined
}

async function checkServer(
  show: Show,
  config: Config,
  provided: ProvidedDatabase,
  installation: Installation,
): Promise<void> {
  const database = openAsInstallation(provided.url, installation, { poolSize: 1 })
  try {
    if (!(await checkConnection(show, config, database))) return
    await checkBackup(show, config, database)
    await checkSigningKeys(show, config, database)
  } finally {
    await database.close()
  }
}

/** Without a key file nobody but the administrator of the address can look. */
async function checkReach(show: Show, { url, embedded }: ProvidedDatabase): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
  client.on('error', () => undefined)
  const { host, pathname } = new URL(url)
  try {
    await client.connect()
    await checkSettings(show, client, embedded ? 'embedded' : `${host}${pathname}`)
  } catch (error) {
    show({
      id: 'database',
      status: 'fail',
      found: `${host}${pathname}: ${said(error)}`,
      advice: 'start PostgreSQL, or correct DATABASE_URL',
    })
  } finally {
    await client.end().catch(() => undefined)
  }
}

async function checkSettings(show: Show, client: pg.Client, where: string): Promise<void> {
  const { rows } = await client.query<ServerSettings>(
    `select current_setting('server_version') as version, current_setting('fsync') as fsync,
            current_setting('full_page_writes') as full_page_writes,
            current_setting('synchronous_commit') as synchronous_commit,
            current_setting('data_checksums') as data_checksums,
            extract(epoch from clock_timestamp())::float8 * 1000 - $1::float8 as ahead_ms`,
    [Date.now()],
  )
  const server = rows[0]
  if (server === undefined) throw new Error('the server did not tell its settings')
  const old = Number.parseInt(server.version, 10) < 15
  show({
    id: 'database',
    status: old ? 'fail' : 'ok',
    found: `PostgreSQL ${server.version}, ${where}`,
    ...(old ? { advice: 'use PostgreSQL 15 or newer' } : {}),
  })
  for (const check of judgeSettings(server)) show(check)
}

interface ServerSettings {
  version: string
  fsync: string
  full_page_writes: string
  synchronous_commit: string
  data_checksums: string
  ahead_ms: number
}

async function checkConnection(show: Show, config: Config, database: Database): Promise<boolean> {
  const client = database.client('operator')
  const { host, port, database: name } = database.address
  const where = config.databaseUrl === undefined ? 'embedded' : `${host ?? ''}:${port ?? ''}/${name}`
  try {
    await client.connect()
    await checkSettings(show, client, where)
    const pending = await pendingMigrations(client)
    show(
      pending.length === 0
        ? { id: 'schema', status: 'ok', found: 'every migration has run' }
        : {
            id: 'schema',
            status: 'fail',
            found: `${pending.length} migration(s) have yet to run`,
            advice: 'run countersign migrate',
          },
    )
    return pending.length === 0
  } catch (error) {
    const refused = systemCode(error)?.startsWith('28') === true
    show({
      id: 'database',
      status: 'fail',
      found: refused ? `${where} does not know the logins of this key file` : `${where}: ${said(error)}`,
      advice: refused
        ? 'run countersign migrate, with the key file that belongs to this database'
        : 'start PostgreSQL, or correct DATABASE_URL',
    })
    return false
  } finally {
    await client.end().catch(() => undefined)
  }
}

function judgeSettings({
  fsync,
  full_page_writes,
  synchronous_commit,
  data_checksums,
  ahead_ms,
}: ServerSettings): Check[] {
  const checks: Check[] = []
  const lossy = Object.entries({ fsync, full_page_writes }).filter(([, value]) => value !== 'on')
  const relaxed = synchronous_commit === 'off' || synchronous_commit === 'local'
  if (lossy.length > 0) {
    const found = `${lossy.map(([name, value]) => `${name}=${value}`).join(', ')}: entries that were acknowledged can be lost`
    checks.push({
      id: 'durability',
      status: 'fail',
      found,
      advice: 'turn it on in postgresql.conf and restart PostgreSQL',
    })
  } else if (relaxed) {
    const found = `synchronous_commit=${synchronous_commit}: acknowledged entries can be lost in a crash`
    checks.push({ id: 'durability', status: 'warn', found, advice: 'set synchronous_commit=on' })
  } else {
    const found = `fsync and full_page_writes are on${data_checksums === 'on' ? ', data checksums too' : ''}`
    checks.push({ id: 'durability', status: 'ok', found })
  }
  if (data_checksums !== 'on') {
    const found = 'data checksums are off: a failing disk is found later, by verify alone'
    checks.push({ id: 'checksums', status: 'warn', found, advice: 'stop PostgreSQL and run pg_checksums --enable' })
  }
  const apart = Math.abs(Math.round(ahead_ms))
  const found = `the database's clock and ours are ${apart} ms apart`
  checks.push(
    apart < 2000
      ? { id: 'clock', status: 'ok', found }
      : {
          id: 'clock',
          status: apart < 5000 ? 'warn' : 'fail',
          found,
          advice: 'synchronise the clocks of both machines (NTP)',
        },
  )
  return checks
}

async function checkBackup(show: Show, config: Config, database: Database): Promise<void> {
  const { keyIds, signingKeyIds, lastAt } = await keysNotBackedUp(database, config.signingKeysDir)
  if (keyIds.length === 0) {
    const later = signingKeyIds.length === 0 ? '' : `; ${counted(signingKeyIds.length, 'signing key')} made since`
    show({ id: 'key backup', status: 'ok', found: `made ${lastAt ?? ''}${later}` })
  } else {
    show({
      id: 'key backup',
      status: 'warn',
      found: `the key file has never been backed up: without it no personal data can be read again`,
      advice: 'run countersign keys backup <folder>/, and keep the copy away from the database',
    })
  }
}

async function checkSigningKeys(show: Show, { signingKeysDir }: Config, database: Database): Promise<void> {
  const id = 'signing keys'
  const lacking = await tenantsWithoutKey({ database, signingKeysDir }).catch(messageOf)
  if (typeof lacking === 'string') {
    show({ id, status: 'fail', found: lacking, advice: 'countersign keys restore <backup> puts missing files back' })
  } else if (lacking.length > 0) {
    const named = lacking.slice(0, 5).join(', ')
    const found = `${counted(lacking.length, 'tenant')} cannot sign, their keys are not in ${signingKeysDir}: ${named}`
    const advice = 'countersign keys restore <backup>, or countersign signing-key rotate --tenant <id>'
    show({ id, status: 'fail', found, advice })
  } else show({ id, status: 'ok', found: 'every tenant that signs has its key' })
}

function said(error: unknown): string {
  return error instanceof AggregateError ? error.errors.map(messageOf).join('; ') : messageOf(error)
}
