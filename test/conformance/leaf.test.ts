import { createHash, createHmac } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { readLeaf } from '../../src/ledger/entry.js'
import { type Envelope, leafPrefix, leafType, parseEnvelope } from '../../src/ledger/envelope.js'
import { eventBytes, eventText, type Json, type LeafEvent } from '../../src/ledger/event.js'
import { parseStrict } from '../../src/ledger/gate.js'
import { chainHash, ChainHasher, leafHash } from '../../src/ledger/hash.js'
import { canonicalBytes } from '../../src/ledger/jcs.js'
import { readVectors } from './vectors.js'

interface Vectors {
  genesis: string
  entries: { entry: Envelope & { v: 1 }; event: LeafEvent; leaf: string; chainHash: string; leafHash: string }[]
  root: string
  sealed: {
    data: Json
    group: string
    subject: string
    salt: string
    bytes: string
    commit: string
    associatedData: string
  }[]
}
const vectors = readVectors('leaf.json') as Vectors
const bytes = (base64: string): Buffer => Buffer.from(base64, 'base64')

describe('leaves', () => {
  test.each(vectors.entries)('$event.type is written byte by byte', ({ entry, event, leaf }) => {
    const { v: _, ...envelope } = entry
    expect(`${leafPrefix(envelope)}${eventText(event)}}`).toBe(bytes(leaf).toString())
    expect(Buffer.concat([Buffer.from(leafPrefix(envelope)), eventBytes(event), Buffer.from('}')])).toEqual(bytes(leaf))
    expect(canonicalBytes({ entry, event })).toEqual(bytes(leaf))
  })

  test.each(vectors.entries)('$event.type is read back', ({ entry, event, leaf }) => {
    const { v: _, ...envelope } = entry
    expect(parseEnvelope(bytes(leaf))).toEqual(envelope)
    expect(leafType(bytes(leaf))).toBe(event.type)
    expect(readLeaf(bytes(leaf))).toEqual({ entry: envelope, event })
    expect(parseStrict(bytes(leaf))).toEqual({ entry, event })
  })
})

describe('hashes', () => {
  test('leaf hashes and the chain', () => {
    let chain: Buffer = Buffer.from(vectors.genesis, 'hex')
    const hasher = new ChainHasher().from(chain)
    for (const entry of vectors.entries) {
      const leaf = bytes(entry.leaf)
      expect(leafHash(leaf).toString('hex')).toBe(entry.leafHash)
      chain = chainHash(chain, leafHash(leaf))
      expect(chain.toString('hex')).toBe(entry.chainHash)
      hasher.link(Buffer.concat([Buffer.alloc(1), leaf]), 1, leaf.length + 1)
      expect(hasher.leaf.toString('hex')).toBe(entry.leafHash)
      expect(hasher.chain.toString('hex')).toBe(entry.chainHash)
    }
  })

  test('the root of the tree over the leaf hashes', () => {
    /** MTH(D_n) of RFC 9162 §2.1.1, over leaf hashes. */
    const treeHash = (leaves: readonly Buffer[]): Buffer => {
      if (leaves.length === 1) return leaves[0] ?? Buffer.alloc(0)
      const split = 2 ** Math.ceil(Math.log2(leaves.length) - 1)
      const children = [treeHash(leaves.slice(0, split)), treeHash(leaves.slice(split))]
      return createHash('sha256')
        .update(Buffer.from([0x01]))
        .update(Buffer.concat(children))
        .digest()
    }
    expect(treeHash(vectors.entries.map(({ leaf }) => leafHash(bytes(leaf)))).toString('hex')).toBe(vectors.root)
  })
})

test.each(vectors.sealed)('sealed group $group: its bytes, commitment and associated data', (sealed) => {
  const { data, group, subject, salt, commit, associatedData } = sealed
  const canonical = canonicalBytes({ data, group, subject })
  expect(canonical).toEqual(bytes(sealed.bytes))
  expect(createHmac('sha256', bytes(salt)).update(canonical).digest('base64')).toBe(commit)
  expect(canonicalBytes(['acme', subject, group, commit])).toEqual(bytes(associatedData))
  expect(vectors.entries[1]?.event.sealed).toContainEqual({ commit, group, subject })
})
