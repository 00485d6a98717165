import { spawn, spawnSync } from 'node:child_process'
import { appendFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { root } from './support/root.js'

let checkout: string
const at = (...path: string[]) => join(checkout, ...path)

/** A checkout with our own `bin/countersign.mjs` and `bin/prepare.mjs`, and an npm and a compiler that note each call. */
beforeEach(async () => {
  checkout = await mkdtemp(join(tmpdir(), 'countersign-bootstrap-'))
  for (const folder of ['bin', 'src', 'npm']) mkdirSync(at(folder))
  for (const file of ['countersign.mjs', 'prepare.mjs']) cpSync(join(root, 'bin', file), at('bin', file))
  writeFileSync(at('package.json'), '{"name":"countersign","type":"module"}')
  writeLock('1.0.0')
  writeFileSync(at('src', 'a.ts'), 'export const a = 1\n')
  writeFileSync(at('src', 'b.ts'), 'export const b = 1\n')
  writeFileSync(
    at('npm', 'npm-cli.js'),
    `import { appendFileSync, cpSync, existsSync, mkdirSync, rmSync } from 'node:fs'
    appendFileSync('calls', 'npm ' + process.argv.slice(2).join(' ') + '\\n')
    if (existsSync('broken')) { console.error('the registry is on fire'); process.exit(1) }
    rmSync('node_modules', { recursive: true, force: true })
    mkdirSync('node_modules')
    cpSync('package-lock.json', 'node_modules/.package-lock.json')`,
  )
  writeFileSync(
    at('bin', 'build.mjs'),
    `import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
    import { recordBuild, sourceFingerprint } from './prepare.mjs'
    appendFileSync('calls', 'build\\n')
    mkdirSync('dist/src/cli', { recursive: true })
    writeFileSync('dist/src/cli/main.js', 'export async function main(words) { console.log("ran", ...words); return 7 }')
    recordBuild(sourceFingerprint())`,
  )
})
afterEach(() => rm(checkout, { recursive: true }))

/** @param version of the one package that this platform needs; another platform's is never installed */
function writeLock(version: string): void {
  const elsewhere = { version: '1.0.0', integrity: 'sha512-b', optional: true, os: ['haiku'] }
  const behindIt = { version: '1.0.0', integrity: 'sha512-c', optional: true }
  const packages = {
    '': {},
    'node_modules/x': { version, integrity: 'sha512-a' },
    'node_modules/y': elsewhere,
    'node_modules/z': behindIt,
  }
  writeFileSync(at('package-lock.json'), JSON.stringify({ lockfileVersion: 3, packages }))
}

/** Runs the command. @returns what it called (npm, the build), its exit code and output */
function countersign(...words: string[]) {
  rmSync(at('calls'), { force: true })
  const run = spawnSync(process.execPath, [at('bin', 'countersign.mjs'), ...words], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'] ?? '', npm_execpath: at('npm', 'npm-cli.js') },
  })
  const calls = existsSync(at('calls')) ? readFileSync(at('calls'), 'utf8').trim().split('\n') : []
  return { calls: calls.map((call) => call.split(' ').slice(0, 2).join(' ')), code: run.status, ...run }
}

test('a fresh checkout is installed and built, and says so; then the command runs with its words and exit code', () => {
  const run = countersign('verify', '--json')
  expect(run.calls).toEqual(['npm ci', 'build'])
  expect(run.stderr).toBe('Installing dependencies (npm ci) …\nBuilding …\n')
  expect(run.stdout).toBe('ran verify --json\n')
  expect(run.code).toBe(7)
})

test('what is up to date is neither installed nor built again', () => {
  countersign()
  const run = countersign('verify')
  expect(run.calls).toEqual([])
  expect(run.stderr).toBe('')
  expect(run.stdout).toBe('ran verify\n')
})

test('an npm ci by hand is enough', () => {
  mkdirSync(at('node_modules'))
  const packages = { 'node_modules/x': { version: '1.0.0', integrity: 'sha512-a' } }
  writeFileSync(at('node_modules', '.package-lock.json'), JSON.stringify({ lockfileVersion: 3, packages }))
  expect(countersign().calls).toEqual(['build'])
})

test.each([
  { change: 'a new version in the lock file', make: () => writeLock('1.0.1'), calls: ['npm ci', 'build'] },
  { change: 'a changed source', make: () => appendFileSync(at('src', 'a.ts'), '// more\n'), calls: ['build'] },
  { change: 'a deleted source', make: () => rmSync(at('src', 'b.ts')), calls: ['build'] },
  { change: 'a deleted build', make: () => rmSync(at('dist'), { recursive: true }), calls: ['build'] },
  { change: 'deleted packages', make: () => rmSync(at('node_modules'), { recursive: true }), calls: ['npm ci'] },
])('$change leads to $calls', ({ make, calls }) => {
  countersign()
  make()
  expect(countersign().calls).toEqual(calls)
})

test('a failed installation is told in full, and tried again the next time', () => {
  writeFileSync(at('broken'), '')
  const run = countersign()
  expect(run.stderr).toContain('the registry is on fire')
  expect(run.stderr).toContain('Installing dependencies (npm ci) failed')
  expect(run.code).toBe(3)
  rmSync(at('broken'))
  expect(countersign().calls).toEqual(['npm ci', 'build'])
})

test('two commands at once install and build once, also after one that was killed', async () => {
  writeFileSync(at('.countersign-preparing'), '2147483000')
  const env = { PATH: process.env['PATH'] ?? '', npm_execpath: at('npm', 'npm-cli.js') }
  const codes = [1, 2, 3].map(
    () =>
      new Promise((done) =>
        spawn(process.execPath, [at('bin', 'countersign.mjs')], { env, stdio: 'ignore' }).once('exit', done),
      ),
  )
  expect(await Promise.all(codes)).toEqual([7, 7, 7])
  expect(readFileSync(at('calls'), 'utf8')).toMatch(/^npm ci .*\nbuild\n$/)
  expect(existsSync(at('.countersign-preparing'))).toBe(false)
})

test('an installed package carries its build, and runs it', () => {
  countersign()
  for (const path of ['src', 'node_modules', 'package-lock.json', 'bin/build.mjs'])
    rmSync(at(path), { recursive: true })
  const run = countersign('verify')
  expect(run.calls).toEqual([])
  expect(run.stdout).toBe('ran verify\n')
})
