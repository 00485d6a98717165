import { describe, expect, test } from 'vitest'
import type { DomainError } from '../../src/errors.js'
import { readLeaf } from '../../src/ledger/entry.js'
import {
  checkLeafSize,
  type Envelope,
  envelopeParts,
  leafPrefix,
  leafType,
  MAX_LEAF_BYTES,
  parseEnvelope,
} from '../../src/ledger/envelope.js'
import { eventBytes, eventText, type LeafEvent } from '../../src/ledger/event.js'
import { canonicalize } from '../../src/ledger/jcs.js'

const plain: Envelope = {
  at: '2026-11-20T10:00:00.123Z',
  by: 'service:billing',
  log: '000102030405060708090a0b0c0d0e0f',
  seq: 42,
  tenant: 'acme',
  via: 'token:01JD4T8R2M3N4P5Q6R7S8T9V0W',
}
const ofStream: Envelope = { ...plain, stream: 'change/01J-a_b.c:d@e/f', version: 3 }
const event: LeafEvent = {
  type: 'role.granted',
  trace: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
  targets: [{ type: 'project', id: 'project:9' }, { id: 'a "quoted" é id' }],
  source: { replayable: true, name: 'billing', position: '17/4A', delivery: 'at-least-once' },
  sealed: [{ subject: 'person:01J', group: 'actor', commit: 'R1u1' }],
  schema: 2,
  reason: 'NO_PERMISSION',
  outcome: 'denied',
  occurredAt: '2026-11-21T10:00:00+01:00',
  id: 'evt-1',
  data: { z: 1, '10': 2, '9': { b: 'é', a: [] } },
  cause: 0,
  actor: { type: 'user', id: 'person:01J' },
}
const leafOf = (envelope: Envelope): Buffer => Buffer.from(`${leafPrefix(envelope)}${eventText(event)}}`)

describe('a leaf', () => {
  test.each([
    { what: 'without a stream', envelope: plain, entry: { ...plain, v: 1 } },
    { what: 'of a stream', envelope: ofStream, entry: { ...ofStream, v: 1 } },
  ])('$what is the canonical form of its two members, and reads back', ({ envelope, entry }) => {
    const leaf = leafOf(envelope)
    expect(leaf.toString()).toBe(canonicalize({ event, entry }))
    expect(parseEnvelope(leaf)).toEqual(envelope)
    expect(leafType(leaf)).toBe('role.granted')
    expect(readLeaf(leaf)).toEqual({ entry: envelope, event })
  })

  test('an event written as bytes is its text', () => {
    expect(eventBytes(event).toString()).toBe(eventText(event))
    expect(eventText({ type: 'a.b' })).toBe('{"type":"a.b"}')
  })

  test('what cannot be written is refused with its place', () => {
    const bad = { type: 'a.b', data: { x: [1, Number.NaN] } }
    expect(() => eventText(bad)).toThrow(expect.objectContaining({ code: 'JSON_NOT_A_VALUE', pointer: '/data/x/1' }))
  })

  test('the prefix from its parts is the prefix', () => {
    const { open, afterAt, afterSeq, overhead } = envelopeParts(ofStream)
    expect(open + ofStream.at + afterAt + ofStream.seq + afterSeq).toBe(leafPrefix(ofStream))
    expect(overhead).toBe(leafPrefix({ ...ofStream, seq: Number.MAX_SAFE_INTEGER }).length + 1)
  })

  test.each([
    { name: 'at', value: '2026-11-20T10:00:00Z' },
    { name: 'by', value: 'a"b' },
    { name: 'log', value: 'ABC' },
    { name: 'seq', value: -1 },
    { name: 'seq', value: 1.5 },
    { name: 'tenant', value: 'Acme' },
    { name: 'via', value: '' },
    { name: 'stream', value: 'change' },
    { name: 'stream', value: `change/${'x'.repeat(250)}` },
    { name: 'version', value: 0 },
  ])('$name $value is never written', ({ name, value }) => {
    expect(() => leafPrefix({ ...ofStream, [name]: value })).toThrow(RangeError)
  })

  test('a stream comes with a version', () => {
    expect(() => leafPrefix({ ...plain, stream: 'a/b' })).toThrow(RangeError)
  })

  test('one byte too many is refused, saying how large and the limit', () => {
    const { overhead } = envelopeParts(plain)
    expect(() => checkLeafSize(overhead, MAX_LEAF_BYTES - overhead)).not.toThrow()
    expect(() => checkLeafSize(overhead, MAX_LEAF_BYTES - overhead + 1, { pointer: '/0', index: 0 })).toThrow(
      expect.objectContaining({
        code: 'EVENT_TOO_LARGE',
        message: expect.stringMatching(/65536 bytes.*65535/) as string,
        pointer: '/0',
      }) as DomainError,
    )
  })
})

describe('opening bytes that are not those of a leaf', () => {
  const text = leafOf(ofStream).toString()
  test.each([
    { what: 'empty', leaf: '' },
    { what: 'cut off', leaf: text.slice(0, 60) },
    { what: 'a space', leaf: text.replace('{"entry"', '{ "entry"') },
    { what: 'another version', leaf: text.replace('"v":1', '"v":2') },
    { what: 'two digits of fraction', leaf: text.replace('.123Z', '.12Z') },
    { what: 'a leading zero', leaf: text.replace('"seq":42', '"seq":042') },
    { what: 'a seq beyond 2^53-1', leaf: text.replace('"seq":42', '"seq":9007199254740993') },
    { what: 'a version without its stream', leaf: text.replace('"stream":"change/01J-a_b.c:d@e/f",', '') },
    { what: 'a stream without its version', leaf: text.replace('"version":3,', '') },
    { what: 'a stream that is too long', leaf: text.replace('change/', `change/${'x'.repeat(255)}/`) },
    { what: 'members in another order', leaf: text.replace('"seq":42,', '').replace('"via"', '"seq":42,"via"') },
    { what: 'an escape', leaf: text.replace('service:billing', 'service\\u003abilling') },
  ])('$what', ({ leaf }) => expect(parseEnvelope(Buffer.from(leaf))).toBeUndefined())

  test('the type is read from the end alone', () => {
    expect(leafType(Buffer.from('"type":"a.b"}}'))).toBe('a.b')
    expect(leafType(Buffer.from('"type":"a.b"}} '))).toBeUndefined()
    expect(leafType(Buffer.from(''))).toBeUndefined()
  })
})
