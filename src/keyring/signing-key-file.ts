import { createPrivateKey, generateKeyPairSync, hash, randomBytes, type KeyObject } from 'node:crypto'
import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { DomainError } from '../errors.js'

/**
 * A tenant's private signing keys: one file a tenant, 0600, outside the database. What they signed can be checked for ever,
 * because their public halves stand in the tenant's log; without the file nothing new is signed until they are rotated.
 */
export interface SigningKey {
  /** Thumbprint of the public key (RFC 7638), 43 characters: what names it everywhere. */
  readonly kid: string
  /** The public key, 32 bytes. */
  readonly x: Buffer
  /** The private key, 32 bytes. */
  readonly d: Buffer
}

/** A key as the file writes it, both halves in base64url as in a JWK. */
export interface StoredKey {
  readonly kid: string
  readonly x: string
  readonly d: string
}

export function newSigningKey(): SigningKey {
  const { x = '', d = '' } = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })
  return {
    kid: thumbprint(Buffer.from(x, 'base64url')),
    x: Buffer.from(x, 'base64url'),
    d: Buffer.from(d, 'base64url'),
  }
}

/** RFC 7638: SHA-256 of the required members of the JWK, in order. @param x the 32 bytes of an Ed25519 public key */
export function thumbprint(x: Uint8Array): string {
  const members = JSON.stringify({ crv: 'Ed25519', kty: 'OKP', x: Buffer.from(x).toString('base64url') })
  return hash('sha256', members, 'base64url')
}

export function privateKeyOf({ x, d }: SigningKey): KeyObject {
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: x.toString('base64url'), d: d.toString('base64url') }
  return createPrivateKey({ format: 'jwk', key: jwk })
}

/**
 * The keys of a tenant's file, oldest first; none where there is no file.
 * @throws DomainError SIGNING_KEY_FILE_INVALID when it cannot be understood or others may read it
 */
export function readSigningKeys(folder: string, tenant: string): SigningKey[] {
  const path = fileOf(folder, tenant)
  if (!existsSync(path)) return []
  if ((statSync(path).mode & 0o077) !== 0) throw invalid(path, `can be read by others; run: chmod 600 ${path}`)
  let parsed: unknown
  try {
    parsed = JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    throw invalid(path, 'is not JSON')
  }
  const { tenant: named, keys } = parsed as { tenant?: unknown; keys?: unknown }
  if (named !== tenant || !Array.isArray(keys) || keys.length === 0)
    throw invalid(path, `is not that of tenant ${tenant}`)
  return keys.map((each: Partial<Record<keyof StoredKey, unknown>> | null) => {
    const [x, d] = [bytesOf(each?.x), bytesOf(each?.d)]
    if (x.length !== 32 || d.length !== 32 || each?.kid !== thumbprint(x)) {
      throw invalid(path, 'holds a key that is not {kid, x, d}')
    }
    return { kid: each.kid, x, d }
  })
}

/** Puts a tenant's file in the place of the one before, so that a reader meets the one or the other. */
export function writeSigningKeys(folder: string, tenant: string, keys: readonly SigningKey[]): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const path = fileOf(folder, tenant)
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  const file = openSync(draft, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
  try {
    writeSync(file, `${JSON.stringify({ tenant, keys: keys.map(stored) }, null, 2)}\n`)
    fsyncSync(file)
    renameSync(draft, path)
  } catch (error) {
    unlinkSync(draft)
    throw error
  } finally {
    closeSync(file)
  }
  const place = openSync(folder, constants.O_RDONLY)
  try {
    fsyncSync(place)
  } finally {
    closeSync(place)
  }
}

/** Every tenant's file in the folder. */
export function allSigningKeys(folder: string): ReadonlyMap<string, readonly SigningKey[]> {
  if (!existsSync(folder)) return new Map()
  const tenants = readdirSync(folder).flatMap((file) => /^([a-z][a-z0-9-]{1,62})\.json$/.exec(file)?.[1] ?? [])
  return new Map(tenants.sort().map((tenant) => [tenant, readSigningKeys(folder, tenant)]))
}

export function stored({ kid, x, d }: SigningKey): StoredKey {
  return { kid, x: x.toString('base64url'), d: d.toString('base64url') }
}

function fileOf(folder: string, tenant: string): string {
  return join(folder, `${tenant}.json`)
}

function bytesOf(text: unknown): Buffer {
  return typeof text === 'string' ? Buffer.from(text, 'base64url') : Buffer.alloc(0)
}

function invalid(path: string, what: string): DomainError {
  return new DomainError('SIGNING_KEY_FILE_INVALID', `the file of signing keys ${path} ${what}`)
}
