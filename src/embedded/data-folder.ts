import { execFile } from 'node:child_process'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs'
import { chmod, chown, cp, mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { DomainError } from '../errors.js'
import { openFolder, SHARED_DIR, type Binaries } from './binaries.js'
import { processIdentity } from './process-identity.js'
import { as, canEnter, dieWithParent, type ServerUser } from './unprivileged.js'

export const SUPERUSER = 'postgres'

/** Lies inside the data folder, so that the two are moved, kept and thrown away together. */
const PASSWORD_FILE = 'superuser.password'

/** What the running server says of itself in `postmaster.pid`. */
export interface Postmaster {
  pid: number
  port: number
  ready: boolean
}

/**
 * Finds the place of the data: `wanted`, or, where the server's user cannot get there, a folder of its own under
 * /var/lib/countersign, to which `wanted` then is a symbolic link.
 */
export async function placeData(
  wanted: string,
  user: ServerUser | undefined,
  log: (line: string) => void,
): Promise<string> {
  // A root-owned folder on the way has to let the server's user pass; what is secret in there is 0600 itself.
  await mkdir(dirname(wanted), { recursive: true, mode: user === undefined ? 0o700 : 0o711 })
  const here = existsSync(wanted) ? realpathSync(wanted) : join(realpathSync(dirname(wanted)), lastOf(wanted))
  if (user === undefined || canEnter(user, dirname(here))) return here
  const hash = createHash('sha256').update(`${here}\n${randomUUID()}`).digest('hex').slice(0, 16)
  const there = join(SHARED_DIR, hash, 'data')
  log(`${user.name} cannot reach ${dirname(here)}: the data folder is ${there}, and ${wanted} points to it`)
  await openFolder(dirname(there))
  await writeFile(join(dirname(there), 'origin'), `${here}\n`, { mode: 0o600 })
  if (existsSync(here)) {
    refuseRunning(here, runningPostmaster(here))
    await cp(here, there, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true })
    await own(there, user)
    await rename(here, `${here}.moved-to-${hash}`)
  }
  await rm(wanted, { force: true }) // a link to nothing
  await symlink(there, wanted)
  return there
}

/** @returns the major version that wrote the data folder, or undefined while there is none */
export function dataMajor(dataDir: string): number | undefined {
  const file = join(dataDir, 'PG_VERSION')
  return existsSync(file) ? Number.parseInt(readFileSync(file, 'utf8'), 10) : undefined
}

/** @throws DomainError POSTGRES_OTHER_VERSION unless the data folder was made by the same major version, or is yet to be made */
export function refuseOtherVersion(dataDir: string, binaries: Binaries): void {
  const found = dataMajor(dataDir)
  if (found === undefined || found === binaries.major) return
  throw new DomainError(
    'POSTGRES_OTHER_VERSION',
    `the data folder ${dataDir} was made by PostgreSQL ${found}, and this is PostgreSQL ${binaries.version}: run ` +
      `PostgreSQL ${found} on it and set DATABASE_URL, or move it away to start with an empty one`,
  )
}

/** @throws DomainError POSTGRES_ALREADY_RUNNING when there is a server on the data folder */
export function refuseRunning(dataDir: string, running: Postmaster | undefined): void {
  if (running === undefined) return
  throw new DomainError(
    'POSTGRES_ALREADY_RUNNING',
    `a PostgreSQL server (process ${running.pid}, port ${running.port}) already runs on ${dataDir}: use that one, or stop it first`,
  )
}

/**
 * Makes a new database cluster: scram for every connection, data checksums, UTF-8 with the "C" order, and a random
 * password. A cluster is there whole or not at all, whatever ends us on the way.
 */
export async function initialise(dataDir: string, binaries: Binaries, user: ServerUser | undefined): Promise<void> {
  if (existsSync(dataDir) && (await readdir(dataDir)).length > 0) {
    throw new DomainError(
      'POSTGRES_DATA_FOLDER',
      `${dataDir} is neither empty nor a PostgreSQL data folder: move it away, or set COUNTERSIGN_HOME to another place`,
    )
  }
  const making = `${dataDir}.new`
  const passwordFile = `${making}.password`
  const password = randomBytes(32).toString('base64url')
  await rm(making, { recursive: true, force: true })
  await rm(passwordFile, { force: true })
  try {
    await mkdir(making, { mode: 0o700 })
    await writeFile(passwordFile, `${password}\n`, { flag: 'wx', mode: 0o600 })
    if (user !== undefined) {
      await chown(making, user.uid, user.gid)
      await chown(passwordFile, user.uid, user.gid)
    }
    await initdb(binaries, user, [
      `--pgdata=${making}`,
      `--username=${SUPERUSER}`,
      `--pwfile=${passwordFile}`,
      '--auth-host=scram-sha-256',
      '--auth-local=scram-sha-256',
      '--locale=C',
      '--encoding=UTF8',
      '--data-checksums',
      '--no-instructions',
    ])
    await rename(passwordFile, join(making, PASSWORD_FILE))
    await rm(dataDir, { recursive: true, force: true }) // empty, see above
    await rename(making, dataDir)
  } finally {
    await rm(passwordFile, { force: true })
    await rm(making, { recursive: true, force: true })
  }
}

export function superuserPassword(dataDir: string): string {
  const file = join(dataDir, PASSWORD_FILE)
  if (!existsSync(file)) {
    throw new DomainError('POSTGRES_DATA_FOLDER', `${dataDir} was not made by countersign: ${file} is missing`)
  }
  return readFileSync(file, 'utf8').trim()
}

/** Makes a data folder that is there fit to be started: 0700, and free of what a server that was killed has left. */
export async function tidy(dataDir: string): Promise<void> {
  await chmod(dataDir, 0o700)
  for (const name of await readdir(dataDir)) {
    if (name.startsWith('.s.PGSQL.')) await rm(join(dataDir, name), { force: true })
  }
  // PostgreSQL sees by itself that the process of a stale postmaster.pid has ended, but not that another has its number.
  // A server whose children still run (their working folder tells) is not dead: then the file must stay.
  const stale = readPostmaster(dataDir)
  if (stale !== undefined && processIdentity(stale.pid) !== undefined && !anyProcessIn(dataDir)) {
    await rm(join(dataDir, 'postmaster.pid'), { force: true })
  }
}

/** @returns the server that runs on the data folder, or undefined; a `postmaster.pid` left behind is seen through */
export function runningPostmaster(dataDir: string): Postmaster | undefined {
  const found = readPostmaster(dataDir)
  if (found === undefined || processIdentity(found.pid) === undefined) return undefined
  if (process.platform !== 'linux') return found
  return workingFolder(found.pid) === realpathSync(dataDir) ? found : undefined
}

/** @returns what `postmaster.pid` says, true or not */
export function readPostmaster(dataDir: string): Postmaster | undefined {
  try {
    const lines = readFileSync(join(dataDir, 'postmaster.pid'), 'utf8').split('\n')
    const pid = Number(lines[0])
    // Negative for a single-user server.
    return Number.isInteger(pid) && pid !== 0
      ? { pid: Math.abs(pid), port: Number(lines[3] ?? 0), ready: lines[7]?.trim() === 'ready' }
      : undefined
  } catch {
    return undefined
  }
}

function anyProcessIn(dataDir: string): boolean {
  if (process.platform !== 'linux') return true
  const folder = realpathSync(dataDir)
  return readdirSync('/proc').some((name) => /^\d+$/.test(name) && workingFolder(Number(name)) === folder)
}

function workingFolder(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`)
  } catch {
    return undefined
  }
}

async function initdb(binaries: Binaries, user: ServerUser | undefined, words: string[]): Promise<void> {
  const [file = '', ...rest] = [...dieWithParent('TERM'), join(binaries.dir, 'initdb'), ...words]
  await promisify(execFile)(file, rest, as(user)).catch((error: Error & { stderr?: string }) => {
    throw new DomainError('POSTGRES_DID_NOT_START', `initdb failed: ${(error.stderr ?? '').trim() || error.message}`)
  })
}

async function own(folder: string, user: ServerUser): Promise<void> {
  await chown(folder, user.uid, user.gid)
  for (const name of await readdir(folder, { recursive: true })) await chown(join(folder, name), user.uid, user.gid)
}

function lastOf(path: string): string {
  return path.slice(dirname(path).length).replace(/^\/+/, '')
}
