import { spawnSync } from 'node:child_process'
import { lstatSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DomainError } from '../errors.js'

/** Whom the server runs as when we are root: PostgreSQL refuses root, and initdb wants a passwd entry. */
export interface ServerUser {
  name: string
  uid: number
  gid: number
}

const PREFERRED = ['postgres', '_postgres', 'nobody', 'daemon']

/** All that a child of ours gets to see of the environment: no credential of the caller's is among it. */
export const CHILD_ENV = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/bin',
  LC_ALL: 'C',
  TZ: 'UTC',
}

/**
 * @param dataDir a data folder that is there already keeps its owner, so that the same user can open it again without us
 * @returns undefined when we are not root: then the server runs as ourselves
 * @throws DomainError POSTGRES_NO_USER when there is no user to become
 */
export function serverUser(dataDir: string): ServerUser | undefined {
  if (process.getuid?.() !== 0) return undefined
  const users = passwd().filter((user) => user.uid !== 0)
  const owner = ownerOf(dataDir)
  const found =
    users.find((user) => user.uid === owner) ??
    PREFERRED.map((name) => users.find((user) => user.name === name)).find((user) => user !== undefined)
  if (found !== undefined) return found
  throw new DomainError(
    'POSTGRES_NO_USER',
    'PostgreSQL does not run as root, and none of the users ' +
      `${PREFERRED.join(', ')} exists: make one (useradd --system postgres), run as another user, or set DATABASE_URL`,
  )
}

/** @returns true when `user` can reach what lies in `folder`; asked of the system, which knows more than mode bits */
export function canEnter(user: ServerUser, folder: string): boolean {
  return spawnSync('/bin/sh', ['-c', 'cd -- "$0"', folder], { ...as(user), stdio: 'ignore' }).status === 0
}

/** What makes a child run as `user`, in a folder everybody may be in, seeing nothing of our environment. */
export function as(user: ServerUser | undefined): { uid?: number; gid?: number; cwd: string; env: typeof CHILD_ENV } {
  return user === undefined ? { cwd: '/', env: CHILD_ENV } : { uid: user.uid, gid: user.gid, cwd: '/', env: CHILD_ENV }
}

/** @returns the words that make a command get a signal when the thread that spawned it ends, where the system has them */
export function dieWithParent(signal: 'INT' | 'TERM'): string[] {
  setpriv ??= findSetpriv() ?? ''
  return setpriv === '' ? [] : [setpriv, '--pdeathsig', signal]
}
/** Its path; empty where there is none. */
let setpriv: string | undefined

function findSetpriv(): string | undefined {
  if (process.platform !== 'linux') return undefined
  return CHILD_ENV.PATH.split(':')
    .map((folder) => join(folder, 'setpriv'))
    .find((file) => spawnSync(file, ['--pdeathsig', 'INT', 'true'], { ...as(undefined), stdio: 'ignore' }).status === 0)
}

function ownerOf(dataDir: string): number | undefined {
  return statSync(join(dataDir, 'PG_VERSION'), { throwIfNoEntry: false }) === undefined
    ? undefined
    : statSync(dataDir).uid
}

function passwd(): ServerUser[] {
  if (lstatSync('/etc/passwd', { throwIfNoEntry: false }) === undefined) return []
  return readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .filter((fields) => fields.length >= 7)
    .map(([name = '', , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }))
    .filter((user) => Number.isInteger(user.uid) && user.uid >= 0 && user.gid >= 0)
}
