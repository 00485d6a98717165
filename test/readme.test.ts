import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fencesOf, readPage, repositoryFiles } from './support/markdown.js'
import { eventually } from './support/processes.js'
import { root } from './support/root.js'

const page = readPage('README.md')
const blocks = fencesOf(page)
const commands = blocks.filter(({ language }) => language === 'sh')

/** What continuous integration runs itself, and a test would not end with. */
const BY_CI = ['npm test']
/** Runs until it is told to end. */
const STAYS = 'npm start'

let folder: string
let checkout: string
let env: Record<string, string>
let port: number
let running: ChildProcess | undefined
let said = ''

beforeAll(async () => {
  // A command may write beside the checkout.
  folder = mkdtempSync(join(tmpdir(), 'countersign-readme-'))
  checkout = join(folder, 'countersign')
  mkdirSync(checkout, { mode: 0o755 })
  chmodSync(folder, 0o755) // as root the server runs as another user, who has to pass through
  copyRepository(checkout)
  port = await freePort()
  env = {
    PATH: `${standIn()}${process.env['PATH'] ?? ''}`,
    HOME: process.env['HOME'] ?? '',
    COUNTERSIGN_HTTP_PORT: String(port),
    npm_config_update_notifier: 'false',
  }
})

afterAll(async () => {
  if (running?.pid !== undefined && running.exitCode === null) {
    process.kill(-running.pid, 'SIGINT')
    await once(running, 'close')
  }
  rmSync(folder, { recursive: true })
})

/** A clone that is installed and built already, with a history of one commit. */
function copyRepository(to: string): void {
  for (const path of repositoryFiles()) {
    mkdirSync(join(to, dirname(path)), { recursive: true })
    cpSync(join(root, path), join(to, path))
    const { atime, mtime } = statSync(join(root, path))
    utimesSync(join(to, path), atime, mtime)
  }
  cpSync(join(root, 'dist'), join(to, 'dist'), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(to, 'node_modules'))
  const built = `import { recordBuild, sourceFingerprint } from './bin/prepare.mjs'; recordBuild(sourceFingerprint())`
  run('node', ['--input-type=module', '-e', built])
  const who = ['-c', 'user.name=Ada Lovelace', '-c', 'user.email=ada@example.org', '-c', 'commit.gpgsign=false']
  for (const words of [
    ['init', '-q'],
    ['add', '.'],
    [...who, 'commit', '-q', '-m', 'Begin'],
  ])
    run('git', words)

  function run(program: string, words: string[]): void {
    const { status, stderr } = spawnSync(program, words, { cwd: to, encoding: 'utf8' })
    if (status !== 0) throw new Error(`${program} ${words.join(' ')}: ${stderr}`)
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** A curl for machines without one, as far as the page uses it. @returns what to put in front of the path */
function standIn(): string {
  if (spawnSync('curl', ['--version']).status === 0) return ''
  const folder = join(checkout, '.countersign-bin')
  mkdirSync(folder)
  const script = `#!/usr/bin/env node
    import fs from 'node:fs'
    const words = process.argv.slice(2)
    const headers = {}
    let url, body
    while (words.length > 0) {
      const word = words.shift()
      if (word === '-H') {
        const given = words.shift()
        const line = given.startsWith('@') ? fs.readFileSync(given.slice(1), 'utf8').trim() : given
        headers[line.slice(0, line.indexOf(':'))] = line.slice(line.indexOf(':') + 1).trim()
      } else if (word === '-d') body = words.shift()
      else if (word !== '-sS') url = word
    }
    fetch(url, { method: body === undefined ? 'GET' : 'POST', headers, body })
      .then((response) => response.text())
      .then((text) => process.stdout.write(text))`
  writeFileSync(join(folder, 'curl'), script, { mode: 0o755 })
  return `${folder}:`
}

describe.sequential('the commands of the README, in their order', () => {
  test.each(commands)('line $line', { timeout: 180_000 }, async ({ text }) => {
    const command = text.trim()
    if (BY_CI.includes(command)) {
      expect(readPage('.ci/run')).toContain(command)
      return
    }
    if (command === STAYS) {
      running = spawn('npm', ['start'], { cwd: checkout, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
      for (const stream of [running.stdout, running.stderr])
        stream?.on('data', (bytes: Buffer) => (said += bytes.toString()))
      await eventually(() => /^Ready at/m.test(said) || running?.exitCode !== null, 150_000)
      expect(said).toContain(`Ready at http://127.0.0.1:${port}`)
      expect(said).toContain('0 findings')
      return
    }
    const { status, stdout, stderr } = await inShell(command.replaceAll('4700', String(port)))
    expect({ status, stderr }).toMatchObject({ status: 0 })
    expect(stdout).not.toContain('urn:countersign:error')
    const promised = PROMISES.find(([words]) => command.includes(words))
    expect(stdout).toMatch(promised?.[1] ?? /./)
  })
})

async function inShell(script: string): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const shell = spawn('sh', ['-eu'], { cwd: checkout, env, stdio: ['pipe', 'pipe', 'pipe'] })
  const out = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    shell[name].setEncoding('utf8').on('data', (text: string) => (out[name] += text))
  shell.stdin.end(script)
  const [status] = (await once(shell, 'close')) as [number | null]
  return { status, ...out }
}

/** What the text around a command says that it does. */
const PROMISES: [words: string, shown: RegExp][] = [
  ['/v1/events', /"seq":\d+.*"subjects":\["person:/],
  ['log show', /role\.granted.*person:/],
  ['entry reveal', /"Ada Lovelace"/],
  ['--in-database', /no findings[^]*no findings/],
  ['report check', /^recorded /m],
  ['export', /^exported /m],
  ['--expect', /no findings/],
  ['keys backup', /recorded as entry/],
  ['doctor', /key backup +made/],
]

test('whatever looks like a command in the README is run', () => {
  const others = blocks.filter(({ language }) => language !== 'sh')
  const lines = others.flatMap(({ text }) => text.split('\n'))
  expect(lines.filter((line) => /^\s*(?:\$ |npx |npm |curl |git |docker |countersign [a-z])/.test(line))).toEqual([])
})
