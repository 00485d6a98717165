import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { chainHash, ChainHasher, GENESIS, leafHash, leafHashInto } from '../../src/ledger/hash.js'

const sha256 = (...parts: Uint8Array[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest()

test('a leaf is hashed behind a zero byte', () => {
  // The leaf hash of the empty string, from the Certificate Transparency reference vectors.
  expect(leafHash(Buffer.alloc(0)).toString('hex')).toBe(
    '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  )
})

test('a link covers the previous chain hash and the leaf hash', () => {
  const leaf = leafHash(Buffer.from('leaf'))
  expect(chainHash(GENESIS, leaf)).toEqual(sha256(Buffer.alloc(32), leaf))
})

test('hashing in place gives the same hashes, at any place in a buffer', () => {
  const leaves = ['', 'a', 'x'.repeat(600), 'é'.repeat(2000)].map((text) => Buffer.from(text))
  const hasher = new ChainHasher().from(GENESIS)
  let expected: Buffer = GENESIS
  for (const [i, leaf] of leaves.entries()) {
    const bytes = Buffer.concat([Buffer.alloc(i + 1, 0xff), leaf, Buffer.alloc(3, 0xff)])
    hasher.link(bytes, i + 1, i + 1 + leaf.length)
    expected = chainHash(expected, leafHash(leaf))
    expect(hasher.chain).toEqual(expected)
    expect(hasher.leaf).toEqual(leafHash(leaf))
    expect(bytes.subarray(i + 1, i + 1 + leaf.length)).toEqual(leaf)
    const out = Buffer.alloc(40)
    leafHashInto(out, 4, bytes, i + 1, i + 1 + leaf.length)
    expect(out.subarray(4, 36)).toEqual(leafHash(leaf))
  }
})

test('one hasher serves many chains', () => {
  const hasher = new ChainHasher()
  const one = Buffer.from('\0one')
  const two = Buffer.from('\0two')
  hasher.from(GENESIS).link(one, 1, 4)
  const first = Buffer.from(hasher.chain)
  hasher.from(GENESIS).link(two, 1, 4)
  hasher.from(first).link(two, 1, 4)
  expect(hasher.chain).toEqual(
    chainHash(chainHash(GENESIS, leafHash(Buffer.from('one'))), leafHash(Buffer.from('two'))),
  )
})
