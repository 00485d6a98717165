import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import type { Config } from '../config.js'
import { DomainError, systemCode } from '../errors.js'
import { SAY_SO_AFTER_MS, withLock } from './lock.js'
import { startPostgres, type RunningPostgres } from './postgres.js'
import { parseIdentity, processIdentity, stillRuns, type ProcessIdentity } from './process-identity.js'

/** Where things lie in the home folder. The key file and the reports may have been moved by a setting. */
export function homePaths(home: string) {
  return {
    data: join(home, 'data'),
    /** The running server; 0600, it holds the superuser's password. */
    run: join(home, 'run.json'),
    lock: join(home, 'run.lock'),
    /** Tokens that the local commands made for themselves and their user; 0600. */
    tokens: join(home, 'tokens.json'),
  }
}

/** What a process that started the embedded server says of it, for others to find. */
export interface RunFile extends ProcessIdentity {
  /** True when the server stays until somebody stops it, false when it ends with one command. */
  lasting: boolean
  databaseUrl: string
  socketDir?: string
  /** Where the API answers, while it does. */
  apiUrl?: string
}

export interface ProvidedDatabase {
  /** Address of the database with the credentials of a role that may migrate. */
  url: string
  /** Folder of the server's Unix socket, where there is one. */
  socketDir?: string
  /** True when the server is the embedded one. */
  embedded: boolean
  /** Lets go of it; a server that was started here is stopped, once no other command uses it. */
  close(): Promise<void>
}

export interface ProvideOptions {
  log?: (line: string) => void
  /** Told when a server that was started here ended by itself, and when it is back. */
  warn?: (line: string) => void
  /** For what runs until it is stopped (`up`, `serve`): it never rests on a server that ends with another command. */
  lasting?: boolean
}

const DATABASE = 'countersign'
/** Each user of a shared server holds one session of this name: they are counted, and a killed one counts no more. */
const USER_SESSION = 'countersign user'
const API_ANSWERS_MS = 5_000
/** Starting may include a crash recovery. */
const WAIT_MS = 600_000

/**
 * Gives the database that a command works on: DATABASE_URL, else the embedded server that another process runs in the
 * same home, else one that is started here and ends with us.
 */
export async function provideDatabase(
  config: Pick<Config, 'databaseUrl' | 'home'>,
  options: ProvideOptions = {},
): Promise<ProvidedDatabase> {
  if (config.databaseUrl !== undefined) {
    return { url: config.databaseUrl, embedded: false, close: () => Promise.resolve() }
  }
  const { home } = config
  const { log = quietly, warn = log, lasting = false } = options
  await makeHome(home)
  const began = Date.now()
  let told = false
  for (;;) {
    const attempt = await locked(home, log, () => joinOrStart(home, { lasting, log, warn }))
    if ('url' in attempt) return attempt
    const waitedMs = Date.now() - began
    if (waitedMs > WAIT_MS) throw attempt.error
    if (!told && waitedMs > SAY_SO_AFTER_MS) {
      log(`${attempt.error.message}; waiting for it${attempt.comesBack ? '' : ' to end'}`)
      told = true
    }
    await sleep(200)
  }
}

/** @returns what the process that runs the embedded server in this home says of it; undefined when there is none */
export function readRunFile(home: string): RunFile | undefined {
  let text
  try {
    text = readFileSync(homePaths(home).run, 'utf8')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
  const identity = parseIdentity(text)
  if (identity === undefined || !stillRuns(identity)) return undefined
  const run: RunFile = JSON.parse(text)
  return run
}

/**
 * Tells other commands where the API answers.
 * @returns where another API of this home answers: then nothing was announced
 */
export async function announceApi(home: string, apiUrl: string): Promise<string | undefined> {
  return locked(home, quietly, async () => {
    const other = await runningApi(home)
    const run = readRunFile(home)
    if (other === undefined && run !== undefined) await writeRunFile(home, { ...run, apiUrl })
    return other
  })
}

/** Tells them that it does no more; what another API has announced stays. */
export async function withdrawApi(home: string, apiUrl: string): Promise<void> {
  await locked(home, quietly, async () => {
    const run = readRunFile(home)
    if (run?.apiUrl !== apiUrl) return
    const { apiUrl: _, ...rest } = run
    await writeRunFile(home, rest)
  })
}

/** @returns where the API of this home answers, if one does */
export async function runningApi(home: string): Promise<string | undefined> {
  const apiUrl = readRunFile(home)?.apiUrl
  if (apiUrl === undefined) return undefined
  try {
    await fetch(`${apiUrl}/healthz`, { signal: AbortSignal.timeout(API_ANSWERS_MS) })
    return apiUrl
  } catch (error) {
    // One that takes its time is there.
    return error instanceof DOMException && error.name === 'TimeoutError' ? apiUrl : undefined
  }
}

const quietly = (): void => {}

async function writeRunFile(home: string, run: RunFile): Promise<void> {
  await writePrivate(homePaths(home).run, `${JSON.stringify(run)}\n`)
}

/** Replaces a file as a whole, so that a reader sees the old or the new; 0600. */
export async function writePrivate(path: string, content: string): Promise<void> {
  const draft = `${path}.${randomUUID()}`
  try {
    const file = await open(draft, 'wx', 0o600)
    try {
      await file.writeFile(content)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(draft, path)
  } finally {
    await rm(draft, { force: true })
  }
}

/** As root the server's own user has to pass through the home to its data; every secret in there is a 0600 file. */
export async function makeHome(home: string): Promise<void> {
  await mkdir(dirname(home), { recursive: true })
  await mkdir(home, { mode: process.getuid?.() === 0 ? 0o711 : 0o700 }).catch((error: unknown) => {
    if (systemCode(error) !== 'EEXIST') throw error
  })
}

type Attempt = ProvidedDatabase | { error: DomainError; comesBack?: boolean }

async function joinOrStart(home: string, options: Required<ProvideOptions>): Promise<Attempt> {
  const { lasting } = options
  const run = readRunFile(home)
  if (run !== undefined) {
    if (lasting && !run.lasting) {
      return { error: new DomainError('HOME_BUSY', `process ${run.pid} uses the database in ${home}`) }
    }
    const session = await userSession(run.databaseUrl)
    if (session !== undefined) {
      const { databaseUrl: url, socketDir } = run
      return { url, ...(socketDir ? { socketDir } : {}), embedded: true, close: () => session.end() }
    }
    if (run.pid !== process.pid) {
      // Whoever started the server starts it again, where its users look for it.
      const error = new DomainError('HOME_BUSY', `the database of process ${run.pid} in ${home} does not answer`)
      return { error, comesBack: true }
    }
  }
  try {
    return await start(home, options)
  } catch (error) {
    // One whose process was killed a moment ago is still writing its last checkpoint.
    if (error instanceof DomainError && error.code === 'POSTGRES_ALREADY_RUNNING') return { error }
    throw error
  }
}

async function start(home: string, { lasting, log, warn }: Required<ProvideOptions>): Promise<ProvidedDatabase> {
  const server = await startPostgres({ dataDir: homePaths(home).data, log, onRestart: warn })
  try {
    await ensureDatabase(server)
    const url = new URL(server.url)
    url.pathname = `/${DATABASE}`
    const us = processIdentity(process.pid) ?? { pid: process.pid, started: '' }
    const socketDir = server.socketDir === undefined ? {} : { socketDir: server.socketDir }
    const run: RunFile = { ...us, lasting, databaseUrl: url.href, ...socketDir }
    await writeRunFile(home, run)
    let closing: Promise<void> | undefined
    const close = () => (closing ??= stopWhenUnused(home, server, log))
    return { url: url.href, ...socketDir, embedded: true, close }
  } catch (error) {
    await server.stop()
    throw error
  }
}

async function stopWhenUnused(home: string, server: RunningPostgres, log: (line: string) => void): Promise<void> {
  const began = Date.now()
  let told = false
  for (;;) {
    const stopped = await locked(home, log, async () => {
      const users = await countUsers(server.url)
      if (users > 0) {
        if (!told && Date.now() - began > SAY_SO_AFTER_MS) {
          log(`${users} other command(s) use the database that was started here: waiting for them to end`)
          told = true
        }
        return false
      }
      if (readRunFile(home)?.pid === process.pid) await rm(homePaths(home).run, { force: true })
      await server.stop()
      return true
    })
    if (stopped) return
    await sleep(200)
  }
}

function locked<T>(home: string, log: (line: string) => void, work: () => Promise<T>): Promise<T> {
  const onWait = (pid: number) => log(`waiting for process ${pid}, which starts or stops the database in ${home}`)
  return withLock(homePaths(home).lock, { waitMs: WAIT_MS, onWait }, work)
}

async function ensureDatabase(server: RunningPostgres): Promise<void> {
  const client = new Client({ connectionString: server.url })
  await client.connect()
  try {
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [DATABASE])
    if (rowCount === 0) await client.query(`create database ${DATABASE} template template0`)
  } finally {
    await client.end()
  }
}

/** @returns undefined when nothing answers there, or somebody else does */
async function userSession(url: string): Promise<Client | undefined> {
  const client = new Client({
    connectionString: url,
    application_name: USER_SESSION,
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
  })
  client.on('error', () => {})
  try {
    await client.connect()
    return client
  } catch (error) {
    await client.end().catch(() => {})
    if (['ECONNREFUSED', 'ECONNRESET', '28P01', '57P03', '3D000'].includes(systemCode(error) ?? '')) return undefined
    throw error
  }
}

/** @returns 0 as well when the server has ended by itself */
async function countUsers(url: string): Promise<number> {
  const client = await userSession(url)
  if (client === undefined) return 0
  try {
    const { rows } = await client.query<{ users: number }>(
      'select count(*)::int as users from pg_stat_activity where application_name = $1 and pid <> pg_backend_pid()',
      [USER_SESSION],
    )
    return rows[0]?.users ?? 0
  } finally {
    await client.end()
  }
}
