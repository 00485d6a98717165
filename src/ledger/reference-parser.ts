import { DomainError } from '../errors.js'
import {
  beyondSafeIntegers,
  hasLoneSurrogate,
  loneSurrogate,
  MAX_DEPTH,
  negativeZero,
  nulCharacter,
  shortened,
  tooDeep,
} from './json-faults.js'
import { numberFault, type NumberFault } from './number.js'
import { pointerTo } from './pointer.js'

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
const WHITE_SPACE = ' \t\n\r'
/** As far as a string goes without an escape. */
// oxlint-disable-next-line no-control-regex -- RFC 8259 §7 names them
const PLAIN_TEXT = /[^"\\\u0000-\u001f]*/y
const HEX4 = /[0-9a-fA-F]{4}/y
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
}

/** Makes the error for what lies at a JSON pointer. */
export type JsonFault = (pointer: string) => DomainError

/**
 * The strict gate, written for the reader: one function per production of RFC 8259, every rule where it applies, the JSON
 * pointer at hand for the error. `parseStrict` comes here with whatever its fast path is not sure of, so that this class
 * alone says what is refused.
 */
export class ReferenceParser {
  private at = 0
  /** Names and indexes from the top to what is being read; only an error makes a pointer of them. */
  private readonly path: (string | number)[] = []
  private readonly text: string
  private readonly base: string
  private readonly atEnd: JsonFault | undefined

  /**
   * @param text what was sent, or as much of it as could be decoded
   * @param base JSON pointer of the text in what the caller sent
   * @param atEnd what to say where the text ends, for one that could only be decoded so far
   */
  constructor(text: string, base: string, atEnd?: JsonFault) {
    this.text = text
    this.base = base
    this.atEnd = atEnd
  }

  /** @throws DomainError JSON_… with the pointer of what breaks the rule */
  parse(): unknown {
    if (this.text.startsWith('\ufeff')) throw this.malformed('a byte order mark stands there: send UTF-8 without it')
    const value = this.value()
    this.skipWhiteSpace()
    if (this.at < this.text.length) throw this.malformed('something follows the value: send one value')
    if (this.atEnd !== undefined) throw this.atEnd(this.pointer())
    return value
  }

  private value(): unknown {
    this.skipWhiteSpace()
    const char = this.text[this.at]
    if (char === '{') return this.object()
    if (char === '[') return this.array()
    if (char === '"') return this.string('the string')
    if (char === 't') return this.literal('true', true)
    if (char === 'f') return this.literal('false', false)
    if (char === 'n') return this.literal('null', null)
    return this.number()
  }

  private object(): Record<string, unknown> {
    const object: Record<string, unknown> = {}
    this.open()
    if (this.take('}')) return object
    for (;;) {
      this.skipWhiteSpace()
      if (this.text[this.at] !== '"') throw this.malformed('a member name in double quotes is missing')
      const name = this.string('a member name')
      this.path.push(name)
      if (Object.hasOwn(object, name)) throw duplicateKey(this.pointer())
      this.skipWhiteSpace()
      if (!this.take(':')) throw this.malformed('a colon is missing after the member name')
      setOwn(object, name, this.value())
      this.skipWhiteSpace()
      const closed = this.take('}')
      if (!closed && !this.take(',')) throw this.malformed('a comma or a closing brace is missing after the member')
      this.path.pop()
      if (closed) return object
    }
  }

  private array(): unknown[] {
    const array: unknown[] = []
    this.open()
    if (this.take(']')) return array
    for (;;) {
      this.path.push(array.length)
      array.push(this.value())
      this.skipWhiteSpace()
      const closed = this.take(']')
      if (!closed && !this.take(',')) throw this.malformed('a comma or a closing bracket is missing after the item')
      this.path.pop()
      if (closed) return array
    }
  }

  /** Steps over an opening brace or bracket: each level of nesting is one step of the path. */
  private open(): void {
    if (this.path.length === MAX_DEPTH) throw tooDeep(this.pointer())
    this.at++
    this.skipWhiteSpace()
  }

  private string(what: string): string {
    this.at++
    const parts: string[] = []
    for (;;) {
      parts.push(this.match(PLAIN_TEXT))
      const char = this.text[this.at]
      if (char === '\\') parts.push(this.escape())
      else if (char === '"') break
      else if (char === undefined) throw this.malformed(`${what} has no closing quote`)
      else throw this.malformed(`${what} holds an unescaped control character: escape it`)
    }
    this.at++
    const text = parts.join('')
    if (text.includes('\0')) throw nulCharacter(this.pointer(), what)
    if (hasLoneSurrogate(text)) throw loneSurrogate(this.pointer(), what)
    return text
  }

  private escape(): string {
    const char = this.text[this.at + 1] ?? ''
    this.at += 2
    if (char === 'u') {
      const hex = this.match(HEX4)
      if (hex === '') throw this.malformed('four hexadecimal digits are missing after \\u')
      return String.fromCharCode(Number.parseInt(hex, 16))
    }
    const escape = Object.hasOwn(ESCAPES, char) ? ESCAPES[char] : undefined
    if (escape === undefined) throw this.malformed('JSON knows no such escape')
    return escape
  }

  private number(): number {
    const token = this.match(NUMBER)
    if (token === '') throw this.malformed('a value is missing, or it is none that JSON knows')
    const fault = numberFault(token)
    if (fault === undefined) return Number(token)
    throw unsafeNumber(this.pointer(), token, fault)
  }

  private literal(word: string, value: boolean | null): boolean | null {
    if (!this.text.startsWith(word, this.at)) throw this.malformed('no value that JSON knows begins like this')
    this.at += word.length
    return value
  }

  private skipWhiteSpace(): void {
    while (WHITE_SPACE.includes(this.text[this.at] ?? 'none')) this.at++
  }

  private take(char: string): boolean {
    if (this.text[this.at] !== char) return false
    this.at++
    return true
  }

  /** Steps over what a sticky pattern matches here, which may be nothing. */
  private match(pattern: RegExp): string {
    pattern.lastIndex = this.at
    const matched = pattern.exec(this.text)?.[0] ?? ''
    this.at += matched.length
    return matched
  }

  private pointer(): string {
    return this.path.reduce<string>(pointerTo, this.base)
  }

  private malformed(message: string): DomainError {
    const pointer = this.pointer()
    const atEnd = this.at >= this.text.length
    if (atEnd && this.atEnd !== undefined) return this.atEnd(pointer)
    const where = atEnd ? 'where the text ends' : `at character ${this.at + 1}`
    return new DomainError('JSON_MALFORMED', `not JSON ${where}: ${message}`, { pointer })
  }
}

function setOwn(object: Record<string, unknown>, name: string, value: unknown): void {
  // Assigned, this one would set the prototype.
  if (name !== '__proto__') object[name] = value
  else Object.defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true })
}

function duplicateKey(pointer: string): DomainError {
  return new DomainError('JSON_DUPLICATE_KEY', 'the member stands twice in its object: send it once', { pointer })
}

function unsafeNumber(pointer: string, token: string, fault: NumberFault): DomainError {
  if (fault === 'negative-zero') return negativeZero(pointer)
  if (fault === 'beyond-safe-integers') return beyondSafeIntegers(pointer, token)
  const message = `${shortened(token)} would be rounded to ${Number(token)}: send that, or the digits as a string`
  return new DomainError('JSON_UNSAFE_NUMBER', message, { pointer })
}
