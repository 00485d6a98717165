import type { ContentText } from 'pdfmake/interfaces.js'
import type { Style, Typefaces } from './typeface.js'
import type { Line, Span } from './typeset.js'
import { PLAIN_FEATURES, typeset } from './typeset.js'

/** A4, landscape, in points. */
export const PAGE = { width: 841.89, height: 595.28, left: 44, right: 44, top: 40, bottom: 46 }
export const CONTENT_WIDTH = PAGE.width - PAGE.left - PAGE.right
export const CONTENT_HEIGHT = PAGE.height - PAGE.top - PAGE.bottom

/** Factor on each font's own line height. */
export const LEADING = 1.1

export const INK = '#1c2733'
export const MUTED = '#66727f'
export const RULE = '#d5dbe1'
export const STRONG_RULE = '#8a96a3'
export const ACCENT = '#35597f'
export const PALE = '#e9eef3'
export const ADVERSE = '#a8442f'
export const CAUTION = '#8a5a00'
export const FINE = '#2f6b4f'

export const OUTCOME_COLOURS: Record<string, string> = { success: FINE, failure: CAUTION, denied: ADVERSE }

export function span(text: string, style: Style, size: number, color = INK): Span {
  return { text, style, size, color }
}

/** A text node that consists of exactly these lines. */
export function linesNode(lines: readonly Line[], more: Partial<ContentText> = {}): ContentText {
  const inlines = lines.flatMap(({ runs }) => [
    ...runs.map((run) => ({
      text: run.text,
      font: run.family,
      fontSize: run.size,
      color: run.color,
      preserveLeadingSpaces: true,
      ...(run.shaped ? {} : { fontFeatures: PLAIN_FEATURES }),
      // Lines are broken and put in visual order already: pdfmake does neither for right-to-left text.
      noWrap: true,
      noNewLine: true,
    })),
    { text: '', font: runs[0]?.family, fontSize: 1, lineEnd: true },
  ])
  // `noNewLine` and `lineEnd` are pdfmake's own marks on its inlines, carried over from the node; its types do not list them.
  return { text: inlines, lineHeight: LEADING, ...more } as unknown as ContentText
}

/** Sets `spans` within `width` points. */
export function block(
  spans: readonly Span[],
  width: number,
  typefaces: Typefaces,
  more: Partial<ContentText> & { colSpan?: number } = {},
): ContentText {
  return linesNode(typeset(spans, width, typefaces), more)
}

/** Height of lines as pdfmake will add it up. */
export function heightOf(lines: readonly Line[]): number {
  return lines.reduce((sum, line) => sum + line.height * LEADING, 0)
}

/** `1,234,567` */
export function thousands(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',')
}

/** `1 entry`, `2 entries` */
export function counted(value: number, one: string, many: string): string {
  return `${thousands(value)} ${value === 1 ? one : many}`
}
