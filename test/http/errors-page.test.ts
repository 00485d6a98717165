import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { findingCodes } from '../../src/ledger/findings.js'
import { meanings } from '../../src/http/problem.js'
import { root } from '../support/root.js'

// The catalogue of errors holds every code that is thrown, and no other; what it says of the API is what the API says.

/** Words in capitals that are no codes of ours: settings, and codes of others. */
const OTHERS =
  /^(COUNTERSIGN_|FST_ERR_|HPE_|ERR_|DATABASE_URL$|PG_VERSION$|XDG_|HIDDEN_|GIT_[A-Z]+_?(DIR|CONFIG)|LC_|LD_|TEMPORAL_(?:ADDRESS|NAMESPACE)|ALLOW_DUPLICATE|USE_EXISTING$)/

function thrown(): Set<string> {
  const codes = new Set(['INTERNAL'])
  for (const folder of ['src', 'reports', 'workflows']) {
    const files = listOf(folder).filter((file) => file.endsWith('.ts'))
    for (const file of files) {
      const text = readFileSync(join(root, folder, file), 'utf8')
      for (const [, code = ''] of text.matchAll(/DomainError\(\s*'([A-Z][A-Z0-9_]*)'/g)) codes.add(code)
      // Comparing with a code is not throwing it.
      for (const [, before = '', code = ''] of text.matchAll(
        /(===\s*|!==\s*|case\s+|)'([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)'/g,
      )) {
        if (before === '' && !OTHERS.test(code) && !isFinding(code)) codes.add(code)
      }
    }
  }
  return codes
}

/** What verification finds is listed on a page of its own; a code that is also thrown says so where it is thrown. */
function isFinding(code: string): boolean {
  return Object.hasOwn(findingCodes, code)
}

function listOf(folder: string): string[] {
  try {
    return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
  } catch {
    return []
  }
}

const rows = readFileSync(join(root, 'docs', 'errors.md'), 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('| `'))
  .map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
const codeOf = (row: readonly string[]) => row[0]?.replaceAll('`', '') ?? ''
const listed = new Set(rows.map(codeOf))

test('every code that is thrown is in the catalogue', () => {
  expect([...thrown()].filter((code) => !listed.has(code)).sort()).toEqual([])
})

test('every code in the catalogue is thrown', () => {
  const codes = thrown()
  expect([...listed].filter((code) => !codes.has(code)).sort()).toEqual([])
})

test('the catalogue tells status, title and advice as the API does', () => {
  const told = rows.filter((row) => row.length === 4 && codeOf(row) !== 'INTERNAL')
  expect(told.map((row) => [codeOf(row), ...row.slice(1)])).toEqual(
    Object.entries(meanings).map(([code, { status, title, help }]) => [code, String(status), title, help]),
  )
})

test('each code stands once', () => {
  expect(listed.size).toBe(rows.length)
})
