import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, normalize } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { changeEventTypes } from '../src/approvals/change.js'
import { settings } from '../src/config.js'
import { host } from '../src/principal.js'
import { createTenant } from '../src/keyring/tenants.js'
import { Appender } from '../src/ledger/appender.js'
import { exportLog } from '../src/ledger/export.js'
import { record } from '../src/ledger/record.js'
import { changeKinds } from '../src/registry.js'
import { countersign } from './support/cli.js'
import { testDatabase } from './support/database.js'
import { anchorsOf, fencesOf, linksOf, pages, readPage, tableRows } from './support/markdown.js'
import { root } from './support/root.js'

let folder: string
/** The commands of the command line. */
let known: Set<string>
beforeAll(async () => {
  const { stdout } = await countersign(['--help'])
  known = new Set([...stdout.matchAll(/^ {2}([a-z-]+) /gm)].map(([, name = '']) => name))
  folder = await mkdtemp(join(tmpdir(), 'countersign-docs-'))
})
afterAll(() => rm(folder, { recursive: true }))

test.each(pages())('the links of %s lead somewhere', (path) => {
  const broken = linksOf(readPage(path)).filter((link) => {
    if (/^[a-z][a-z0-9+.-]*:/.test(link)) return false
    const [file = '', anchor] = link.split('#', 2)
    const target = file === '' ? path : normalize(join(dirname(path), file))
    if (!existsSync(join(root, target))) return true
    return anchor !== undefined && !anchorsOf(readPage(target)).includes(anchor)
  })
  expect(broken).toEqual([])
})

/** All that a page says in code, inline or fenced. */
function codeOf(path: string): string[] {
  const page = readPage(path)
  const inline = [...page.matchAll(/(?<!`)`([^`\n]+)`(?!`)/g)].map(([, code = '']) => code)
  return [...inline, ...fencesOf(page).flatMap(({ text }) => text.split('\n'))]
}

function mentioned(path: string, pattern: RegExp): string[] {
  return codeOf(path).flatMap((code) => [...code.matchAll(pattern)].map(([, found = '']) => found))
}

test.each(pages())('files, scripts, settings and commands that %s names exist', async (path) => {
  const files = mentioned(path, /(?:^|[\s'"(])((?:src|test|bin|bench|docs|migrations|reports)\/[\w./-]*\w)(?!:)\b/g)
  expect(files.filter((file) => !existsSync(join(root, file)) && !existsSync(join(root, `${file}.ts`)))).toEqual([])

  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  const wanted = mentioned(path, /\bnpm (?:run )?([a-z]+(?::[a-z]+)*)/g).filter(
    (name) => !['ci', 'install'].includes(name),
  )
  expect(wanted.filter((name) => !Object.hasOwn(scripts, name))).toEqual([])

  const variables = new Set(Object.values(settings).map(({ variable }) => variable))
  const named = mentioned(path, /(COUNTERSIGN_[A-Z_]+[A-Z])/g).filter((name) => !name.startsWith('COUNTERSIGN_TEST_'))
  expect(named.filter((name) => !variables.has(name as never))).toEqual([])

  const commands = mentioned(path, /(?:\bnpx \.|(?<![\w/])countersign) ([a-z]+(?:-[a-z]+)*)\b/g)
  expect(commands.filter((name) => !known.has(name))).toEqual([])
})

test('the page of changes names every kind of change', () => {
  const named = new Set(codeOf('docs/changes.md'))
  const kinds = changeKinds.names().map((name) => name.replace('.*', '.<system>'))
  expect(kinds.filter((kind) => !named.has(kind))).toEqual([])
})

test('the README lists every command', () => {
  const section = readPage('README.md').split('## Commands')[1]?.split('\n## ')[0] ?? ''
  const listed = tableRows(section).flatMap(([names = '']) =>
    [...names.matchAll(/`([a-z]+(?:-[a-z]+)*)/g)].map(([, name = '']) => name),
  )
  expect([...known].filter((name) => !listed.includes(name))).toEqual(['help'])
})

/** Runs a snippet of a page as a reader would, in a folder of its own. */
function runSnippet(program: string, words: readonly string[], input?: string): { stdout: string; stderr: string } {
  return spawnSync(program, words, { cwd: folder, encoding: 'utf8', ...(input !== undefined && { input }) })
}

function snippet(page: string, language: string, mark: string): { text: string; printed: string } {
  const fences = fencesOf(readPage(page))
  const index = fences.findIndex((fence) => fence.language === language && fence.text.includes(mark))
  const next = fences[index + 1]
  return { text: fences[index]?.text ?? '', printed: next?.language === 'text' ? next.text : '' }
}

const has = (program: string): boolean => spawnSync(program, ['--version']).status === 0

test('the hashes that the page of events recomputes by hand are those of the format', () => {
  const { text, printed } = snippet('docs/events.md', 'sh', 'openssl')
  const frozen = [
    'cfc6e3b886e7678f83143082b8d5c24fe5bfb1798c95d8694a3aa55fb7c3a9cc',
    'dccc87d3b6aceb9efe41eab1fc9eda72d6f604e6eb56d2c1fd02f0b48958ebbe',
  ]
  expect(printed).toBe(`${frozen.join('\n')}\n`)
  if (has('openssl')) expect(runSnippet('sh', ['-e'], text)).toMatchObject({ stdout: printed, stderr: '' })
})

test('a revealed value is proved as the page of events says', () => {
  const { text, printed } = snippet('docs/events.md', 'python', 'revealed')
  expect(printed).toBe('True\n')
  if (has('python3')) expect(runSnippet('python3', ['-'], text)).toMatchObject({ stdout: printed, stderr: '' })
})

test('an export is checked by what the page of events gives, and a changed one is not', async () => {
  const { text } = snippet('docs/events.md', 'python', 'manifest')
  const database = await testDatabase()
  const appender = new Appender(database.db)
  const path = join(folder, 'acme.ndjson')
  let lines = ''
  let last: string
  try {
    await createTenant(database.db, database.installation, 'acme')
    for (let n = 0; n < 3; n++)
      await record(appender, host('acme'), { type: 'docs.checked', data: { n, text: 'Łódź' } })
    const manifest = await exportLog(database.db, 'acme', { fromSeq: 1 }, (text) => void (lines += text))
    last = `${manifest.lastSeq}:${manifest.lastChainHash}`
    await writeFile(`${path}.manifest.json`, JSON.stringify(manifest))
  } finally {
    await appender.close()
    await database.close()
  }
  expect(text).toContain('previousChainHash')
  if (!has('python3')) return
  await writeFile(path, lines)
  expect(runSnippet('python3', ['-', path], text)).toMatchObject({
    stdout: `3 entries hold; the last is ${last}\n`,
    stderr: '',
  })
  const [first = '', ...others] = lines.split('\n')
  const row = JSON.parse(first) as { leaf: string }
  const leaf = Buffer.from(row.leaf, 'base64').toString().replace('"n":0', '"n":1')
  const changed = JSON.stringify({ ...row, leaf: Buffer.from(leaf).toString('base64') })
  await writeFile(path, [changed, ...others].join('\n'))
  expect(runSnippet('python3', ['-', path], text)).toMatchObject({
    stdout: '',
    stderr: expect.stringContaining('entry 1 does not follow') as string,
  })
})

test('the page of events lists every type that the service itself writes', () => {
  const written = new Set<string>(changeEventTypes)
  for (const folder of ['src', 'reports']) {
    for (const file of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts')) continue
      const source = readFileSync(join(root, folder, file), 'utf8')
      const types = source.matchAll(
        /(?:type: |REPORT_GENERATED = |'report\.downloaded'|, )?'((?:[a-z]+(?:-[a-z]+)*\.)+[a-z-]+)'/g,
      )
      for (const [whole, type = ''] of types) if (/type: |= |report\./.test(whole)) written.add(type)
    }
  }
  const listed = tableRows(readPage('docs/events.md').split('## Entries of the service itself')[1] ?? '')
  expect(listed.map(([type = '']) => type.replaceAll('`', '')).sort()).toEqual([...written].sort())
})
