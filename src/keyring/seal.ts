import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { DomainError } from '../errors.js'
import type { SealedGroup } from '../ledger/batch.js'
import type { Json, SealedCommitment } from '../ledger/event.js'
import { canonicalBytes, canonicalize } from '../ledger/jcs.js'
import type { SubjectKey } from './subjects.js'
import { decrypt, encrypt } from './wrap.js'

const SALT_BYTES = 32

/** Bytes of a group's canonical form at most, unless the setting says otherwise. */
export const MAX_GROUP_BYTES = 1024 * 1024

export interface Sealed {
  readonly commitment: SealedCommitment
  readonly group: SealedGroup
}

/** HMAC-SHA-256(salt, bytes): whoever holds value and salt can prove it, the commitment alone tells nothing. */
export function commitmentOf(salt: Uint8Array, bytes: Uint8Array): string {
  return createHmac('sha256', salt).update(bytes).digest('base64')
}

export function groupBytes(group: string, subject: string, data: Json): Buffer {
  return canonicalBytes({ data, group, subject })
}

/**
 * `groupBytes` of a group that may be sealed.
 * @throws DomainError GROUP_TOO_LARGE, and what the gate refuses
 */
export function checkedGroupBytes(group: string, subject: string, data: Json, maxBytes = MAX_GROUP_BYTES): Buffer {
  const bytes = groupBytes(group, subject, data)
  if (bytes.length <= maxBytes) return bytes
  const message = `group ${group} is ${bytes.length} bytes long, and the limit is ${maxBytes}`
  throw new DomainError('GROUP_TOO_LARGE', message)
}

/** Binds a sealed group to its place: moved to another tenant, subject, group or commitment it does not open. */
export function groupData(tenant: string, { subject, group, commit }: SealedCommitment): string {
  return canonicalize([tenant, subject, group, commit])
}

/**
 * Seals one group of personal data: what goes into the leaf, and what is stored beside the log.
 * @throws DomainError GROUP_TOO_LARGE, and what the gate refuses
 */
export function seal(
  tenant: string,
  { subject, generation, key }: SubjectKey,
  group: string,
  data: Json,
  maxBytes?: number,
): Sealed {
  const bytes = checkedGroupBytes(group, subject, data, maxBytes)
  const salt = randomBytes(SALT_BYTES)
  const commitment = { commit: commitmentOf(salt, bytes), group, subject }
  const ciphertext = encrypt(key, Buffer.concat([salt, bytes]), groupData(tenant, commitment))
  return { commitment, group: { group, subject, generation, ciphertext } }
}

export interface Opened {
  readonly data: Json
  /** Base64; with the data it proves the commitment. */
  readonly salt: string
}

/**
 * Opens a sealed group and checks it against the leaf's commitment.
 * @throws DomainError DECRYPTION_FAILED when it is not what was sealed there
 */
export function open(tenant: string, commitment: SealedCommitment, key: Buffer, ciphertext: Buffer): Opened {
  const plain = decrypt(key, ciphertext, groupData(tenant, commitment))
  const salt = plain.subarray(0, SALT_BYTES)
  const bytes = plain.subarray(SALT_BYTES)
  const expected = Buffer.from(commitment.commit, 'base64')
  const actual = Buffer.from(commitmentOf(salt, bytes), 'base64')
  if (expected.length !== actual.length || !timingSafeEqual(expected, actual)) {
    throw new DomainError('DECRYPTION_FAILED', `group ${commitment.group} does not match its commitment`)
  }
  const { data } = JSON.parse(bytes.toString()) as { data: Json }
  return { data, salt: salt.toString('base64') }
}
