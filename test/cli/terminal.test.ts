import { stripVTControlCharacters } from 'node:util'
import { expect, test } from 'vitest'
import { createCli, exitCodeOf, writeError } from '../../src/cli/cli.js'
import { storyOn } from '../../src/cli/story.js'
import { paletteFor, printable, seconds, size, table } from '../../src/cli/terminal.js'
import { DomainError } from '../../src/errors.js'

class Sink {
  text = ''
  readonly isTTY: boolean
  constructor(isTTY = false) {
    this.isTTY = isTTY
  }
  write = (text: string) => {
    this.text += text
  }
  hasColors = () => true
}

test('colours show on a terminal that has them, and nowhere else', () => {
  expect(paletteFor(new Sink(true)).red('no')).toBe('\u001b[31mno\u001b[39m')
  expect(paletteFor(new Sink()).red('no')).toBe('no')
  expect(paletteFor({ write: () => undefined, isTTY: true, hasColors: () => false }).red('no')).toBe('no')
})

test('what comes from outside cannot steer the terminal', () => {
  expect(printable('a\u001b[2Jb\nc\u202ed')).toBe('a\\u001b[2Jb\\u000ac\\u202ed')
  const err = new Sink(true)
  writeError(new Sink(), err, false, new DomainError('X_Y', 'bad \u001b]0;title\u0007', { pointer: '/a\u0007' }))
  expect(err.text).toContain('bad \\u001b]0;title\\u0007 (/a\\u0007)')
})

test('columns are aligned, numbers to the right', () => {
  const paint = paletteFor(new Sink())
  const rows = [
    ['acme', '12', 'x'],
    ['b', '1,200', ''],
  ]
  expect(table([{ head: 'tenant' }, { head: 'n', align: 'right' }, { head: 'last' }], rows, paint)).toBe(
    'tenant      n  last\nacme       12  x\nb       1,200\n',
  )
})

test.each([
  [28, '28 ms'],
  [1_400, '1.4 s'],
  [12_000, '12 s'],
  [200_000, '3 min 20 s'],
])('%d ms are %s', (ms, text) => expect(seconds(ms)).toBe(text))

test.each([
  [850, '850 B'],
  [1_234_567, '1.2 MB'],
  [999_000_000, '999 MB'],
])('%d bytes are %s', (bytes, text) => expect(size(bytes)).toBe(text))

test('a story is aligned in colour as well as without', () => {
  const plain = (coloured: boolean) => {
    const out = new Sink(coloured)
    const story = storyOn(createCli(out, new Sink(), false, new AbortController().signal))
    story.line('API', 'one', 'two')
    story.warning('three')
    return out.text
  }
  expect(plain(false)).toBe('  API           one\n                two\n  Warning       three\n')
  expect(stripVTControlCharacters(plain(true))).toBe(plain(false))
  expect(plain(true)).not.toBe(plain(false))
})

test('with --json nothing but the answer is on standard output, and errors are answers too', () => {
  const [out, err] = [new Sink(), new Sink()]
  const cli = createCli(out, err, true, new AbortController().signal)
  cli.note('on the way')
  cli.result({ a: 1 }, () => 'text')
  expect([out.text, err.text]).toEqual(['{"a":1}\n', ''])
  writeError(out, err, true, new DomainError('EVENT_ID', 'no', { pointer: '/id', index: 2 }))
  expect(JSON.parse(out.text.split('\n')[1] ?? '')).toEqual({
    error: { code: 'EVENT_ID', message: 'no', pointer: '/id', index: 2 },
  })
  expect(err.text).toBe('error EVENT_ID: no (event 2, /id)\n')
})

test.each([
  ['TENANT_UNKNOWN', 2],
  ['EVENT_MEMBER_TYPE', 2],
  ['SUBJECT_UNKNOWN', 2],
  ['DATABASE_UNREACHABLE', 3],
  ['STORE_UNAVAILABLE', 3],
  ['KEY_FILE_MISSING', 3],
  ['PORT_IN_USE', 3],
  ['CONFIG_INVALID', 3],
])('%s ends with %d', (code, exit) => expect(exitCodeOf(new DomainError(code, ''))).toBe(exit))

test('what nobody foresaw could not run', () => {
  expect(exitCodeOf(new TypeError('x is undefined'))).toBe(3)
})
