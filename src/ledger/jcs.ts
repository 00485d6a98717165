import { DomainError } from '../errors.js'
import {
  beyondSafeIntegers,
  MAX_DEPTH,
  hasLoneSurrogate,
  loneSurrogate,
  negativeZero,
  nulCharacter,
  tooDeep,
} from './json-faults.js'
import { pointerTo } from './pointer.js'

/**
 * Which numbers are taken. `gate`: those that mean the same to every reader, so no -0 and nothing from 2^53 on.
 * `rfc8785`: every finite double, as the RFC itself (its own test vectors hold 1E30); nothing of ours is hashed that way.
 */
type Numbers = 'gate' | 'rfc8785'

/**
 * Canonical JSON (RFC 8785) of plain data: objects, arrays, strings, numbers, booleans, null.
 * Symbol-keyed and non-enumerable members are not JSON's and are not looked at.
 * @param pointerBase JSON pointer of `value` in what the caller sent; errors point below it
 * @throws DomainError JSON_NOT_A_VALUE, JSON_UNSAFE_NUMBER, JSON_TOO_DEEP, JSON_LONE_SURROGATE, JSON_NUL
 */
export function canonicalize(value: unknown, pointerBase = ''): string {
  shared.reset()
  shared.value(value, pointerBase)
  return shared.text()
}

/** The UTF-8 bytes of `canonicalize(value)`. */
export function canonicalBytes(value: unknown, pointerBase = ''): Buffer {
  shared.reset()
  shared.value(value, pointerBase)
  return shared.bytes()
}

/** RFC 8785 without the gate's narrower numbers. */
export function rfc8785(value: unknown): string {
  const writer = new CanonicalWriter('rfc8785')
  writer.value(value, '')
  return writer.text()
}

// What each ASCII character looks like inside a JSON string, where it is not itself: RFC 8785 §3.2.2.2.
const ESCAPES: readonly string[] = Array.from({ length: 128 }, (_, code) => {
  const char = String.fromCharCode(code)
  return code < 0x20 || char === '"' || char === '\\' ? JSON.stringify(char).slice(1, -1) : ''
})
/** By UTF-16 unit: 1 where one byte of the same value does not write it. */
const TAKES_CARE = Uint8Array.from({ length: 1 << 16 }, (_, unit) => (ESCAPES[unit] === '' ? 0 : 1))

const [COMMA, COLON, QUOTE] = [0x2c, 0x3a, 0x22]
const [OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d]

/** Bytes of memory taken at a time: about a hundred events. */
const CHUNK_BYTES = 1 << 16

/**
 * Writes canonical UTF-8 straight into memory, one text after the other. Twice as fast as copying into sorted objects for
 * `JSON.stringify` and encoding the result, and free of that way's traps: a copy puts integer-like keys first and loses
 * `__proto__`.
 */
export class CanonicalWriter {
  private buffer = Buffer.allocUnsafe(CHUNK_BYTES)
  /** Where this text begins; what lies before has been given away. */
  private start = 0
  private at = 0
  private readonly numbers: Numbers

  constructor(numbers: Numbers = 'gate') {
    this.numbers = numbers
  }

  /** Begins a text. */
  reset(): void {
    this.at = this.start
    if (this.buffer.length <= 2 * CHUNK_BYTES) return
    this.buffer = Buffer.allocUnsafe(CHUNK_BYTES) // one large text is no reason to hold on to its memory
    this.start = this.at = 0
  }

  /** What was written since `reset`, never written to again. Texts made together share memory. */
  bytes(): Buffer {
    const bytes = this.buffer.subarray(this.start, this.at)
    this.start = this.at
    return bytes
  }

  /** What was written since `reset`. */
  text(): string {
    return this.buffer.toString('utf8', this.start, this.at)
  }

  /** Writes `ascii` as it stands: punctuation, names and values that need no escaping. */
  raw(ascii: string): void {
    const length = ascii.length
    this.reserve(length)
    const { buffer, at } = this
    for (let i = 0; i < length; i++) buffer[at + i] = ascii.charCodeAt(i)
    this.at = at + length
  }

  /** Turns the first byte of the text into an opening brace. */
  openObject(): void {
    this.buffer[this.start] = OPEN_OBJECT
  }

  /** Writes any JSON value. */
  value(value: unknown, pointer: string): void {
    if (!this.write(value, 0)) throw refusal(value, pointer, this.numbers)
  }

  /** Writes a string with its quotes. */
  string(text: string, pointer: string): void {
    if (!this.quoted(text)) throw refusal(text, pointer, this.numbers)
  }

  private reserve(length: number): void {
    if (this.at + length > this.buffer.length) this.grow(length)
  }

  private grow(length: number): void {
    const written = this.at - this.start
    const larger = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, 2 * (written + length)))
    this.buffer.copy(larger, 0, this.start, this.at)
    this.buffer = larger
    this.start = 0
    this.at = written
  }

  private byte(byte: number): void {
    this.reserve(1)
    this.buffer[this.at++] = byte
  }

  /** @returns false when something in `value` has no canonical form; what was written by then is worthless */
  private write(value: unknown, depth: number): boolean {
    if (typeof value === 'string') return this.quoted(value)
    if (typeof value === 'number') {
      if (!isTaken(value, this.numbers)) return false
      this.raw(String(value)) // ECMAScript's shortest form is RFC 8785's
      return true
    }
    if (typeof value === 'boolean' || value === null) {
      this.raw(String(value))
      return true
    }
    if (typeof value !== 'object' || depth === MAX_DEPTH) return false
    if (Array.isArray(value)) return this.array(value, depth)
    return isPlain(value) && this.object(value, depth)
  }

  private array(items: readonly unknown[], depth: number): boolean {
    this.byte(OPEN_ARRAY)
    for (let i = 0; i < items.length; i++) {
      if (i > 0) this.byte(COMMA)
      if (!this.write(items[i], depth + 1)) return false
    }
    this.byte(CLOSE_ARRAY)
    return true
  }

  private object(object: Record<string, unknown>, depth: number): boolean {
    const keys = Object.keys(object)
    if (keys.length > 1) sortByUtf16(keys)
    this.byte(OPEN_OBJECT)
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i] as string
      if (i > 0) this.byte(COMMA)
      if (!this.quoted(key)) return false
      this.byte(COLON)
      if (!this.write(object[key], depth + 1)) return false
    }
    this.byte(CLOSE_OBJECT)
    return true
  }

  private quoted(text: string): boolean {
    const length = text.length
    this.reserve(length * 6 + 2) // the longest form of one UTF-16 unit is \u00xx
    const buffer = this.buffer
    const at = this.at + 1
    let care = 0
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i)
      buffer[at + i] = unit
      care |= TAKES_CARE[unit] as number
    }
    if (care !== 0) return this.quotedWithCare(text)
    buffer[at - 1] = QUOTE
    buffer[at + length] = QUOTE
    this.at = at + length + 1
    return true
  }

  /** The same for strings with escapes or beyond ASCII; the room is there. */
  private quotedWithCare(text: string): boolean {
    const length = text.length
    const buffer = this.buffer
    let at = this.at
    buffer[at++] = QUOTE
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i)
      if (unit < 0x80) {
        if (TAKES_CARE[unit] === 0) buffer[at++] = unit
        else if (unit === 0) return false
        else at += buffer.write(ESCAPES[unit] as string, at, 'latin1')
      } else if (unit < 0x800) {
        buffer[at++] = 0xc0 | (unit >> 6)
        buffer[at++] = 0x80 | (unit & 0x3f)
      } else if (unit < 0xd800 || unit > 0xdfff) {
        buffer[at++] = 0xe0 | (unit >> 12)
        buffer[at++] = 0x80 | ((unit >> 6) & 0x3f)
        buffer[at++] = 0x80 | (unit & 0x3f)
      } else {
        const low = ++i < length ? text.charCodeAt(i) : 0
        if (unit > 0xdbff || low < 0xdc00 || low > 0xdfff) return false
        const point = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
        buffer[at++] = 0xf0 | (point >> 18)
        buffer[at++] = 0x80 | ((point >> 12) & 0x3f)
        buffer[at++] = 0x80 | ((point >> 6) & 0x3f)
        buffer[at++] = 0x80 | (point & 0x3f)
      }
    }
    buffer[at++] = QUOTE
    this.at = at
    return true
  }
}

const shared = new CanonicalWriter()

/** In place, by UTF-16 code units (RFC 8785 §3.2.3), as `<` compares strings. Few keys, often in order already: insertion. */
function sortByUtf16(keys: string[]): void {
  if (keys.length > 24) {
    keys.sort()
    return
  }
  for (let i = 1; i < keys.length; i++) {
    const key = keys[i] as string
    let j = i - 1
    while (j >= 0 && (keys[j] as string) > key) {
      keys[j + 1] = keys[j] as string
      j--
    }
    keys[j + 1] = key
  }
}

function isPlain(value: object): value is Record<string, unknown> {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function isTaken(value: number, numbers: Numbers): boolean {
  if (numbers === 'rfc8785') return Number.isFinite(value)
  // From 2^53 on every double is an integer, so that the range alone says which are safe; NaN fails both comparisons.
  return value > -(2 ** 53) && value < 2 ** 53 && (value !== 0 || 1 / value > 0)
}

function refusal(value: unknown, pointer: string, numbers: Numbers): Error {
  refuse(value, pointer, 0, numbers)
  return new Error('the canonicaliser stopped at a value that breaks none of its rules')
}

/** The slow way to the same verdict: throws with the place and the rule that the fast walk stopped at. */
function refuse(value: unknown, pointer: string, depth: number, numbers: Numbers): void {
  if (typeof value === 'string') refuseText(value, pointer, 'the string')
  else if (typeof value === 'number') refuseNumber(value, pointer, numbers)
  else if (typeof value === 'object' && value !== null) refuseBelow(value, pointer, depth, numbers)
  else if (typeof value !== 'boolean' && value !== null) {
    throw new DomainError('JSON_NOT_A_VALUE', `JSON has no form for ${typeof value}: leave the member out`, { pointer })
  }
}

function refuseBelow(value: object, pointer: string, depth: number, numbers: Numbers): void {
  if (depth === MAX_DEPTH) throw tooDeep(pointer)
  if (Array.isArray(value)) {
    // By index, because forEach would pass over holes.
    for (let i = 0; i < value.length; i++) refuse(value[i], pointerTo(pointer, i), depth + 1, numbers)
    return
  }
  if (!isPlain(value)) {
    const name: unknown = value.constructor?.name
    const what = typeof name === 'string' && name !== '' ? name : 'this object'
    throw new DomainError('JSON_NOT_A_VALUE', `JSON has no form for ${what}: send a plain object, array or string`, {
      pointer,
    })
  }
  for (const [key, member] of Object.entries(value)) {
    refuseText(key, pointer, 'a member name')
    refuse(member, pointerTo(pointer, key), depth + 1, numbers)
  }
}

function refuseText(text: string, pointer: string, what: string): void {
  if (text.includes('\0')) throw nulCharacter(pointer, what)
  if (hasLoneSurrogate(text)) throw loneSurrogate(pointer, what)
}

function refuseNumber(value: number, pointer: string, numbers: Numbers): void {
  if (Number.isNaN(value) || !Number.isFinite(value)) {
    throw new DomainError('JSON_NOT_A_VALUE', `JSON has no form for ${value}: leave the member out`, { pointer })
  }
  if (isTaken(value, numbers)) return
  throw value === 0 ? negativeZero(pointer) : beyondSafeIntegers(pointer, String(value))
}
