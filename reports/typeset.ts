import { createRequire } from 'node:module'
import type { Bidi } from 'bidi-js'
import type { Face, Style, Typefaces } from './typeface.js'

/** A stretch of text in one style. Its direction is resolved by itself: neighbours never reorder one another. */
export interface Span {
  text: string
  style: Style
  /** Points. */
  size: number
  color: string
}

/** What is drawn with one font, in visual order from the left. */
export interface Run {
  text: string
  family: string
  size: number
  color: string
  /** Needs the font's shaping (joined letters, marks); the others are set glyph by glyph. */
  shaped: boolean
}

export interface Line {
  runs: Run[]
  /** Points. */
  height: number
}

interface Cluster {
  text: string
  face: Face
  span: Span
  /** Points. */
  advance: number
  shaped: boolean
  /** Right-to-left embedding level (UAX #9): odd runs from the right. */
  level: number
  /** A letter that is written from the right, as against punctuation that stands among such. */
  rightward: boolean
  /** Stands for a character by its number. */
  spelledOut: boolean
  /** How well a line may end after it: 0 only if it must, 1 well, 2 best. */
  breakAfter: 0 | 1 | 2
}

/** For runs that need no shaping: widths then add up character by character. */
export const PLAIN_FEATURES: Record<string, boolean> = {
  kern: false,
  liga: false,
  clig: false,
  calt: false,
  rlig: false,
  ccmp: false,
  locl: false,
  mark: false,
  mkmk: false,
}

// The package is CommonJS, and its types describe another shape.
const bidi = (createRequire(import.meta.url)('bidi-js') as () => Bidi)()

const RIGHT_TO_LEFT = /[\u0590-\u08FF\uFB1D-\uFDFF\uFE70-\uFEFC\u{10800}-\u{10FFF}\u{1E800}-\u{1EFFF}]/u
const PLAIN =
  /^[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\uAC00-\uD7A3\p{Script=Common}]$/u
const MARK = /^\p{M}$/u
const EAST_ASIAN = /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\uAC00-\uD7A3\u3000-\u303F\uFF00-\uFFEF]$/u
const CLOSING = /^[\u3001\u3002\u3009\u300B\u300D\u300F\u3011\uFF01\uFF09\uFF0C\uFF0E\uFF1A\uFF1B\uFF1F]$/u
// What a reader cannot see is shown by its number: controls, direction overrides, zero widths, fillers.
const INVISIBLE = /^[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}]$/u
// Where joiners belong to the spelling: Persian, the scripts of India, Mongolian.
const JOINING =
  /^[\p{Script=Arabic}\p{Script=Syriac}\p{Script=Mongolian}\p{Script=Devanagari}\p{Script=Bengali}\p{Script=Gurmukhi}\p{Script=Gujarati}\p{Script=Oriya}\p{Script=Tamil}\p{Script=Telugu}\p{Script=Kannada}\p{Script=Malayalam}\p{Script=Sinhala}]$/u
const EMOJI = /^\p{Extended_Pictographic}$/u

/**
 * Breaks `spans` into lines of at most `width` points and puts each in visual order.
 * Nothing is dropped: a character that no font has, or that nobody could see, is set as its code point, `[U+1F600]`.
 * @returns at least one line
 */
export function typeset(spans: readonly Span[], width: number, typefaces: Typefaces): Line[] {
  const clusters = spans.flatMap((span) => clustersOf(span, typefaces))
  const lines: Line[] = []
  let start = 0
  while (start < clusters.length) {
    const end = lineEnd(clusters, start, width)
    lines.push(lineOf(clusters.slice(start, end)))
    start = end
  }
  const [first] = spans
  if (lines.length > 0 || !first) return lines
  const [face] = typefaces.chains[first.style]
  if (!face) return lines
  return [{ runs: [run('', face, first, false)], height: face.lineHeight * first.size }]
}

/** How wide `text` is on one line, in points. */
export function widthOf(span: Span, typefaces: Typefaces): number {
  return clustersOf(span, typefaces).reduce((sum, cluster) => sum + cluster.advance, 0)
}

function clustersOf(span: Span, typefaces: Typefaces): Cluster[] {
  const chain = typefaces.chains[span.style]
  const clusters: Cluster[] = []
  let previous = ''
  for (const char of span.text) {
    const last = clusters.at(-1)
    const extending = last !== undefined && extendsCluster(char)
    // What belongs to a character that could not be shown is not shown either.
    const shown = isShown(char, previous) && !(extending && last.spelledOut)
    previous = char
    if (shown && extending && has(last.face, char)) {
      last.text += char
      last.shaped = true
      continue
    }
    const face = shown ? chain.find((face) => has(face, char)) : undefined
    if (face) clusters.push(cluster(char, face, span))
    else clusters.push(codePoint(char, chain, span))
  }
  if (RIGHT_TO_LEFT.test(span.text)) setLevels(clusters)
  measureShaped(clusters)
  return clusters
}

function cluster(char: string, face: Face, span: Span): Cluster {
  const plain = char <= '~' || PLAIN.test(char)
  return {
    text: char,
    face,
    span,
    advance: advance(face, char) * span.size,
    shaped: !plain,
    level: 0,
    rightward: false,
    spelledOut: false,
    breakAfter: breakAfter(char),
  }
}

/** Stays in one piece: half a code point would tell nothing. */
function codePoint(char: string, chain: Face[], span: Span): Cluster {
  const [face] = chain
  if (!face) throw new Error(`the style ${span.style} has no font`)
  const text = `[U+${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`
  const width = Array.from(text).reduce((sum, digit) => sum + advance(face, digit), 0) * span.size
  return { ...cluster('[', face, span), text, advance: width, spelledOut: true, breakAfter: 1 }
}

function isShown(char: string, previous: string): boolean {
  if (char >= ' ' && char <= '~') return true
  if (!INVISIBLE.test(char)) return true
  if (char === '\u200C' || char === '\u200D') return JOINING.test(previous)
  if (char === '\uFE0E' || char === '\uFE0F') return EMOJI.test(previous)
  return false
}

function extendsCluster(char: string): boolean {
  return char > '~' && (MARK.test(char) || char === '\u200C' || char === '\u200D')
}

function has(face: Face, char: string): boolean {
  return advance(face, char) >= 0
}

/** Width at 1 pt, -1 when the font has no such glyph. */
function advance(face: Face, char: string): number {
  const code = char.codePointAt(0) ?? 0
  const known = face.advances.get(code)
  if (known !== undefined) return known
  const { font } = face
  const width = font.hasGlyphForCodePoint(code) ? font.glyphForCodePoint(code).advanceWidth / font.unitsPerEm : -1
  face.advances.set(code, width)
  return width
}

function breakAfter(char: string): 0 | 1 | 2 {
  if (char === ' ' || char === ',' || char === ';') return 2
  if (':/.-_|&?=@}])'.includes(char)) return 1
  return char > '~' && EAST_ASIAN.test(char) ? 2 : 0
}

/** Joined letters are narrower or wider than their isolated forms: measure words as they will be drawn. */
function measureShaped(clusters: Cluster[]): void {
  for (let start = 0; start < clusters.length; start++) {
    const first = clusters[start]
    if (!first?.shaped) continue
    let end = start + 1
    while (clusters[end]?.shaped && clusters[end]?.face === first.face) end += 1
    const word = clusters.slice(start, end)
    const { font } = first.face
    const width = font.layout(word.map(({ text }) => text).join('')).advanceWidth / font.unitsPerEm
    for (const cluster of word) cluster.advance = (width * cluster.span.size) / word.length
    start = end - 1
  }
}

function setLevels(clusters: Cluster[]): void {
  const text = clusters.map((cluster) => cluster.text).join('')
  const { levels } = bidi.getEmbeddingLevels(text, 'ltr')
  let index = 0
  for (const cluster of clusters) {
    cluster.level = levels[index] ?? 0
    const type = bidi.getBidiCharTypeName(cluster.text.charAt(0))
    cluster.rightward = cluster.level % 2 === 1 && (type === 'R' || type === 'AL')
    index += cluster.text.length
  }
}

/** @returns index after the last cluster of the line that begins at `start` */
function lineEnd(clusters: readonly Cluster[], start: number, width: number): number {
  let used = 0
  let [good, best] = [0, 0]
  for (let index = start; index < clusters.length; index++) {
    const cluster = clusters[index]
    if (!cluster) break
    // A space that no longer fits hangs over the margin, where nobody sees it.
    if (used + cluster.advance > width + 0.01 && cluster.text !== ' ' && index > start) {
      return best || good || index
    }
    used += cluster.advance
    const next = clusters[index + 1]
    if (cluster.breakAfter === 0 || (next && CLOSING.test(next.text))) continue
    if (cluster.breakAfter === 2 && used > width * 0.3) best = index + 1
    if (used > width * 0.5) good = index + 1
  }
  return clusters.length
}

function lineOf(clusters: Cluster[]): Line {
  let height = 0
  for (const { face, span } of clusters) height = Math.max(height, face.lineHeight * span.size)
  const pieces = clusters.some(({ level }) => level > 0) ? visualOrder(clusters) : clusters
  const runs: Run[] = []
  let last: Cluster | undefined
  for (const piece of pieces) {
    const { text, face, span, shaped } = piece
    const before = runs.at(-1)
    const joins =
      last && before && last.face === face && sameLook(last.span, span) && last.shaped === shaped && !last.rightward
    if (joins && !piece.rightward) before.text += text
    else runs.push(run(text, face, span, shaped))
    last = piece
  }
  return { runs, height }
}

const sameLook = (a: Span, b: Span) => a === b || (a.size === b.size && a.color === b.color)

const run = (text: string, { family }: Face, { size, color }: Span, shaped: boolean): Run => ({
  text,
  family,
  size,
  color,
  shaped,
})

/**
 * Rules L1, L2 and L4 of UAX #9. Letters written from the right stay together word by word, in logical order: the font turns them
 * round itself. Everything else comes out in the order in which it is drawn.
 */
function visualOrder(line: Cluster[]): Cluster[] {
  const clusters = line.map((cluster) => ({ ...cluster }))
  for (let index = clusters.length - 1; clusters[index]?.text === ' '; index--) {
    const space = clusters[index]
    if (space) space.level = 0
  }
  const atoms: Cluster[] = []
  for (const cluster of clusters) {
    const last = atoms.at(-1)
    if (last?.rightward && cluster.rightward && last.face === cluster.face && last.level === cluster.level) {
      last.text += cluster.text
      continue
    }
    if (cluster.level % 2 === 1 && !cluster.rightward) {
      cluster.text = bidi.getMirroredCharacter(cluster.text) ?? cluster.text
    }
    atoms.push(cluster)
  }
  const highest = Math.max(...atoms.map(({ level }) => level))
  for (let level = highest; level >= 1; level--) {
    for (let start = 0; start < atoms.length; start++) {
      let end = start
      while ((atoms[end]?.level ?? 0) >= level) end += 1
      if (end === start) continue
      atoms.splice(start, end - start, ...atoms.slice(start, end).reverse())
      start = end
    }
  }
  return atoms
}
