import { relative } from 'node:path'

/** Where a command writes: answers to standard output, everything said on the way to standard error. */
export interface Stream {
  write: (text: string) => unknown
  isTTY?: boolean
  columns?: number
  hasColors?: () => boolean
}

export type Paint = (text: string) => string

export interface Palette {
  bold: Paint
  dim: Paint
  red: Paint
  green: Paint
  yellow: Paint
  cyan: Paint
}

/** Colours only where a terminal shows them; NO_COLOR and TERM=dumb are honoured by `hasColors`. */
export function paletteFor(stream: Stream): Palette {
  const coloured = stream.isTTY === true && stream.hasColors?.() === true
  const paint =
    (open: number, close: number): Paint =>
    (text) =>
      coloured && text !== '' ? `\u001b[${open}m${text}\u001b[${close}m` : text
  return {
    bold: paint(1, 22),
    dim: paint(2, 22),
    red: paint(31, 39),
    green: paint(32, 39),
    yellow: paint(33, 39),
    cyan: paint(36, 39),
  }
}

/**
 * What comes from outside may hold bytes that steer a terminal: they are shown as escapes instead. Line feeds too, so
 * that one value stays on one line.
 */
export function printable(text: string): string {
  return text.replace(
    // eslint-disable-next-line no-control-regex
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

export interface Column {
  head: string
  align?: 'right'
}

/** Rows under their heads, two blanks between columns; the last column may be as long as it likes. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], paint: Palette): string {
  const widths = columns.map(({ head }, n) => Math.max(head.length, ...rows.map((row) => (row[n] ?? '').length)))
  const line = (cells: readonly string[]) =>
    columns
      .map(({ align }, n) => {
        const cell = cells[n] ?? ''
        const width = widths[n] ?? 0
        if (align === 'right') return cell.padStart(width)
        return n === columns.length - 1 ? cell : cell.padEnd(width)
      })
      .join('  ')
      .trimEnd()
  const lines = [paint.dim(line(columns.map(({ head }) => head))), ...rows.map((row) => line(row))]
  return `${lines.join('\n')}\n`
}

/** `name   value` lines, names padded to the longest. */
export function fields(pairs: readonly (readonly [string, string])[], paint: Palette, indent = ''): string {
  const width = Math.max(...pairs.map(([name]) => name.length))
  return pairs.map(([name, value]) => `${indent}${paint.dim(name.padEnd(width))}  ${value}\n`).join('')
}

/** 12,345 */
export function thousands(count: number): string {
  return Math.round(count).toLocaleString('en-US')
}

/** `1 entry`, `2,000 entries` */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${thousands(count)} ${count === 1 ? one : many}`
}

/** `28 ms`, `1.4 s`, `12 s`, `3 min 20 s` */
export function seconds(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)} ms`
  if (ms < 9_950) return `${(ms / 1000).toFixed(1)} s`
  const whole = Math.round(ms / 1000)
  return whole < 90 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`
}

/** `850 B`, `1.2 MB` */
export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit += 1
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit] ?? ''}`
}

/** A path as one would type it here. */
export function shortPath(path: string): string {
  const short = relative(process.cwd(), path)
  return short.startsWith('..') || short === '' ? path : short
}
