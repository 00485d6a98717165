import fc from 'fast-check'
import { expect, test } from 'vitest'
import { span } from '../../reports/pdf-style.js'
import { openTypefaces } from '../../reports/typeface.js'
import { typeset, widthOf } from '../../reports/typeset.js'

const typefaces = openTypefaces([])
const shown = (text: string, width = 10_000) =>
  typeset([span(text, 'text', 8)], width, typefaces).map(({ runs }) => runs.map((run) => run.text).join(''))

test.each([
  { what: 'a character that no font has', text: 'a\u4E2Db', set: 'a[U+4E2D]b' },
  { what: 'one beyond the first plane', text: '\u{1F469}', set: '[U+1F469]' },
  { what: 'a direction override', text: 'abc\u202Edef', set: 'abc[U+202E]def' },
  { what: 'a zero width space', text: 'pay\u200Bpal', set: 'pay[U+200B]pal' },
  { what: 'a control character', text: 'a\tb\u007F', set: 'a[U+0009]b[U+007F]' },
  { what: 'a joiner between Latin letters', text: 'a\u200Db', set: 'a[U+200D]b' },
  { what: 'a family of emoji', text: '\u{1F469}\u200D\u{1F467}', set: '[U+1F469][U+200D][U+1F467]' },
  { what: 'a selector after what could not be shown', text: '\u{1F3F3}\uFE0F', set: '[U+1F3F3][U+FE0F]' },
  { what: 'a tag character', text: 'a\u{E0041}', set: 'a[U+E0041]' },
  { what: 'a letter with a combining accent', text: 'e\u0301', set: 'e\u0301' },
  { what: 'Greek, Cyrillic and a face', text: 'αБ\u{1F600}', set: 'αБ\u{1F600}' },
])('$what', ({ text, set }) => {
  expect(shown(text)).toEqual([set])
})

// Each of them as UAX #9 orders it under a left-to-right line; the words themselves stay in logical order, which the font turns round.
test.each([
  { text: 'see שלום עולם (טוב) 42', runs: ['see 42 (', 'טוב', ') ', 'עולם', ' ', 'שלום'] },
  { text: 'السلام عليكم 123 مرحبا', runs: ['مرحبا', ' 123 ', 'عليكم', ' ', 'السلام'] },
  { text: 'a שלום, עולם! b', runs: ['a ', 'עולם', ' ,', 'שלום', '! b'] },
])('the right-to-left words of "$text" stand in visual order', ({ text, runs }) => {
  const [line] = typeset([span(text, 'text', 8)], 10_000, typefaces)
  expect(line?.runs.map((run) => run.text)).toEqual(runs)
})

test('right-to-left values beside each other keep their places', () => {
  const [line] = typeset(
    [span('"שלום"', 'text', 8), span(',', 'text', 8), span('"עולם"', 'text', 8)],
    10_000,
    typefaces,
  )
  expect(line?.runs.map((run) => run.text)).toEqual(['"', 'שלום', '","', 'עולם', '"'])
})

test('Persian keeps its joiners', () => {
  expect(shown('می\u200Cخواهم')).toEqual(['می\u200Cخواهم'])
})

test('nothing is lost where lines are broken, and no line is too long', () => {
  const text = fc.array(fc.oneof(fc.constantFrom(' ', ',', 'wide', 'α', 'é', '"', '/', '\u{1F469}'), fc.string()), {
    maxLength: 60,
  })
  fc.assert(
    fc.property(text, fc.integer({ min: 60, max: 300 }), (parts, width) => {
      const whole = parts.join('')
      const lines = shown(whole, width)
      expect(lines.join('')).toBe(shown(whole).join(''))
      for (const line of lines)
        expect(widthOf(span(line.trimEnd(), 'text', 8), typefaces)).toBeLessThanOrEqual(width + 0.02)
    }),
  )
})

test('a line is broken after a space or a comma where there is one', () => {
  expect(shown('one two three four', 45)).toEqual(['one two ', 'three four'])
  expect(shown('{"a":1,"b":2,"c":3}', 45)).toEqual(['{"a":1,', '"b":2,"c":3}'])
})

test('a code point is never torn', () => {
  for (const line of shown('\u4E2D'.repeat(20), 61)) expect(line).toMatch(/^(\[U\+4E2D\])+$/)
})

test('empty text is one empty line', () => {
  expect(shown('')).toEqual([''])
})

test('a font that cannot be used is refused by name', () => {
  expect(() => openTypefaces(['/nowhere/font.ttf'])).toThrow(expect.objectContaining({ code: 'REPORT_FONT_UNUSABLE' }))
})
