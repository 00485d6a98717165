import { randomUUID } from 'node:crypto'
import { link, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError, systemCode } from '../errors.js'
import { parseIdentity, processIdentity, stillRuns } from './process-identity.js'

/** How long a lock file may stay unreadable, between its making and its writing, before it counts as left behind. */
const UNWRITTEN_MS = 5_000
/** A wait shorter than this is not worth a line. */
export const SAY_SO_AFTER_MS = 1_000

/**
 * Runs `work` while holding the lock file `path`. A lock whose process has ended is taken over.
 * @param options.waitMs how long to wait for another holder, in milliseconds
 * @param options.onWait told once, with the other's process id (0 when unknown), when the wait takes more than a second
 * @throws DomainError LOCK_HELD when the other did not let go in time
 */
export async function withLock<T>(
  path: string,
  options: { waitMs: number; onWait?: (pid: number) => void },
  work: () => Promise<T>,
): Promise<T> {
  const mine = JSON.stringify({
    ...(processIdentity(process.pid) ?? { pid: process.pid, started: '' }),
    id: randomUUID(),
  })
  const began = Date.now()
  let told = false
  while (!(await take(path, mine))) {
    const holder = await standingHolder(path)
    if (holder === undefined) continue
    const waitedMs = Date.now() - began
    if (waitedMs > options.waitMs) {
      throw new DomainError('LOCK_HELD', `${path} is held by process ${holder}: wait for it to end, then try again`)
    }
    if (!told && waitedMs > SAY_SO_AFTER_MS) {
      options.onWait?.(holder)
      told = true
    }
    await sleep(50)
  }
  try {
    return await work()
  } finally {
    if ((await content(path)) === mine) await rm(path, { force: true })
  }
}

async function take(path: string, mine: string): Promise<boolean> {
  try {
    await writeFile(path, mine, { flag: 'wx', mode: 0o600 })
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false
    throw error
  }
  return (await content(path)) === mine
}

/** @returns the process that holds the lock (0 when it cannot be told), or undefined when the lock is free to be tried again */
async function standingHolder(path: string): Promise<number | undefined> {
  const seen = await content(path)
  if (seen === undefined) return undefined
  const holder = parseIdentity(seen)
  if (holder !== undefined && stillRuns(holder)) return holder.pid
  if (holder === undefined) {
    const age = await stat(path).then(
      (file) => Date.now() - file.mtimeMs,
      () => undefined,
    )
    if (age === undefined) return undefined
    if (age < UNWRITTEN_MS) return 0
  }
  // Two may find the same lock abandoned. Moving it aside tells whether it is still the one that was looked at.
  const aside = `${path}.${randomUUID()}`
  try {
    await rename(path, aside)
    if ((await content(aside)) !== seen) await link(aside, path)
  } catch (error) {
    if (!['ENOENT', 'EEXIST'].includes(systemCode(error) ?? '')) throw error
  } finally {
    await rm(aside, { force: true })
  }
  return undefined
}

function content(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined)
}
