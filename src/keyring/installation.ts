import { hkdfSync, randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { DomainError } from '../errors.js'
import type { Credentials, LoginRole } from '../db/database.js'

/**
 * The installation's key file: 0600, outside the database. Losing it loses every sealed value; a copy of the database
 * without it discloses none. The last key wraps what is new, the others still unwrap.
 */
export interface Installation {
  /** 32 hex digits. */
  readonly id: string
  readonly keys: readonly InstallationKey[]
}

export interface InstallationKey {
  /** 16 hex digits, random; names the key in everything it wraps. */
  readonly id: string
  /** 32 random bytes. */
  readonly key: Buffer
}

/** @throws DomainError KEY_FILE_INVALID when the file cannot be understood or others may read it */
export function readKeyFile(path: string): Installation | undefined {
  if (!existsSync(path)) return undefined
  if ((statSync(path).mode & 0o077) !== 0) {
    throw new DomainError('KEY_FILE_INVALID', `the key file ${path} can be read by others; run: chmod 600 ${path}`)
  }
  let parsed: unknown
  try {
    parsed = JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    throw new DomainError('KEY_FILE_INVALID', `the key file ${path} is not JSON`)
  }
  const { installation, keys } = parsed as { installation?: unknown; keys?: unknown }
  if (
    typeof installation !== 'string' ||
    !/^[0-9a-f]{32}$/.test(installation) ||
    !Array.isArray(keys) ||
    keys.length === 0
  ) {
    throw new DomainError('KEY_FILE_INVALID', `the key file ${path} lacks its installation id or its keys`)
  }
  return {
    id: installation,
    keys: keys.map((item: { id?: unknown; key?: unknown }) => {
      const key = typeof item.key === 'string' ? Buffer.from(item.key, 'base64') : Buffer.alloc(0)
      if (typeof item.id !== 'string' || !/^[0-9a-f]{16}$/.test(item.id) || key.length !== 32) {
        throw new DomainError('KEY_FILE_INVALID', `the key file ${path} holds a key that is not {id, key}`)
      }
      return { id: item.id, key }
    }),
  }
}

/** Makes the key file once: of two processes that race, both go on with the winner's. */
export function createKeyFile(path: string): Installation {
  const text = JSON.stringify(
    {
      installation: randomBytes(16).toString('hex'),
      keys: [{ id: randomBytes(8).toString('hex'), key: randomBytes(32).toString('base64') }],
    },
    null,
    2,
  )
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  const file = openSync(draft, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
  writeSync(file, `${text}\n`)
  fsyncSync(file)
  closeSync(file)
  try {
    linkSync(draft, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    unlinkSync(draft)
  }
  const installation = readKeyFile(path)
  if (!installation) throw new Error(`the key file ${path} vanished`)
  return installation
}

export function currentKey(installation: Installation): InstallationKey {
  const key = installation.keys.at(-1)
  if (!key) throw new Error('an installation without keys')
  return key
}

/** A key for one purpose, so that no key serves two (HKDF-SHA-256, RFC 5869). */
export function derive(
  key: InstallationKey,
  label: 'wrap' | 'idempotency' | 'fingerprint' | `login ${LoginRole}`,
): Buffer {
  return Buffer.from(hkdfSync('sha256', key.key, Buffer.alloc(0), `countersign ${label} v1`, 32))
}

/** The login of one role. The passwords follow from the key file, so processes share nothing else. */
export function loginOf(installation: Installation, role: LoginRole): Credentials {
  return {
    user: `countersign_${role}_${installation.id.slice(0, 8)}`,
    password: derive(currentKey(installation), `login ${role}`).toString('base64url'),
  }
}
