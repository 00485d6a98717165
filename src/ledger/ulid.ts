import { randomBytes } from 'node:crypto'

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** A ULID: 48 bits of milliseconds, 80 random bits, in Crockford's base 32. Sorts by time, tells nothing else. */
export function ulid(nowMs: number = Date.now()): string {
  let text = ''
  for (let rest = nowMs, digit = 0; digit < 10; digit++, rest = Math.floor(rest / 32))
    text = CROCKFORD.charAt(rest % 32) + text
  let bits = 0n
  for (const byte of randomBytes(10)) bits = (bits << 8n) | BigInt(byte)
  let random = ''
  for (let digit = 0; digit < 16; digit++, bits >>= 5n) random = CROCKFORD.charAt(Number(bits & 31n)) + random
  return text + random
}
