import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './root.js'

/** A fenced block of a page: the language it names, and what stands in it. */
export interface Fence {
  language: string
  text: string
  /** Line of its first fence, from 1. */
  line: number
}

const ELSEWHERE = new Set(['node_modules', 'dist', '.git', '.countersign'])

/** Every file of the repository, as paths from its root. */
export function repositoryFiles(folder = ''): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`
    if (ELSEWHERE.has(entry.name)) return []
    return entry.isDirectory() ? repositoryFiles(path) : [path]
  })
}

/** Every page of the repository. */
export function pages(): string[] {
  return repositoryFiles()
    .filter((path) => path.endsWith('.md'))
    .sort()
}

export function readPage(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}

export function fencesOf(page: string): Fence[] {
  const found: Fence[] = []
  let open: Fence | undefined
  for (const [index, line] of page.split('\n').entries()) {
    const mark = /^```(\S*)/.exec(line)
    if (open === undefined) {
      if (mark) open = { language: mark[1] ?? '', text: '', line: index + 1 }
    } else if (mark) {
      found.push(open)
      open = undefined
    } else open.text += `${line}\n`
  }
  if (open !== undefined) throw new Error(`the fence in line ${open.line} is not closed`)
  return found
}

/** The anchors of a page's headings, as GitHub makes them. */
export function anchorsOf(page: string): string[] {
  const known = new Map<string, number>()
  return outsideFences(page).flatMap((line) => {
    const heading = /^#{1,6}\s+(.*)$/.exec(line)?.[1]
    if (heading === undefined) return []
    const slug = heading
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\p{M} _-]/gu, '')
      .replaceAll(' ', '-')
    const count = known.get(slug) ?? 0
    known.set(slug, count + 1)
    return [count === 0 ? slug : `${slug}-${count}`]
  })
}

/** Where a page's links and pictures point to, as written. */
export function linksOf(page: string): string[] {
  const text = outsideFences(page)
    .join('\n')
    .replaceAll(/`[^`\n]*`/g, '')
  const inline = [...text.matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g)].map((match) => match[1] ?? '')
  const html = [...text.matchAll(/\b(?:src|href|srcset)="([^"]+)"/g)].map((match) => match[1] ?? '')
  return [...inline, ...html]
}

/** Rows of the tables of a page whose first cell is code, cell by cell. */
export function tableRows(page: string): string[][] {
  return outsideFences(page)
    .filter((line) => /^\| *`/.test(line))
    .map((line) =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
}

function outsideFences(page: string): string[] {
  let inside = false
  return page.split('\n').filter((line) => {
    if (line.startsWith('```')) {
      inside = !inside
      return false
    }
    return !inside
  })
}
