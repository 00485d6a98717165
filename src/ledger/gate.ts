import { isUtf8 } from 'node:buffer'
import { DomainError } from '../errors.js'
import { MAX_DEPTH } from './json-faults.js'
import { numberFault } from './number.js'
import { ReferenceParser } from './reference-parser.js'
import { validUtf8Length } from './utf8.js'

/**
 * The strict gate in front of canonicalisation: JSON as bytes in, value out, the same for every way in. Refused are bad
 * UTF-8, duplicate keys, numbers that a double would change, nesting beyond 64, lone surrogates and U+0000; nothing is
 * rounded, dropped or reordered silently, and `__proto__` is a member like any other.
 * @param pointerBase JSON pointer of the text in what the caller sent; errors point below it
 * @throws DomainError JSON_MALFORMED, JSON_BAD_UTF8, JSON_DUPLICATE_KEY, JSON_UNSAFE_NUMBER, JSON_TOO_DEEP,
 * JSON_LONE_SURROGATE, JSON_NUL
 */
export function parseStrict(bytes: Uint8Array, pointerBase = ''): unknown {
  return parse(asBuffer(bytes), 0, bytes.length, pointerBase, isUtf8(bytes))
}

/** One line of NDJSON. */
export interface Line {
  /** From 1, as editors count; blank lines count. */
  line: number
  /** From 0, blank lines left out: the value's place among the values. */
  index: number
  value: unknown
}

/**
 * NDJSON through the same gate, line by line as the caller asks for them. Lines end with LF, a CR before it is white
 * space, blank lines are skipped.
 * @throws DomainError as `parseStrict` does, with the line in the message, the value's index, and a pointer that begins
 * with that index, as if the values had been sent as an array
 */
export function* parseStrictLines(bytes: Uint8Array, pointerBase = ''): Generator<Line> {
  const buffer = asBuffer(bytes)
  const wholeIsUtf8 = isUtf8(buffer)
  let index = 0
  for (let start = 0, line = 1; start < buffer.length; line++) {
    const newline = buffer.indexOf(LF, start)
    const end = newline < 0 ? buffer.length : newline
    if (!isBlank(buffer, start, end)) {
      const utf8 = wholeIsUtf8 || isUtf8(buffer.subarray(start, end))
      yield { line, index, value: parseLine(buffer, start, end, `${pointerBase}/${index}`, utf8, line, index) }
      index++
    }
    start = end + 1
  }
}

function parseLine(
  b: Buffer,
  start: number,
  end: number,
  at: string,
  utf8: boolean,
  line: number,
  index: number,
): unknown {
  try {
    return parse(b, start, end, at, utf8)
  } catch (error) {
    if (!(error instanceof DomainError)) throw error
    const where = error.pointer === undefined ? { index } : { index, pointer: error.pointer }
    throw new DomainError(error.code, `line ${line}: ${error.message}`, where)
  }
}

const QUOTE = 0x22
const LF = 0x0a
const BACKSLASH = 0x5c

/**
 * The fast way: one look over the bytes for what native parsing would not tell, native parsing, and as many members in the
 * value as colons in the text, else a key stood twice. It takes nothing by itself that the reference parser would
 * refuse; whatever it is not sure of goes there.
 */
function parse(bytes: Buffer, start: number, end: number, pointer: string, utf8: boolean): unknown {
  if (!utf8) return refuseBadUtf8(bytes.subarray(start, end), pointer)
  const text = bytes.toString('utf8', start, end)
  const members = countColons(bytes, start, end)
  if (members !== UNSURE) {
    try {
      const value: unknown = JSON.parse(text)
      if (members < 2 || countMembers(value) === members) return value
    } catch {
      // The reference parser says what is wrong, and where.
    }
  }
  return new ReferenceParser(text, pointer).parse()
}

const UNSURE = -1

/**
 * Counts the colons outside strings of what may be JSON, and looks at nesting, numbers and escapes on the way. Its result
 * means something only once a JSON parser has taken the same bytes.
 * @returns `UNSURE` for what only the reference parser may judge
 */
function countColons(bytes: Uint8Array, start: number, end: number): number {
  let colons = 0
  let depth = 0
  for (let i = start; i < end; i++) {
    const byte = bytes[i] as number
    if (byte === QUOTE) {
      for (i++; i < end && bytes[i] !== QUOTE; i++) {
        if (bytes[i] !== BACKSLASH) continue
        i++
        if (bytes[i] !== 0x75) continue
        i = afterUnicodeEscape(bytes, i)
        if (i === UNSURE) return UNSURE
      }
    } else if (byte === 0x3a) {
      colons++
    } else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > MAX_DEPTH) return UNSURE
    } else if (byte === 0x7d || byte === 0x5d) {
      depth--
    } else if (byte === 0x2d || (byte >= 0x30 && byte <= 0x39)) {
      i = afterNumber(bytes, i, end)
      if (i === UNSURE) return UNSURE
    }
  }
  return colons
}

/** @returns the place of the last digit of the escape whose `u` stands at `at`; UNSURE for U+0000 and lone surrogates */
function afterUnicodeEscape(bytes: Uint8Array, at: number): number {
  const unit = hex4(bytes, at + 1)
  if (unit === 0) return UNSURE
  if (unit < 0xd800 || unit > 0xdfff) return at + 4
  const low = bytes[at + 5] === BACKSLASH && bytes[at + 6] === 0x75 ? hex4(bytes, at + 7) : 0
  return unit < 0xdc00 && low >= 0xdc00 && low <= 0xdfff ? at + 10 : UNSURE
}

function hex4(bytes: Uint8Array, at: number): number {
  let value = 0
  for (let i = at; i < at + 4; i++) {
    const byte = bytes[i] ?? 0
    const digit = byte <= 0x39 ? byte - 0x30 : (byte | 0x20) - 0x57
    if (digit < 0 || digit > 15) return 0 // no escape at all: the same as U+0000, not for the fast way
    value = value * 16 + digit
  }
  return value
}

/** @returns the place of the number's last byte; UNSURE for one that a double may change */
function afterNumber(bytes: Buffer | Uint8Array, at: number, end: number): number {
  let i = at
  let digits = 0
  let exponent = false
  for (; i < end; i++) {
    const byte = bytes[i] as number
    if (byte >= 0x30 && byte <= 0x39) digits++
    else if (byte === 0x65 || byte === 0x45) exponent = true
    else if (byte !== 0x2e && byte !== 0x2b && byte !== 0x2d) break
  }
  // Doubles hold every decimal of up to 15 digits; -0 and whatever else begins so is looked at closely.
  const sure = digits <= 15 && !exponent && !(bytes[at] === 0x2d && bytes[at + 1] === 0x30)
  if (sure) return i - 1
  return numberFault(asBuffer(bytes).toString('latin1', at, i)) === undefined ? i - 1 : UNSURE
}

function countMembers(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  let count = 0
  if (Array.isArray(value)) {
    for (const item of value) if (typeof item === 'object') count += countMembers(item)
    return count
  }
  for (const name in value) {
    count++
    const member = (value as Record<string, unknown>)[name]
    if (typeof member === 'object') count += countMembers(member)
  }
  return count
}

function refuseBadUtf8(bytes: Buffer, pointer: string): never {
  const valid = validUtf8Length(bytes)
  const byte = bytes[valid] ?? 0
  const message = `byte ${valid + 1} (0x${byte.toString(16).padStart(2, '0')}) is not UTF-8: send the text encoded as UTF-8`
  // What comes before may break a rule of its own; where nothing does, the pointer is of what the bad byte stands in.
  new ReferenceParser(bytes.toString('utf8', 0, valid), pointer, (at) => badUtf8(message, at)).parse()
  throw badUtf8(message, pointer)
}

function badUtf8(message: string, pointer: string): DomainError {
  return new DomainError('JSON_BAD_UTF8', message, { pointer })
}

function isBlank(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const byte = bytes[i]
    if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d) return false
  }
  return true
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}
