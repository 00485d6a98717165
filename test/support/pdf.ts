import { inflateSync } from 'node:zlib'

/** As much of a PDF as tests look at: written by the same library, so no general reader is needed. */
export interface ReadPdf {
  /** Text of each page, one line per drawn stretch of text, in the order of drawing. */
  pages: string[]
  info: Record<string, string>
  source: string
}

export function readPdf(bytes: Buffer): ReadPdf {
  const source = bytes.toString('latin1')
  const objects = new Map<string, string>()
  for (const [, id = '', body = ''] of source.matchAll(/^(\d+) 0 obj\n([\s\S]*?)\nendobj/gm)) objects.set(id, body)
  const stream = (id: string) => {
    const body = objects.get(id) ?? ''
    const raw = Buffer.from(body.slice(body.indexOf('stream\n') + 7, body.lastIndexOf('\nendstream')), 'latin1')
    return body.includes('/FlateDecode') ? inflateSync(raw) : raw
  }
  const fonts = new Map<string, string[]>()
  const pages: string[] = []
  for (const id of pageIds(objects)) {
    const page = objects.get(id) ?? ''
    const resources = objects.get(/\/Resources (\d+) 0 R/.exec(page)?.[1] ?? '') ?? page
    const names = new Map<string, string[]>()
    for (const [, name = '', font = ''] of resources.matchAll(/\/(F\d+) (\d+) 0 R/g)) {
      const toUnicode = /\/ToUnicode (\d+) 0 R/.exec(objects.get(font) ?? '')?.[1]
      if (toUnicode === undefined) continue
      if (!fonts.has(font)) fonts.set(font, characters(stream(toUnicode).toString('latin1')))
      names.set(name, fonts.get(font) ?? [])
    }
    const contents = /\/Contents (\d+) 0 R/.exec(page)?.[1] ?? ''
    pages.push(text(stream(contents).toString('latin1'), names))
  }
  return { pages, info: info(source, objects), source }
}

function pageIds(objects: Map<string, string>): string[] {
  const tree = [...objects.values()].find((body) => /\/Type \/Pages\b/.test(body)) ?? ''
  const kids = /\/Kids \[([^\]]*)\]/.exec(tree)?.[1] ?? ''
  return [...kids.matchAll(/(\d+) 0 R/g)].map(([, id = '']) => id)
}

function characters(cmap: string): string[] {
  const glyphs: string[] = []
  for (const [, start = '', list = ''] of cmap.matchAll(/<([0-9a-f]+)> <[0-9a-f]+> \[((?:<[0-9a-f ]*>\s*)+)\]/g)) {
    const codes = [...list.matchAll(/<([0-9a-f ]*)>/g)]
    for (const [index, [, units = '']] of codes.entries()) {
      const numbers = units.split(' ').filter(Boolean)
      glyphs[parseInt(start, 16) + index] = String.fromCharCode(...numbers.map((unit) => parseInt(unit, 16)))
    }
  }
  return glyphs
}

function text(content: string, fonts: Map<string, string[]>): string {
  let glyphs: string[] = []
  const lines: string[] = []
  for (const [, font, shown] of content.matchAll(/\/(F\d+) [\d.]+ Tf|\[((?:<[0-9a-f]*> ?-?[\d.]*\s*)+)\] TJ/g)) {
    if (font !== undefined) glyphs = fonts.get(font) ?? []
    else if (shown !== undefined) {
      const codes = [...shown.matchAll(/<([0-9a-f]*)>/g)].map(([, hex = '']) => hex).join('')
      lines.push((codes.match(/.{4}/g) ?? []).map((code) => glyphs[parseInt(code, 16)] ?? '\uFFFD').join(''))
    }
  }
  return lines.join('\n')
}

function info(source: string, objects: Map<string, string>): Record<string, string> {
  const body = objects.get(/\/Info (\d+) 0 R/.exec(source)?.[1] ?? '') ?? ''
  const read: Record<string, string> = {}
  for (const [, name = '', id = ''] of body.matchAll(/\/(\w+) (\d+) 0 R/g)) {
    read[name] = (objects.get(id) ?? '').replace(/^\(|\)$/g, '')
  }
  return read
}
