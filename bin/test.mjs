#!/usr/bin/env node
// Runs the tests: all of them on the embedded PostgreSQL, and those that meet the database once more on
// TEST_DATABASE_URL or on another PostgreSQL of this machine, where there is one. Arguments go on to vitest.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { prepare, root, run } from './prepare.mjs'

const words = process.argv.slice(2)
const conformance = words.includes('--conformance')
const passed = words.filter((word) => word !== '--conformance')
const vectors = join(dirname(root), 'shared', 'vectors')
const results = join(root, 'dist', '.test-results')

if (conformance && !existsSync(vectors)) {
  process.stdout.write(`No conformance tests were run: the third-party vectors are not at ${vectors}\n`)
  process.exit(process.env.CI === 'true' ? 1 : 0)
}
await prepare()
rmSync(results, { recursive: true, force: true })
mkdirSync(results, { recursive: true })

let code = 0
if (conformance) {
  code = await vitest('conformance', ['dist/test/conformance', ...passed])
} else {
  code = await vitest('embedded', ['--exclude', 'dist/test/conformance/**', ...passed])
  if (code === 0) code = await secondServer()
}
summarise()
process.exit(code)

/** The same SQL has to work from PostgreSQL 15 on: the tests that meet the database meet an older one too. */
async function secondServer() {
  const server = process.env.TEST_DATABASE_URL ?? (await oldestLocal())
  if (server === undefined) {
    process.stdout.write('No second PostgreSQL on this machine, and TEST_DATABASE_URL is not set: ran on one server\n')
    return 0
  }
  const filters = passed.filter((word) => /^[\w./-]+$/.test(word) && !word.startsWith('-'))
  const files = databaseTests().filter(
    (file) => filters.length === 0 || filters.some((filter) => file.includes(filter.replace(/^\.\//, ''))),
  )
  if (files.length === 0) return 0
  const options = passed.filter((word) => !filters.includes(word))
  return vitest(server, ['--exclude', 'dist/test/conformance/**', ...files, ...options])
}

async function vitest(server, args) {
  const name = server.includes('://') ? 'TEST_DATABASE_URL' : server.replaceAll('/', ' ').trim().replaceAll(' ', '-')
  const output = join(results, `${name}.json`)
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${output}`]
  const env = { ...process.env, COUNTERSIGN_TEST_SERVER: server === 'conformance' ? 'embedded' : server }
  const script = join(root, 'node_modules', 'vitest', 'vitest.mjs')
  return run(process.execPath, [script, 'run', '--passWithNoTests', ...reporters, ...args], env)
}

/** The convention: a test that imports the support module `database.js` meets the database. */
function databaseTests() {
  return readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts') && !file.startsWith('conformance'))
    .filter((file) => /from '[^']*support\/database\.js'/.test(readFileSync(join(root, 'test', file), 'utf8')))
    .map((file) => relative(root, join(root, 'dist', 'test', file.replace(/\.ts$/, '.js'))))
}

async function oldestLocal() {
  const { localBinDirs } = await import(pathToFileURL(join(root, 'dist/src/embedded/binaries.js')).href)
  return localBinDirs().at(-1)
}

/** One line that adds up all runs, and a file with it for who wants to add further. */
function summarise() {
  const total = { passed: 0, failed: 0, skipped: 0 }
  for (const file of readdirSync(results)) {
    const counts = JSON.parse(readFileSync(join(results, file), 'utf8'))
    const skipped = counts.numPendingTests + counts.numTodoTests
    // A file that fails to load holds no failed test.
    const broken = counts.testResults.filter((each) => each.status === 'failed' && each.assertionResults.length === 0)
    const failed = counts.numFailedTests + broken.length
    process.stdout.write(`${basename(file, '.json')}: ${counts.numPassedTests} passed, ${failed} failed\n`)
    total.passed += counts.numPassedTests
    total.failed += failed
    total.skipped += skipped
  }
  writeFileSync(join(results, 'total.json'), JSON.stringify(total))
}
