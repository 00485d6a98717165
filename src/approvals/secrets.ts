import type { Json } from '../ledger/event.js'
import { pointerTo } from '../ledger/pointer.js'

/** Members that hold a secret, by their name. */
const SECRET_NAME =
  /^(?:password|passwd|passphrase|secret|client[-_]?secret|api[-_]?key|access[-_]?key|secret[-_]?key|private[-_]?key|(?:access|refresh|bearer|auth)[-_]?token|token|credentials?)$/i

/** Texts that are a secret, whatever they are called: our tokens, private keys, and what large providers give out. */
const SECRET_TEXT =
  /\bcs_[a-z][a-z0-9-]{1,62}\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])|-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bsk_live_[A-Za-z0-9]{16,}|\bwhsec_[A-Za-z0-9+/=]{24,}/

/**
 * Where in a payload a secret stands in clear: it would stay in the log for good. Secrets are named by reference, an object
 * with one member `ref`.
 * @returns its JSON pointer, undefined where there is none
 */
export function secretIn(value: Json, pointer = ''): string | undefined {
  if (typeof value === 'string') return SECRET_TEXT.test(value) ? pointer : undefined
  if (typeof value !== 'object' || value === null) return undefined
  const members: [string, Json][] = Array.isArray(value)
    ? value.map((each, n) => [String(n), each])
    : Object.entries(value)
  for (const [name, member] of members) {
    const at = pointerTo(pointer, name)
    if (!Array.isArray(value) && SECRET_NAME.test(name) && (typeof member === 'string' || typeof member === 'number')) {
      return at
    }
    const found = secretIn(member, at)
    if (found !== undefined) return found
  }
  return undefined
}
