import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DomainError } from '../../src/errors.js'
import { canonicalBytes, canonicalize, rfc8785 } from '../../src/ledger/jcs.js'
import { gateValue } from '../support/json.js'
import { plainCanonical } from '../support/rfc8785.js'

function refusal(value: unknown, base?: string): { code: string; pointer: string | undefined } {
  try {
    canonicalize(value, base)
  } catch (error) {
    if (error instanceof DomainError) return { code: error.code, pointer: error.pointer }
    throw error
  }
  throw new Error('it was taken')
}

describe('canonical form', () => {
  test.each([
    { value: { b: 1, a: [true, false, null] }, text: '{"a":[true,false,null],"b":1}' },
    { value: JSON.parse('{"10":1,"2":2,"1":3,"a":4}'), text: '{"1":3,"10":1,"2":2,"a":4}' },
    { value: JSON.parse('{"z":0,"__proto__":{"y":1,"x":2}}'), text: '{"__proto__":{"x":2,"y":1},"z":0}' },
    {
      value: { '\u20ac': 1, '\r': 2, '\ufb33': 3, '\u{1f600}': 4, '\u00f6': 5 },
      text: '{"\\r":2,"ö":5,"€":1,"😀":4,"\ufb33":3}',
    },
    {
      value: '\u20ac$\u000f\nA\'B"\\/\u007f\u2028\b\t\f\r',
      text: '"€$\\u000f\\nA\'B\\"\\\\/\u007f\u2028\\b\\t\\f\\r"',
    },
    {
      value: [0, -1, 4.5, 0.002, 1e-27, 1e-7, 333333333.3333333, 5e-324, 9007199254740991],
      text: '[0,-1,4.5,0.002,1e-27,1e-7,333333333.3333333,5e-324,9007199254740991]',
    },
    { value: [[], {}, ''], text: '[[],{},""]' },
    { value: Object.assign(Object.create(null) as object, { a: 1 }), text: '{"a":1}' },
  ])('$text', ({ value, text }) => {
    expect(canonicalize(value)).toBe(text)
    expect(canonicalBytes(value).toString()).toBe(text)
  })

  test('many keys are in UTF-16 order too', () => {
    const value = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`k${(i * 7919) % 200}`, i]))
    expect(canonicalize(value)).toBe(plainCanonical(value))
  })

  test('a text longer than any buffer kept for it', () => {
    const value = { long: 'é"\u0001😀'.repeat(100_000) }
    expect(canonicalize(value)).toBe(plainCanonical(value))
    expect(canonicalize({ a: 1 })).toBe('{"a":1}')
  })

  test('equals the plain form, and parses back to the same value', () => {
    fc.assert(
      fc.property(gateValue, (value) => {
        const text = canonicalize(value)
        expect(text).toBe(plainCanonical(value))
        expect(JSON.parse(text)).toEqual(value)
        expect(canonicalize(JSON.parse(text))).toBe(text)
      }),
      { numRuns: 2_000 },
    )
  })

  test('the RFC by itself takes every finite number', () => {
    expect(rfc8785([1e30, -0, 2 ** 53])).toBe('[1e+30,0,9007199254740992]')
    expect(() => rfc8785([Number.NaN])).toThrow(DomainError)
  })
})

describe('what has no canonical form', () => {
  const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)])
  const holed = [1]
  holed[2] = 3
  const cyclic: Record<string, unknown> = {}
  cyclic['self'] = cyclic

  test.each([
    { what: 'undefined', value: { a: undefined }, code: 'JSON_NOT_A_VALUE', pointer: '/a' },
    { what: 'a hole in an array', value: { a: holed }, code: 'JSON_NOT_A_VALUE', pointer: '/a/1' },
    { what: 'a function', value: [() => 1], code: 'JSON_NOT_A_VALUE', pointer: '/0' },
    { what: 'a toJSON method', value: { toJSON: () => 1 }, code: 'JSON_NOT_A_VALUE', pointer: '/toJSON' },
    { what: 'a symbol', value: Symbol('s'), code: 'JSON_NOT_A_VALUE', pointer: '' },
    { what: 'a BigInt', value: { a: 1n }, code: 'JSON_NOT_A_VALUE', pointer: '/a' },
    { what: 'NaN', value: { a: { b: Number.NaN } }, code: 'JSON_NOT_A_VALUE', pointer: '/a/b' },
    { what: 'Infinity', value: [Infinity], code: 'JSON_NOT_A_VALUE', pointer: '/0' },
    { what: 'a Date', value: { at: new Date(0) }, code: 'JSON_NOT_A_VALUE', pointer: '/at' },
    { what: 'a Map', value: { at: new Map() }, code: 'JSON_NOT_A_VALUE', pointer: '/at' },
    { what: 'a Buffer', value: { at: Buffer.from('a') }, code: 'JSON_NOT_A_VALUE', pointer: '/at' },
    { what: '-0', value: [-0], code: 'JSON_UNSAFE_NUMBER', pointer: '/0' },
    { what: '2^53', value: { 'a/b~c': 2 ** 53 }, code: 'JSON_UNSAFE_NUMBER', pointer: '/a~1b~0c' },
    { what: '-2^53', value: -(2 ** 53), code: 'JSON_UNSAFE_NUMBER', pointer: '' },
    { what: '1e300', value: 1e300, code: 'JSON_UNSAFE_NUMBER', pointer: '' },
    { what: 'depth 65', value: nested(65), code: 'JSON_TOO_DEEP', pointer: '/0'.repeat(64) },
    { what: 'a cycle', value: cyclic, code: 'JSON_TOO_DEEP', pointer: '/self'.repeat(64) },
    { what: 'a high surrogate alone', value: ['a\ud800'], code: 'JSON_LONE_SURROGATE', pointer: '/0' },
    {
      what: 'a high surrogate before another character',
      value: ['\ud800a'],
      code: 'JSON_LONE_SURROGATE',
      pointer: '/0',
    },
    { what: 'a low surrogate alone', value: ['\udc00'], code: 'JSON_LONE_SURROGATE', pointer: '/0' },
    { what: 'a lone surrogate in a name', value: { a: { '\udfff': 1 } }, code: 'JSON_LONE_SURROGATE', pointer: '/a' },
    { what: 'U+0000', value: { a: 'x\0' }, code: 'JSON_NUL', pointer: '/a' },
    { what: 'U+0000 in a name', value: { '\0': 1 }, code: 'JSON_NUL', pointer: '' },
  ])('$what', ({ value, code, pointer }) => {
    expect(refusal(value)).toEqual({ code, pointer })
    expect(refusal(value, '/events/3').pointer).toBe(`/events/3${pointer}`)
  })

  test('depth 64 is taken', () => {
    expect(canonicalize(nested(64))).toBe(`${'['.repeat(64)}1${']'.repeat(64)}`)
  })

  test('a refusal leaves nothing behind', () => {
    expect(() => canonicalize({ a: [1, undefined] })).toThrow(DomainError)
    expect(canonicalize({ b: 2 })).toBe('{"b":2}')
  })
})
