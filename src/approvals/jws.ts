import { createPublicKey, sign, verify, type KeyObject } from 'node:crypto'

/** JSON Web Signatures in the compact form (RFC 7515), by Ed25519 alone (RFC 8037): what we sign, and nothing else, is read. */

export interface SignedHeader {
  readonly typ: string
  readonly kid: string
}

/** @returns `header.claims.signature` */
export function signCompact({ typ, kid }: SignedHeader, claims: object, key: KeyObject): string {
  const signed = `${encoded({ alg: 'EdDSA', typ, kid })}.${encoded(claims)}`
  return `${signed}.${sign(null, Buffer.from(signed), key).toString('base64url')}`
}

const COMPACT = /^([A-Za-z0-9_-]{1,1024})\.([A-Za-z0-9_-]{1,8192})\.([A-Za-z0-9_-]{86})$/

/**
 * Verifies a text that `signCompact` may have made.
 * @param keys public keys by `kid`, 32 bytes in base64url
 * @returns the claims; undefined for whatever is not signed by one of the keys, in this form, under this `typ`
 */
export function verifyCompact(
  text: string,
  typ: string,
  keys: ReadonlyMap<string, string>,
): { readonly kid: string; readonly claims: Readonly<Record<string, unknown>> } | undefined {
  const [, header = '', claims = '', signature = ''] = COMPACT.exec(text) ?? []
  // The header is one that we write: what names another algorithm, or brings its own key, is not looked at further.
  const { alg, typ: typed, kid, ...others } = decoded(header) ?? {}
  if (alg !== 'EdDSA' || typed !== typ || typeof kid !== 'string' || Object.keys(others).length > 0) return undefined
  const x = keys.get(kid)
  if (x === undefined) return undefined
  const key = createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x } })
  if (!verify(null, Buffer.from(`${header}.${claims}`), key, Buffer.from(signature, 'base64url'))) return undefined
  const read = decoded(claims)
  return read && { kid, claims: read }
}

function encoded(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function decoded(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'))
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined
  } catch {
    return undefined
  }
}
