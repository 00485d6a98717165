import { hash } from 'node:crypto'
import type { Json, SealedCommitment } from '../ledger/event.js'
import { canonicalize } from '../ledger/jcs.js'

/** Bytes of a payload's canonical JSON at most. */
export const MAX_PAYLOAD_BYTES = 32 * 1024
/** Of the random nonce that keeps a payload from being guessed by its hash. */
export const NONCE_BYTES = 32

/** What people decide on. */
export interface HashedPayload {
  readonly tenant: string
  /** The change's id. */
  readonly change: string
  readonly kind: string
  readonly payload: Json
  /** Personal parts, only as commitments. */
  readonly sealed: readonly SealedCommitment[]
  /** 32 random bytes, base64. */
  readonly nonce: string
}

/** SHA-256 of canonical `{v, tenant, change, kind, payload, sealed, nonce}`, 64 hex digits. */
export function payloadHash({ tenant, change, kind, payload, sealed, nonce }: HashedPayload): string {
  const commitments = sealed.map(({ commit, group, subject }) => ({ commit, group, subject }))
  return hash('sha256', canonicalize({ v: 1, tenant, change, kind, payload, sealed: commitments, nonce }), 'hex')
}
