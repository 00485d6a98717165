import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { Font } from 'fontkit'
import { openSync } from 'fontkit'
import { DomainError } from '../src/errors.js'

/** One font file, as the layout and the PDF know it. */
export interface Face {
  /** Name it is registered under with pdfmake. */
  family: string
  path: string
  /** Which font of a collection (.ttc). */
  postscriptName: string | undefined
  font: Font
  /** Height of a line at 1 pt, and the part of it above the base line. */
  lineHeight: number
  /** Widths at 1 pt by code point, as far as asked for. */
  advances: Map<number, number>
}

export type Style = 'text' | 'bold' | 'mono'

/** For each style the faces in the order in which they are asked for a character. */
export interface Typefaces {
  chains: Record<Style, Face[]>
  faces: Face[]
  /** Digest over the font files: another font may break lines elsewhere. */
  digest: string
}

const DEJAVU = join(dirname(createRequire(import.meta.url).resolve('dejavu-fonts-ttf/package.json')), 'ttf')

/**
 * Opens the fonts that come with the package, and `more`: paths of TrueType or OpenType files, each asked in turn for what
 * the ones before it lack. A font of a collection is named as `path.ttc#PostScriptName`.
 * @throws DomainError REPORT_FONT_UNUSABLE
 */
export function openTypefaces(more: readonly string[]): Typefaces {
  const faces: Face[] = []
  const hash = createHash('sha256')
  const face = (family: string, name: string): Face => {
    const opened = openFace(family, name)
    hash.update(readFileSync(opened.path)).update(name.slice(opened.path.length))
    faces.push(opened)
    return opened
  }
  const text = face('text', join(DEJAVU, 'DejaVuSansCondensed.ttf'))
  const bold = face('bold', join(DEJAVU, 'DejaVuSansCondensed-Bold.ttf'))
  const mono = face('mono', join(DEJAVU, 'DejaVuSansMono.ttf'))
  const wide = face('wide', join(DEJAVU, 'DejaVuSans.ttf'))
  const rest = [wide, ...more.map((name, index) => face(`more-${index}`, name))]
  return {
    chains: { text: [text, ...rest], bold: [bold, text, ...rest], mono: [mono, text, ...rest] },
    faces,
    digest: hash.digest('hex'),
  }
}

function openFace(family: string, name: string): Face {
  const [path = '', postscriptName] = name.split('#', 2)
  try {
    const opened = openSync(path, postscriptName)
    if (!('layout' in opened)) throw new Error(`it is a collection: add #NAME, one of ${namesIn(opened)}`)
    const lineHeight = (opened.ascent - opened.descent) / opened.unitsPerEm
    return { family, path, postscriptName, font: opened, lineHeight, advances: new Map() }
  } catch (error) {
    throw new DomainError(
      'REPORT_FONT_UNUSABLE',
      `the font ${name} cannot be used: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
}

function namesIn(collection: { fonts: { postscriptName: string }[] }): string {
  return collection.fonts.map((font) => font.postscriptName).join(', ')
}
