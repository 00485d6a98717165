import { mkdir, open, readFile, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join, relative } from 'node:path'
import type { Database } from '../db/database.js'
import { DomainError, messageOf, systemCode } from '../errors.js'
import type { Appender } from '../ledger/appender.js'
import { record } from '../ledger/record.js'
import type { Principal } from '../principal.js'
import { readKeyFile, type Installation } from './installation.js'
import { allSigningKeys, stored, type SigningKey } from './signing-key-file.js'
import { actorOf } from './reveal.js'

export interface Backup {
  /** The copy, with its full name. */
  readonly file: string
  readonly keyIds: readonly string[]
  /** Of the tenants' signing keys. */
  readonly signingKeyIds: readonly string[]
  /** The entry of the operator's log that records it. */
  readonly seq: number
}

export interface BackupPlaces {
  readonly keyFile: string
  readonly signingKeysDir: string
  readonly destination: string
  readonly folder?: boolean
  readonly home: string
}

/**
 * Copies the key file and the tenants' signing keys into one file (0600), and puts on record that it was done. That file is
 * a key file again: what it holds more than one is for `restoreKeys`.
 * @param destination a new file, or a folder to make one in; nothing is ever overwritten
 * @param folder makes the destination a folder where nothing is there yet
 * @param home where no backup may lie: it would be lost, or handed on, together with what it is a copy of
 * @throws DomainError KEY_FILE_MISSING, KEY_FILE_FOREIGN, KEY_BACKUP_INSIDE_HOME, OUTPUT_EXISTS, KEY_BACKUP_FAILED
 */
export async function backUpKeyFile(
  { database, appender, installation }: { database: Database; appender: Appender; installation: Installation },
  by: Principal,
  { keyFile, signingKeysDir, destination, folder = false, home }: BackupPlaces,
): Promise<Backup> {
  const content = await readFile(keyFile)
  const present = readKeyFile(keyFile)
  if (present?.id !== installation.id) {
    throw new DomainError('KEY_FILE_FOREIGN', `the key file ${keyFile} is not that of installation ${installation.id}`)
  }
  if (await liesIn(home, destination)) {
    const message = `${destination} lies in the home folder ${home}, which a backup is to survive: name a place outside it`
    throw new DomainError('KEY_BACKUP_INSIDE_HOME', message)
  }
  if (folder) await makeFolder(destination)
  const file = (await isFolder(destination))
    ? join(destination, `countersign-${installation.id.slice(0, 8)}-${basename(keyFile)}`)
    : destination
  const signing = allSigningKeys(signingKeysDir)
  await writeNew(file, signing.size === 0 ? content : withSigningKeys(content, signing))
  const keyIds = present.keys.map(({ id }) => id)
  const signingKeyIds = [...signing.values()].flat().map(({ kid }) => kid)
  const data = { installation: present.id, keys: keyIds, signingKeys: signingKeyIds.length }
  const { seq, at } = await record(appender, by, { type: 'key-file.backed-up', actor: actorOf(by), data })
  const done = { backed_up_key_ids: [...keyIds, ...signingKeyIds], backed_up_at: at }
  await database.keyring.updateTable('installation').set(done).execute()
  return { file, keyIds, signingKeyIds, seq }
}

function withSigningKeys(content: Buffer, signing: ReadonlyMap<string, readonly SigningKey[]>): Buffer {
  const signingKeys = Object.fromEntries([...signing].map(([tenant, keys]) => [tenant, keys.map(stored)]))
  const whole = { ...(JSON.parse(content.toString('utf8')) as object), signingKeys }
  return Buffer.from(`${JSON.stringify(whole, null, 2)}\n`)
}

/** @returns the ids of keys that are in no backup yet, and when the last one was made */
export async function keysNotBackedUp(
  database: Database,
  signingKeysDir: string,
): Promise<{ keyIds: string[]; signingKeyIds: string[]; lastAt: string | undefined }> {
  const row = await database.operator
    .selectFrom('installation')
    .select(['key_ids', 'backed_up_key_ids', 'backed_up_at'])
    .executeTakeFirst()
  const done = new Set(row?.backed_up_key_ids)
  const missing = (ids: readonly string[]) => ids.filter((id) => !done.has(id))
  const signing = [...allSigningKeys(signingKeysDir).values()].flat().map(({ kid }) => kid)
  return {
    keyIds: missing(row?.key_ids ?? []),
    signingKeyIds: missing(signing),
    lastAt: row?.backed_up_at ?? undefined,
  }
}

/** Links on the way are followed, as far as the way is there. */
async function liesIn(folder: string, path: string): Promise<boolean> {
  const way = relative(await realPlace(folder), await realPlace(path))
  return way !== '..' && !way.startsWith('../')
}

async function realPlace(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT' || dirname(path) === path) throw failed(path, error)
    return join(await realPlace(dirname(path)), basename(path))
  }
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw failed(path, error)
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false
    throw failed(path, error)
  }
}

async function writeNew(path: string, content: Buffer): Promise<void> {
  try {
    const file = await open(path, 'wx', 0o600)
    try {
      await file.writeFile(content)
      await file.sync()
    } finally {
      await file.close()
    }
    if (!(await readFile(path)).equals(content)) throw new Error('what was written reads differently')
  } catch (error) {
    if (systemCode(error) === 'EEXIST') {
      throw new DomainError('OUTPUT_EXISTS', `${path} is there already and is not overwritten: name another file`)
    }
    throw failed(path, error)
  }
}

function failed(path: string, error: unknown): DomainError {
  return new DomainError('KEY_BACKUP_FAILED', `the key file could not be copied to ${path}: ${messageOf(error)}`)
}
