import { sign, type KeyObject } from 'node:crypto'

/** Standard Webhooks 1.0.0: what is signed, and the headers that carry it. Signatures are `v1a`, Ed25519. */

export interface WebhookMessage {
  /** Stays the same however often it is sent; holds no full stop, which separates what is signed. */
  readonly id: string
  /** Of this attempt, in whole seconds since 1970. */
  readonly timestampS: number
  readonly body: Uint8Array
}

/** @param keys the current one first; for a while after a rotation the one before too, so that no receiver is caught out */
export function webhookHeaders(message: WebhookMessage, keys: readonly KeyObject[]): Record<string, string> {
  const { id, timestampS, body } = message
  if (!/^[A-Za-z0-9_-]{1,255}$/.test(id)) throw new RangeError(`no id of a webhook: ${JSON.stringify(id)}`)
  const signed = Buffer.concat([Buffer.from(`${id}.${timestampS}.`), body])
  return {
    'webhook-id': id,
    'webhook-timestamp': String(timestampS),
    'webhook-signature': keys.map((key) => `v1a,${sign(null, signed, key).toString('base64')}`).join(' '),
  }
}

/** A public key as receivers are given it. @param x the 32 bytes of an Ed25519 public key */
export function webhookPublicKey(x: Uint8Array): string {
  return `whpk_${Buffer.from(x).toString('base64')}`
}
