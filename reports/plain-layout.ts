import { createRequire } from 'node:module'
import type { Glyph } from 'fontkit'
import { PLAIN_FEATURES } from './typeset.js'

interface Position {
  xAdvance: number
  yAdvance: number
  xOffset: number
  yOffset: number
  advanceWidth: number
}

interface GlyphRun {
  glyphs: Glyph[]
  positions: Position[]
  advanceWidth: number
}

/** As much of pdfkit's font class as is used here. */
interface EmbeddedFont {
  font: { glyphForCodePoint(code: number): Glyph }
  /** From font units to thousandths of a point size. */
  scale: number
  layoutRun: (this: EmbeddedFont, text: string, features?: object) => GlyphRun
}

/**
 * Lets pdfkit set runs that need no shaping glyph by glyph. With every feature of such a run off, the font's shaping engine gives the
 * same glyphs and widths (a test compares the files), but takes half of the time of a long report to do so.
 * @param fontPath any font that pdfkit embeds: it leads to the class
 * @returns puts back what was there
 */
export function speedUpPlainRuns(fontPath: string): () => void {
  const prototype = embeddedFontPrototype(fontPath)
  const shape = prototype.layoutRun
  const known = new WeakMap<EmbeddedFont, Map<string, { glyph: Glyph; position: Position }>>()

  prototype.layoutRun = function layoutRun(this: EmbeddedFont, text: string, features?: object): GlyphRun {
    if (features !== PLAIN_FEATURES) return shape.call(this, text, features)
    let glyphs = known.get(this)
    if (!glyphs) known.set(this, (glyphs = new Map()))
    const run: GlyphRun = { glyphs: [], positions: [], advanceWidth: 0 }
    for (const char of text) {
      let set = glyphs.get(char)
      if (!set) {
        const glyph = this.font.glyphForCodePoint(char.codePointAt(0) ?? 0)
        const xAdvance = glyph.advanceWidth * this.scale
        const position = { xAdvance, yAdvance: 0, xOffset: 0, yOffset: 0, advanceWidth: xAdvance }
        glyphs.set(char, (set = { glyph, position }))
      }
      run.glyphs.push(set.glyph)
      run.positions.push(set.position)
      run.advanceWidth += set.position.xAdvance
    }
    return run
  }
  return () => {
    prototype.layoutRun = shape
  }
}

function embeddedFontPrototype(fontPath: string): EmbeddedFont {
  // pdfmake's own copy of pdfkit, wherever it was installed.
  const fromPdfmake = createRequire(createRequire(import.meta.url).resolve('pdfmake'))
  const Document = fromPdfmake('pdfkit') as new (options: object) => { font(path: string): { _font: EmbeddedFont } }
  const document = new Document({ autoFirstPage: false, font: null })
  const { ['_font']: font } = document.font(fontPath)
  return Object.getPrototypeOf(font) as EmbeddedFont
}
