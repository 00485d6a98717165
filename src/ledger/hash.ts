import { createHash, hash } from 'node:crypto'

/** What the first entry of every log follows: 32 zero bytes. */
export const GENESIS: Buffer = Buffer.alloc(32)

/** Bytes of a SHA-256 digest. */
export const HASH_BYTES = 32

/** SHA-256(0x00 followed by the leaf bytes), RFC 9162 §2.1.1: the chain and the tree share it. */
export function leafHash(leaf: Uint8Array): Buffer {
  return createHash('sha256').update(LEAF_PREFIX).update(leaf).digest()
}

/** SHA-256(previous chain hash followed by the leaf hash), both 32 bytes. */
export function chainHash(previous: Uint8Array, leafHash: Uint8Array): Buffer {
  return createHash('sha256').update(previous).update(leafHash).digest()
}

const LEAF_PREFIX = Buffer.from([0x00])

/**
 * Writes SHA-256 of `input` at `out[at]`: no object per digest, more than 1.7 times as fast as `createHash`.
 * The digest comes back as a latin1 string (`binary` is Node's older name for it), the cheapest form there is.
 */
export function sha256Into(out: Uint8Array, at: number, input: Uint8Array): void {
  const digest = hash('sha256', input, 'binary')
  for (let i = 0; i < HASH_BYTES; i++) out[at + i] = digest.charCodeAt(i)
}

/**
 * Writes the leaf hash of the leaf at `bytes[start, end)` to `out[at]`, in place: **overwrites `bytes[start - 1]`** with the
 * 0x00 that precedes a leaf. Rows on PostgreSQL's wire have a length there: write it after hashing, or read it before.
 * @param start at least 1
 */
export function leafHashInto(out: Uint8Array, at: number, bytes: Buffer, start: number, end: number): void {
  bytes[start - 1] = 0x00
  // Half the price of `bytes.subarray`.
  sha256Into(out, at, new Uint8Array(bytes.buffer, bytes.byteOffset + start - 1, end - start + 1))
}

/**
 * One chain's link after link, without an allocation but the view of the leaf. Many chains may share one hasher: set
 * `previous`, link, read `chain`.
 */
export class ChainHasher {
  /** Previous chain hash, then leaf hash: the input of the next link. */
  private readonly input = Buffer.alloc(2 * HASH_BYTES)
  /** The chain hash after the last link, and the previous one of the next. A view: copy it to keep it. */
  readonly chain: Buffer = this.input.subarray(0, HASH_BYTES)
  /** The leaf hash of the last link. A view: copy it to keep it. */
  readonly leaf: Buffer = this.input.subarray(HASH_BYTES)

  /** Says which chain hash the next link follows. */
  from(previous: Uint8Array): this {
    this.chain.set(previous)
    return this
  }

  /** Links the leaf at `bytes[start, end)`; overwrites `bytes[start - 1]`, see `leafHashInto`. */
  link(bytes: Buffer, start: number, end: number): void {
    leafHashInto(this.input, HASH_BYTES, bytes, start, end)
    sha256Into(this.input, 0, this.input)
  }
}
