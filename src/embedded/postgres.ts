import { mkdir } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError } from '../errors.js'
import { usableBinaries } from './binaries.js'
import {
  dataMajor,
  initialise,
  placeData,
  refuseOtherVersion,
  refuseRunning,
  runningPostmaster,
  superuserPassword,
  SUPERUSER,
  tidy,
} from './data-folder.js'
import { withLock } from './lock.js'
import { freePort, HOST } from './port.js'
import { Server, START_TIMEOUT_MS, type Launch } from './server.js'
import { serverUser } from './unprivileged.js'
import { Watched, type ServerProcess } from './watched.js'

export interface StartOptions {
  /** Made when it is not there. `<dataDir>.log` and `<dataDir>.lock` lie beside it. */
  dataDir: string
  /** A folder with `postgres` and `initdb`; without it the packaged PostgreSQL, or the newest on this machine. */
  binDir?: string | undefined
  /** Server settings beyond our own, by name. */
  settings?: Readonly<Record<string, string>> | undefined
  log?: ((line: string) => void) | undefined
  /** Where given, a server that ends by itself is started again on its port until `stop` is called, and this is told of it. */
  onRestart?: ((line: string) => void) | undefined
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
  /** Another one once it was started again. */
  readonly pid: number
  /** Where the data really lies. */
  dataDir: string
  version: string
  /** Ends sessions and the server ("fast"), and returns when it has ended. May be called again. */
  stop(): Promise<void>
}

const ATTEMPTS = 20
/** For whoever else starts or stops a server on the same data, in milliseconds. */
const LOCK_WAIT_MS = 10_000
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
    const how = { binaries, user, dataDir, logFile: `${wanted}.log`, settings: options.settings ?? {}, log }
    const launched = await launch(how)
    const { onRestart } = options
    const { port } = launched
    const again = (keep: Keep) => startAgain(how, port, `${wanted}.lock`, keep)
    const server = onRestart
      ? new Watched({ name: 'PostgreSQL', server: launched.server, again, tell: onRestart })
      : launched.server
    return running(how, port, server)
  })
}

function running({ dataDir, binaries }: Launch, port: number, server: ServerProcess): RunningPostgres {
  const password = superuserPassword(dataDir)
  const socketDir = socketFolder(dataDir)
  return {
    url: `postgres://${SUPERUSER}:${password}@${HOST}:${port}/postgres`,
    host: HOST,
    port,
    user: SUPERUSER,
    password,
    get pid() {
      return server.pid
    },
    ...(socketDir === undefined ? {} : { socketDir }),
    dataDir,
    version: binaries.version,
    stop: () => server.stop(),
  }
}

type Keep = (server: Server) => void

/**
 * @param wantedPort a free one where none is given
 * @param keep told of each try as it begins
 */
async function launch(
  how: Launch,
  wantedPort?: number,
  keep: Keep = () => {},
): Promise<{ server: Server; port: number }> {
  const password = superuserPassword(how.dataDir)
  for (let attempt = 1; ; attempt += 1) {
    const port = wantedPort ?? (await freePort())
    const server = new Server(how, port, socketFolder(how.dataDir) ?? '')
    keep(server)
    const problem = await server.ready(password)
    if (problem === undefined) return { server, port }
    await server.stop()
    // Somebody took the port in between, or the children of a server that was killed have yet to notice.
    const passes = /Address already in use|shared memory block .* is still in use/.test(problem)
    if (!passes || attempt === ATTEMPTS) {
      throw new DomainError('POSTGRES_DID_NOT_START', `PostgreSQL did not start (see ${how.logFile}):\n${problem}`)
    }
    await sleep(250)
  }
}

async function startAgain(how: Launch, port: number, lock: string, keep: Keep): Promise<void> {
  const { dataDir } = how
  await withLock(lock, { waitMs: LOCK_WAIT_MS }, async () => {
    refuseRunning(dataDir, runningPostmaster(dataDir))
    await tidy(dataDir)
    await launch(how, port, keep)
  })
}

function socketFolder(dataDir: string): string | undefined {
  return Buffer.byteLength(join(dataDir, '.s.PGSQL.65535')) <= SOCKET_PATH_BYTES ? dataDir : undefined
}
