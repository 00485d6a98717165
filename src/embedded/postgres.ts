import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, renameSync, statSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { DomainError, messageOf } from '../errors.js'
import { usableBinaries, type Binaries } from './binaries.js'
import {
  dataMajor,
  initialise,
  placeData,
  readPostmaster,
  refuseOtherVersion,
  refuseRunning,
  runningPostmaster,
  superuserPassword,
  SUPERUSER,
  tidy,
} from './data-folder.js'
import { withLock } from './lock.js'
import { as, CHILD_ENV, dieWithParent, serverUser, type ServerUser } from './unprivileged.js'

export interface StartOptions {
  /** Made when it is not there. `<dataDir>.log` and `<dataDir>.lock` lie beside it. */
  dataDir: string
  /** A folder with `postgres` and `initdb`; without it the packaged PostgreSQL, or the newest on this machine. */
  binDir?: string | undefined
  /** Server settings beyond our own, by name. */
  settings?: Readonly<Record<string, string>> | undefined
  log?: ((line: string) => void) | undefined
}

export interface RunningPostgres {
  /** Address and credential of the superuser, over TCP. */
  url: string
  host: string
  port: number
  user: string
  password: string
  /** A 0700 folder with the server's Unix socket; absent where the path would be too long for one. */
  socketDir?: string
  pid: number
  /** Where the data really lies. */
  dataDir: string
  version: string
  /** Ends sessions and the server ("fast"), and returns when it has ended. May be called again. */
  stop(): Promise<void>
}

const HOST = '127.0.0.1'
const ATTEMPTS = 20
/** Crash recovery replays up to `max_wal_size` of log: minutes on a slow disk. */
const START_TIMEOUT_MS = 600_000
const STILL_STARTING_MS = 5_000
const FAST_STOP_MS = 60_000
const LOG_LIMIT_BYTES = 10 * 1024 * 1024
/** sun_path holds 104 bytes on macOS and 108 on Linux, the closing zero included. */
const SOCKET_PATH_BYTES = 103

/**
 * Starts PostgreSQL on a data folder, making the folder first where there is none. The server listens on 127.0.0.1 only,
 * asks everybody for a password and ends with this process, even when that is killed. Call it from the main thread: the
 * signal that ends the server follows the thread that spawned it.
 * @throws DomainError POSTGRES_ALREADY_RUNNING, POSTGRES_OTHER_VERSION, POSTGRES_DATA_FOLDER, POSTGRES_BINARIES_MISSING,
 * POSTGRES_NO_USER, POSTGRES_DID_NOT_START
 */
export async function startPostgres(options: StartOptions): Promise<RunningPostgres> {
  const log = options.log ?? (() => {})
  const wanted = resolve(options.dataDir)
  const user = serverUser(wanted)
  await mkdir(dirname(wanted), { recursive: true, mode: user === undefined ? 0o700 : 0o711 })
  const onWait = (pid: number) => log(`waiting for process ${pid}, which is starting PostgreSQL on ${wanted}`)
  return withLock(`${wanted}.lock`, { waitMs: START_TIMEOUT_MS, onWait }, async () => {
    const dataDir = await placeData(wanted, user, log)
    refuseRunning(dataDir, runningPostmaster(dataDir))
    const binaries = await usableBinaries(options.binDir, user, log)
    refuseOtherVersion(dataDir, binaries)
    if (dataMajor(dataDir) === undefined) {
      log(`making a PostgreSQL ${binaries.version} data folder in ${dataDir}`)
      await initialise(dataDir, binaries, user)
    }
    await tidy(dataDir)
    return launch({ binaries, user, dataDir, logFile: `${wanted}.log`, settings: options.settings ?? {}, log })
  })
}

interface Launch {
  binaries: Binaries
  user: ServerUser | undefined
  dataDir: string
  logFile: string
  settings: Readonly<Record<string, string>>
  log: (line: string) => void
}

async function launch(how: Launch): Promise<RunningPostgres> {
  const password = superuserPassword(how.dataDir)
  const socketFits = Buffer.byteLength(join(how.dataDir, '.s.PGSQL.65535')) <= SOCKET_PATH_BYTES
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort()
    const server = new Server(how, port, socketFits ? how.dataDir : '')
    const problem = await server.ready(password)
    if (problem === undefined) {
      return {
        url: `postgres://${SUPERUSER}:${password}@${HOST}:${port}/postgres`,
        host: HOST,
        port,
        user: SUPERUSER,
        password,
        pid: server.pid,
        ...(socketFits ? { socketDir: how.dataDir } : {}),
        dataDir: how.dataDir,
        version: how.binaries.version,
        stop: () => server.stop(),
      }
    }
    await server.stop()
    // Somebody took the port in between, or the children of a server that was killed have yet to notice.
    const passes = /Address already in use|shared memory block .* is still in use/.test(problem)
    if (!passes || attempt === ATTEMPTS) {
      throw new DomainError('POSTGRES_DID_NOT_START', `PostgreSQL did not start (see ${how.logFile}):\n${problem}`)
    }
    await sleep(250)
  }
}

/** One try at running the server process. */
class Server {
  readonly #how: Launch
  readonly #child: ChildProcess
  readonly #ended: Promise<void>
  readonly #logFrom: number
  #running = true
  #failure = ''
  #stopping: Promise<void> | undefined

  constructor(how: Launch, port: number, socketDir: string) {
    this.#how = how
    if (existsSync(how.logFile) && statSync(how.logFile).size > LOG_LIMIT_BYTES) {
      renameSync(how.logFile, `${how.logFile}.1`)
    }
    const output = openSync(how.logFile, 'a', 0o600)
    this.#logFrom = statSync(how.logFile).size
    const settings = {
      wal_level: 'logical',
      // What a failing statement was about stays out of the log: it may be somebody's name.
      log_error_verbosity: 'terse',
      ...how.settings,
      listen_addresses: HOST,
      port: String(port),
      unix_socket_directories: socketDir,
      unix_socket_permissions: '0700',
    }
    const guard = dieWithParent('INT')
    const [file = '', ...words] = [
      ...guard,
      join(how.binaries.dir, 'postgres'),
      '-D',
      how.dataDir,
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ]
    // In a session of its own: a Ctrl-C at the terminal is ours to handle, and ours may have work to finish first.
    this.#child = spawn(file, words, { ...as(how.user), stdio: ['ignore', output, output], detached: true })
    closeSync(output)
    const watch = guard.length === 0 ? watchFor(this.#child) : undefined
    this.#ended = new Promise((done) => {
      const end = (why: string) => {
        this.#running = false
        this.#failure = why
        process.off('exit', this.#interrupt)
        watch?.kill()
        done()
      }
      this.#child.once('exit', (code, signal) => end(`it ended with ${signal ?? code}`))
      this.#child.once('error', (error) => end(error.message))
    })
    process.once('exit', this.#interrupt)
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** @returns undefined when the server answers, else what it said */
  async ready(password: string): Promise<string | undefined> {
    const began = Date.now()
    let toldAt = began
    while (this.#running) {
      const state = readPostmaster(this.#how.dataDir)
      if (state?.pid === this.pid && state.ready) return answers(state.port, password)
      if (Date.now() - began > START_TIMEOUT_MS) return `it was not ready after ${START_TIMEOUT_MS / 1000} s`
      if (Date.now() - toldAt > STILL_STARTING_MS) {
        toldAt = Date.now()
        this.#how.log(`PostgreSQL is still starting, after ${Math.round((toldAt - began) / 1000)} s`)
      }
      await sleep(20)
    }
    const said = readFileSync(this.#how.logFile).subarray(this.#logFrom).toString('utf8').trim()
    return said === '' ? this.#failure : said.slice(-4_000)
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop(): Promise<void> {
    for (const signal of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
      if (!this.#running) return
      this.#child.kill(signal)
      await Promise.race([this.#ended, sleep(FAST_STOP_MS, undefined, { ref: false })])
    }
  }

  readonly #interrupt = (): void => {
    this.#child.kill('SIGINT')
  }
}

/** Where no system call ties the server to us: a shell that waits for the end of its input, which is our end. */
function watchFor(server: ChildProcess): ChildProcess {
  const watch = spawn('/bin/sh', ['-c', 'read -r _; kill -INT "$0"', String(server.pid)], {
    cwd: '/',
    env: CHILD_ENV,
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  watch.once('error', () => {})
  return watch
}

/** @returns undefined when the superuser gets in, else why not */
async function answers(port: number, password: string): Promise<string | undefined> {
  const client = new Client({ host: HOST, port, user: SUPERUSER, password, database: 'postgres' })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.end()
    return undefined
  } catch (error) {
    return messageOf(error)
  }
}

function freePort(): Promise<number> {
  return new Promise((found, failed) => {
    const probe = createServer()
    probe.once('error', failed)
    probe.listen(0, HOST, () => {
      const address = probe.address()
      probe.close(() => found(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}
