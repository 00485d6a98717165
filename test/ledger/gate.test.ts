import fc from 'fast-check'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { DomainError } from '../../src/errors.js'
import { parseStrict, parseStrictLines } from '../../src/ledger/gate.js'
import { canonicalize } from '../../src/ledger/jcs.js'
import { ReferenceParser } from '../../src/ledger/reference-parser.js'
import { gateValue } from '../support/json.js'
import { root } from '../support/root.js'

interface Verdict {
  value?: unknown
  code?: string
  pointer?: string | undefined
}

function verdict(parse: () => unknown): Verdict {
  try {
    return { value: parse() }
  } catch (error) {
    if (error instanceof DomainError) return { code: error.code, pointer: error.pointer }
    throw error
  }
}

const gate = (bytes: Uint8Array | string): Verdict =>
  verdict(() => parseStrict(typeof bytes === 'string' ? Buffer.from(bytes) : bytes))
const reference = (text: string): Verdict => verdict(() => new ReferenceParser(text, '').parse())

interface Known {
  json: string
  bytes?: string
  accept?: boolean
  code?: string
  pointer?: string
}
const known = JSON.parse(readFileSync(join(root, 'test/vectors/gate.json'), 'utf8')) as Known[]

describe('known verdicts', () => {
  test.each(known)('$json$bytes', ({ json, bytes, accept, code, pointer }) => {
    const text = bytes === undefined ? Buffer.from(json) : Buffer.from(bytes, 'hex')
    if (accept === true) expect(gate(text)).toEqual({ value: JSON.parse(json) })
    else expect(gate(text)).toEqual({ code, pointer: pointer ?? '' })
  })
})

test('names that JavaScript treats specially are members like any other', () => {
  const value = parseStrict(Buffer.from('{"__proto__":{"x":1},"constructor":2,"10":1,"2":2}')) as object
  expect(Object.getPrototypeOf(value)).toBe(Object.prototype)
  expect(Object.keys(value).sort()).toEqual(['10', '2', '__proto__', 'constructor'])
  const slow = new ReferenceParser('{"__proto__":{"x":1}}', '').parse() as object
  expect(Object.getPrototypeOf(slow)).toBe(Object.prototype)
  expect(Object.keys(slow)).toEqual(['__proto__'])
})

test('errors point below the given base', () => {
  expect(verdict(() => parseStrict(Buffer.from('{"a":[1,-0]}'), '/events/3'))).toEqual({
    code: 'JSON_UNSAFE_NUMBER',
    pointer: '/events/3/a/1',
  })
})

test('megabytes of opening brackets are an error, not an overflow of the stack', () => {
  const opened = '['.repeat(4_000_000)
  expect(gate(opened)).toEqual({ code: 'JSON_TOO_DEEP', pointer: '/0'.repeat(64) })
  expect(gate('{"a":'.repeat(1_000_000))).toEqual({ code: 'JSON_TOO_DEEP', pointer: '/a'.repeat(64) })
})

test('a view into a larger buffer is read alone', () => {
  const bytes = Buffer.from('{"a":1}{"b":2}')
  expect(parseStrict(bytes.subarray(7))).toEqual({ b: 2 })
  expect(parseStrict(new Uint8Array(bytes.buffer, bytes.byteOffset, 7))).toEqual({ a: 1 })
})

describe('the fast way and the reference agree', () => {
  /** JSON texts as others write them: white space, escapes, numbers of every form. */
  const scalar = fc.oneof(
    fc.constantFrom(
      'null',
      'true',
      'false',
      '0',
      '-0',
      '-0.0',
      '-0.5',
      '1e2',
      '1E30',
      '0.1',
      '4.50',
      '1e-7',
      '5e-324',
      '1e400',
      '1e-400',
    ),
    fc.constantFrom(
      '9007199254740991',
      '9007199254740992',
      '-9007199254740993',
      '123456789012345678',
      '0.30000000000000004',
    ),
    fc.constantFrom(
      '0.10000000000000000001',
      '0.1000000000000000055511151231257827',
      '9007199254740991.5',
      '01',
      '1.',
      '.5',
      '+1',
      '1e',
      '- 1',
    ),
    fc.tuple(fc.integer(), fc.nat(), fc.integer({ min: -330, max: 310 })).map(([i, f, e]) => `${i}.${f}e${e}`),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
    fc
      .array(
        fc.constantFrom(
          'a',
          'é',
          '😀',
          '\\n',
          '\\"',
          '\\\\',
          '\\/',
          '\\u0041',
          '\\u0000',
          '\\ud83d',
          '\\ude02',
          '\\uD83D\\uDE02',
          ':',
          '{',
          '\\x',
          '\u007f',
          '\t',
          '\\u00e9',
          '\\uabcg',
          ',',
        ),
        { maxLength: 5 },
      )
      .map((parts) => `"${parts.join('')}"`),
  )
  const name = fc.constantFrom('"a"', '"b"', '"\\u0061"', '"__proto__"', '"1"', '""', '"a:b"', '"\\ud800"', 'a')
  const space = fc.constantFrom('', '', '', ' ', '\n\t', '\r', '\v')
  const text: fc.Arbitrary<string> = fc.letrec<{ text: string }>((tie) => ({
    text: fc.oneof(
      { maxDepth: 4 },
      scalar,
      fc.tuple(fc.array(tie('text'), { maxLength: 4 }), space).map(([items, s]) => `[${s}${items.join(`,${s}`)}]`),
      fc
        .tuple(fc.array(fc.tuple(name, tie('text')), { maxLength: 4 }), space)
        .map(([members, s]) => `{${members.map(([n, v]) => `${s}${n}${s}:${v}`).join(',')}${s}}`),
    ),
  })).text

  test('on texts that break every rule', () => {
    let taken = 0
    fc.assert(
      fc.property(text, (json) => {
        const fast = gate(json)
        expect(fast).toEqual(reference(json))
        if ('value' in fast) taken++
      }),
      { numRuns: 20_000 },
    )
    expect(taken).toBeGreaterThan(1_000)
  })

  test('on texts with a few bytes changed', () => {
    const change = fc.tuple(
      fc.nat(),
      fc.constantFrom(...Buffer.from('{}[]:,"\\u0123456789eE.-+ tn/'), 0x00, 0xff, 0xc3, 0x1f),
    )
    fc.assert(
      fc.property(gateValue, fc.array(change, { maxLength: 3 }), (value, changes) => {
        const bytes = Buffer.from(JSON.stringify(value))
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte
        const fast = gate(bytes)
        const decoded = bytes.toString()
        if (Buffer.from(decoded).equals(bytes)) expect(fast).toEqual(reference(decoded))
        else expect(fast.code).toMatch(/^JSON_/)
      }),
      { numRuns: 20_000 },
    )
  })

  test('on what it takes, with native parsing too; and the canonicaliser takes all of it', () => {
    fc.assert(
      fc.property(gateValue, fc.constantFrom(0, 2), (value, indent) => {
        const json = JSON.stringify(value, null, indent)
        expect(gate(json)).toEqual({ value })
        expect(reference(json)).toEqual({ value })
        expect(gate(canonicalize(value))).toEqual({ value })
      }),
      { numRuns: 2_000 },
    )
  })

  test('on numbers: taken exactly when the decimal value is that of the shortest form', () => {
    // An independent judgement, over integers: token = n / 10^d, shortest form = m / 10^e.
    const ratio = (token: string): [bigint, bigint] => {
      const match = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(token)
      const [, sign = '', integer = '', fraction = '', e = '0'] = match ?? []
      const n = BigInt(integer + fraction) * (sign === '-' ? -1n : 1n)
      const power = Number(e) - fraction.length
      return power >= 0 ? [n * 10n ** BigInt(power), 1n] : [n, 10n ** BigInt(-power)]
    }
    const digits = fc.string({
      unit: fc.constantFrom('0', '1', '2', '3', '4', '5', '6', '7', '8', '9'),
      minLength: 1,
      maxLength: 20,
    })
    const token = fc
      .tuple(fc.constantFrom('', '-'), digits, fc.option(digits), fc.option(fc.integer({ min: -340, max: 320 })))
      .map(([sign, integer, fraction, e]) => {
        const plain = integer.replace(/^0+(?=\d)/, '')
        return sign + plain + (fraction === null ? '' : `.${fraction}`) + (e === null ? '' : `e${e}`)
      })
    fc.assert(
      fc.property(token, (json) => {
        const value = Number(json)
        const safe = Math.abs(value) < 2 ** 53 && !Object.is(value, -0)
        const same = (): boolean => {
          const [[n, d], [m, e]] = [ratio(json), ratio(String(value))]
          return n * e === m * d
        }
        expect('value' in gate(json)).toBe(safe && same())
        expect('value' in gate(`[${json}]`)).toBe(safe && same())
      }),
      { numRuns: 20_000 },
    )
  })
})

describe('NDJSON', () => {
  const lines = (text: string | Buffer): unknown => [...parseStrictLines(Buffer.from(text))]

  test('line by line, blank ones skipped and counted, CR and a missing last LF allowed', () => {
    expect(lines('{"a":1}\r\n\n \t\r\n{"b":"é"}')).toEqual([
      { line: 1, index: 0, value: { a: 1 } },
      { line: 4, index: 1, value: { b: 'é' } },
    ])
    expect(lines('')).toEqual([])
    expect(lines('\n\n')).toEqual([])
    expect(lines('1\n')).toEqual([{ line: 1, index: 0, value: 1 }])
  })

  test.each([
    { text: '{"a":1}\n\n{"a":1,"a":2}\n', code: 'JSON_DUPLICATE_KEY', pointer: '/1/a', line: 3, index: 1 },
    { text: '{"a":"x\n"}', code: 'JSON_MALFORMED', pointer: '/0/a', line: 1, index: 0 },
    { text: '1\n"\\', code: 'JSON_MALFORMED', pointer: '/1', line: 2, index: 1 },
    { text: '"\\u00\n41"', code: 'JSON_MALFORMED', pointer: '/0', line: 1, index: 0 },
    { text: '[1\n2]', code: 'JSON_MALFORMED', pointer: '/0/0', line: 1, index: 0 },
    { text: '{"a":1} {"b":2}', code: 'JSON_MALFORMED', pointer: '/0', line: 1, index: 0 },
  ])('an error in $text names its line and index', ({ text, code, pointer, line, index }) => {
    const message = expect.stringContaining(`line ${line}:`) as string
    expect(() => lines(text)).toThrow(expect.objectContaining({ code, pointer, index, message }))
  })

  test('only the line that is not UTF-8 is refused for it', () => {
    const bytes = Buffer.concat([Buffer.from('{"a":"é"}\n{"b":"'), Buffer.from([0xff]), Buffer.from('"}\n')])
    const iterator = parseStrictLines(bytes)
    expect(iterator.next().value).toEqual({ line: 1, index: 0, value: { a: 'é' } })
    expect(() => iterator.next()).toThrow(expect.objectContaining({ code: 'JSON_BAD_UTF8', pointer: '/1/b' }))
  })
})
