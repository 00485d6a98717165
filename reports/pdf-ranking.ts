import type { Content } from 'pdfmake'
import type { Ranking } from './ranking.js'
import {
  ACCENT,
  CONTENT_WIDTH,
  INK,
  MUTED,
  OUTCOME_COLOURS,
  PALE,
  block,
  counted,
  span,
  thousands,
} from './pdf-style.js'
import type { Typefaces } from './typeface.js'
import { widthOf } from './typeset.js'

export const COLUMN_GAP = 30
/** Of three columns beside each other. */
export const THIRD = (CONTENT_WIDTH - 2 * COLUMN_GAP) / 3

/**
 * Names with their counts and bars, the highest first.
 * @param words what rows without a name are, and what the names are
 */
export function rankingOf(
  title: string,
  words: { readonly notGiven: string; readonly names: string; readonly rows: readonly [one: string, many: string] },
  { shown, more }: Ranking,
  rows: number,
  typefaces: Typefaces,
): Content[] {
  const highest = Math.max(...shown.map((item) => item.rows))
  const items = shown.map((item): Content => {
    const count = `${thousands(item.rows)}  ${percent(item.rows, rows)}`
    const countWidth = widthOf(span(count, 'text', 7.5), typefaces) + 8
    const name = item.name === null ? span(words.notGiven, 'text', 7.5, MUTED) : span(item.name, 'text', 7.5)
    const color = (item.name !== null && OUTCOME_COLOURS[item.name]) || ACCENT
    return {
      unbreakable: true,
      stack: [
        {
          columns: [
            { width: '*', ...block([name], THIRD - countWidth, typefaces) },
            { width: 'auto', ...block([span(count, 'text', 7.5, MUTED)], countWidth, typefaces) },
          ],
          columnGap: 0,
        },
        bar(item.rows / highest, color),
      ],
      margin: [0, 0, 0, 4.5],
    }
  })
  const rest =
    more &&
    `and ${more.atLeast ? 'at least ' : ''}${thousands(more.names)} more ${words.names} with ${counted(more.rows, ...words.rows)}`
  return [
    heading(title, THIRD, typefaces),
    ...items,
    ...(rest === null ? [] : [block([span(rest, 'text', 7.5, MUTED)], THIRD, typefaces)]),
  ]
}

function bar(share: number, color: string): Content {
  const width = Math.max(0.75, THIRD * share).toFixed(2)
  return {
    svg: `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${THIRD.toFixed(2)} 3.5"><rect width="${THIRD.toFixed(2)}" height="3.5" fill="${PALE}"/><rect width="${width}" height="3.5" fill="${color}"/></svg>`,
    width: THIRD,
    margin: [0, 1.5, 0, 0],
  }
}

export function heading(text: string, width: number, typefaces: Typefaces): Content {
  return block([span(text, 'bold', 9, INK)], width, typefaces, { margin: [0, 0, 0, 6] })
}

/** Rounded, but never to 0 or to 100 where that is not so. */
function percent(part: number, whole: number): string {
  const value = (100 * part) / whole
  if (value < 0.1) return '<0.1 %'
  if (part < whole && value > 99.9) return '>99.9 %'
  return `${value.toFixed(1)} %`
}
