import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { DomainError } from '../errors.js'
import { canonicalize } from '../ledger/jcs.js'
import { currentKey, derive, type Installation } from './installation.js'

const NONCE_BYTES = 12
const TAG_BYTES = 16
const KEY_ID_BYTES = 8

/** AES-256-GCM: nonce (12) | ciphertext | tag (16). */
export function encrypt(key: Uint8Array, plaintext: Uint8Array, associatedData: string): Buffer {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
  cipher.setAAD(Buffer.from(associatedData))
  return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
}

/** @throws DomainError DECRYPTION_FAILED when key, associated data or a byte of it is another */
export function decrypt(key: Uint8Array, sealed: Buffer, associatedData: string): Buffer {
  if (sealed.length < NONCE_BYTES + TAG_BYTES) throw undecipherable()
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
  decipher.setAAD(Buffer.from(associatedData))
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
  try {
    return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()])
  } catch {
    throw undecipherable()
  }
}

const undecipherable = () =>
  new DomainError('DECRYPTION_FAILED', 'this does not open under its key: it was changed, or belongs elsewhere')

/** What a wrapped key is for; moved elsewhere it does not unwrap. */
export interface KeyName {
  readonly tenant: string
  readonly purpose: 'subject' | 'index'
  /** The subject, or the tenant again. */
  readonly id: string
  readonly generation: number
}

const wrapVersion = 0x01

function wrapData({ tenant, purpose, id, generation }: KeyName): string {
  return canonicalize(['wrap', wrapVersion, tenant, purpose, id, generation])
}

/** Wraps under the installation's current key: 0x01 | id of the wrapping key (8) | nonce (12) | ciphertext | tag (16). */
export function wrapKey(installation: Installation, name: KeyName, key: Buffer): Buffer {
  const wrapping = currentKey(installation)
  return Buffer.concat([
    Buffer.from([wrapVersion]),
    Buffer.from(wrapping.id, 'hex'),
    encrypt(wrappingKey(installation, wrapping.id), key, wrapData(name)),
  ])
}

/** @throws DomainError KEY_UNKNOWN when the key file does not hold the wrapping key, DECRYPTION_FAILED */
export function unwrapKey(installation: Installation, name: KeyName, wrapped: Buffer): Buffer {
  if (wrapped[0] !== wrapVersion) throw undecipherable()
  const id = wrapped.subarray(1, 1 + KEY_ID_BYTES).toString('hex')
  return decrypt(wrappingKey(installation, id), wrapped.subarray(1 + KEY_ID_BYTES), wrapData(name))
}

const derived = new WeakMap<Installation, Map<string, Buffer>>()

function wrappingKey(installation: Installation, id: string): Buffer {
  let keys = derived.get(installation)
  if (!keys) derived.set(installation, (keys = new Map<string, Buffer>()))
  let key = keys.get(id)
  if (!key) {
    const root = installation.keys.find((candidate) => candidate.id === id)
    if (!root) throw new DomainError('KEY_UNKNOWN', `the key file does not hold key ${id}, which wraps this`)
    keys.set(id, (key = derive(root, 'wrap')))
  }
  return key
}
