import type { Content } from 'pdfmake'
import { ACCENT, ADVERSE, MUTED, RULE, STRONG_RULE, thousands } from './pdf-style.js'
import type { Timeline } from './timeline.js'

const AXIS_HEIGHT = 14
const SCALE_WIDTH = 40
const FONT_SIZE = 6.5
/** Points between the middles of two labels, at least. */
const LABEL_EVERY = 62

/** Bars over time as vector drawings, with a legend where something went against. */
export function timelineChart(
  timeline: Timeline,
  width: number,
  height: number,
  words: { readonly none: string; readonly adverse: string },
): Content[] {
  const { bars, undated } = timeline
  if (bars.length === 0) return [{ text: words.none, font: 'text', fontSize: 7.5, color: MUTED }]
  const highest = Math.max(...bars.map(({ rows }) => rows))
  const top = roundUp(highest)
  const plot = { left: SCALE_WIDTH, width: width - SCALE_WIDTH, top: 6, height: height - AXIS_HEIGHT - 6 }
  const bottom = plot.top + plot.height
  const slot = plot.width / bars.length
  const barWidth = Math.min(slot * 0.78, 40)
  const y = (rows: number) => bottom - (rows / top) * plot.height
  const parts: string[] = []
  for (const value of top === 1 ? [0, 1] : [0, top / 2, top]) {
    if (!Number.isInteger(value)) continue
    parts.push(line(plot.left, y(value), plot.left + plot.width, value === 0 ? STRONG_RULE : RULE))
    parts.push(label(plot.left - 6, y(value) + 2.3, thousands(value), 'end'))
  }
  const every = Math.max(1, Math.ceil(LABEL_EVERY / slot))
  for (const [index, { start, rows, adverse }] of bars.entries()) {
    const x = plot.left + index * slot + (slot - barWidth) / 2
    parts.push(rect(x, y(rows), barWidth, y(adverse) - y(rows), ACCENT))
    parts.push(rect(x, y(adverse), barWidth, bottom - y(adverse), ADVERSE))
    if (index % every === 0) parts.push(label(x + barWidth / 2, height - 3, start.replace('T', ' ') + hour(timeline)))
  }
  const notes = []
  if (bars.some(({ adverse }) => adverse > 0))
    notes.push({ text: '■ ', color: ADVERSE, font: 'text' }, `${words.adverse}   `)
  if (undated > 0) notes.push(`${thousands(undated)} without such a time are not in the chart`)
  return [
    {
      svg: `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${points(width)} ${points(height)}">${parts.join('')}</svg>`,
      width,
      font: 'text',
    },
    ...(notes.length === 0
      ? []
      : [{ text: notes, font: 'text', fontSize: FONT_SIZE, color: MUTED, margin: [SCALE_WIDTH, 3, 0, 0] } as Content]),
  ]
}

const hour = ({ unit }: Timeline) => (unit === 'hour' ? ':00' : '')

/** The next number that halves well and reads well. */
function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value))
  return ([1, 1.2, 1.6, 2, 3, 4, 5, 6, 8].find((step) => step * power >= value) ?? 10) * power
}

const points = (value: number) => value.toFixed(2)

function rect(x: number, y: number, width: number, height: number, color: string): string {
  if (height <= 0) return ''
  return `<rect x="${points(x)}" y="${points(y)}" width="${points(width)}" height="${points(height)}" fill="${color}"/>`
}

function line(x1: number, y: number, x2: number, color: string): string {
  return `<line x1="${points(x1)}" y1="${points(y)}" x2="${points(x2)}" y2="${points(y)}" stroke="${color}" stroke-width="0.5"/>`
}

/** Only ever digits and ASCII punctuation. */
function label(x: number, y: number, text: string, anchor = 'middle'): string {
  return `<text x="${points(x)}" y="${points(y)}" text-anchor="${anchor}" font-family="text" font-size="${FONT_SIZE}" fill="${MUTED}">${text}</text>`
}
