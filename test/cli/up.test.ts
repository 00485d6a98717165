import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { countersign, start, type Answer, type Running } from '../support/cli.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { TestRepository } from '../support/git.js'
import { eventually } from '../support/processes.js'
import { root } from '../support/root.js'

/** A checkout as a user has it after the build, in a folder of its own. */
function checkoutIn(folder: string): void {
  // As root the server runs as another user, who has to pass through.
  chmodSync(folder, 0o755)
  cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true })
  for (const name of ['package.json', 'docs/sample']) {
    mkdirSync(join(folder, 'docs'), { recursive: true })
    cpSync(join(root, name), join(folder, name), { recursive: true })
  }
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
}

const FREE_PORT = { COUNTERSIGN_HTTP_PORT: '0' }

async function ready(running: Running): Promise<string> {
  await eventually(() => /^Ready at (\S+),/m.test(running.output()) || running.process.exitCode !== null, 60_000)
  const url = /^Ready at (\S+),/m.exec(running.output())?.[1]
  if (url === undefined) throw new Error(`not ready: ${running.output()}`)
  return url
}

describe('up --demo in a fresh checkout', () => {
  let repository: TestRepository
  let first: Answer

  beforeAll(() => {
    repository = new TestRepository()
    for (let n = 1; n <= 5; n++) repository.commit(`change ${n}`, { file: `file-${n}` })
    checkoutIn(repository.path)
  })

  afterAll(() => repository.remove())

  const up = (...words: string[]) =>
    countersign(['up', '--demo', '--once', ...words], { root: repository.path, cwd: repository.path, env: FREE_PORT })

  test('does all of it, and ends with 0', async () => {
    const { code, json, stderr } = await up('--json')
    expect([code, stderr]).toEqual([0, expect.stringContaining('has not been backed up')])
    first = json()
    expect(first).toMatchObject({
      tenant: { id: 'demo', created: true },
      tokens: { made: true },
      imported: { imported: 5, already: 0, refused: 0 },
      verified: { findings: 0 },
      report: { rows: 5, made: true },
    })
    const { files } = first['report'] as { files: Record<string, string> }
    expect(
      readFileSync(files['pdf'] ?? '')
        .subarray(0, 5)
        .toString(),
    ).toBe('%PDF-')
    expect(readFileSync(files['csv'] ?? '', 'utf8')).toContain('git.committed')
    const tokens = first['tokens'] as { file: string; headerFile: string }
    for (const file of [tokens.file, tokens.headerFile]) expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(existsSync(join(repository.path, '.countersign', 'run.json'))).toBe(false)
  })

  test('again it imports nothing, shows no secrets, and ends with a line that begins with Ready', async () => {
    const { code, stdout } = await up()
    expect(code).toBe(0)
    expect(stdout).toMatch(/Import +nothing new, 5 commits imported before/)
    expect(stdout).not.toContain('cs_demo.')
    expect(stdout.trimEnd().split('\n').at(-1)).toMatch(/^Ready at http:/)
  })

  test('a report that somebody made of a part is not the one that it shows', async () => {
    const at = { root: repository.path, cwd: repository.path }
    const part = [
      'report',
      'audit-trail',
      '--tenant',
      'demo',
      '--by',
      'occurred',
      '--type',
      'git.merged',
      '--format',
      'csv',
    ]
    expect((await countersign(part, at)).code).toBe(0)
    const { json } = await up('--json')
    expect(json()).toMatchObject({ report: { ...(first['report'] as object), made: false } })
  })

  test('a new commit is imported, with a new report', async () => {
    repository.commit('change 6', { file: 'file-6' })
    const { json } = await up('--json')
    expect(json()).toMatchObject({
      tenant: { created: false },
      tokens: { made: false },
      imported: { imported: 1, already: 5 },
      report: { rows: 6, made: true },
    })
  })

  test('what it says to try next works while it runs, and Ctrl-C ends it with 0', async () => {
    const running = start(['up', '--demo'], { root: repository.path, cwd: repository.path, env: FREE_PORT })
    const url = await ready(running)
    const lines = running.output().split('\n')
    const from = lines.findIndex((line) => line.includes('Try next'))
    const commands = lines.slice(from, from + 3).map((line) => line.replace(/^ *(Try next)? */, ''))
    expect(commands[2]).toContain(`${url}/v1/`)
    writeEntryPoint(repository.path)
    const paste = (command: string) => {
      // A bare `npx` would first look whether anything is to be built.
      const pasted = command.replace('npx . ', `node ${JSON.stringify(join(repository.path, 'cli.mjs'))} `)
      return execFileSync('sh', ['-c', pasted], { cwd: repository.path, encoding: 'utf8', stdio: 'pipe' })
    }
    for (const command of commands) expect(paste(command)).toMatch(/git\.committed|^recorded/m)

    const people = lines.findIndex((line) => line.includes('Two people'))
    const [request = '', ...approvals] = lines
      .slice(people, people + 3)
      .map((line) => line.replace(/^ *(Two people)? */, ''))
    const { id, payloadHash } = JSON.parse(paste(`${request} --json`)) as { id: string; payloadHash: string }
    // A terminal would show the change and ask; a script says what it has read.
    for (const approve of approvals) {
      expect(JSON.parse(paste(`${approve} --hash ${payloadHash} --json`))).toMatchObject({ id })
    }
    await vi.waitFor(
      () =>
        expect(JSON.parse(paste(`npx . change show ${id} --tenant demo --json`))).toMatchObject({ status: 'applied' }),
      { timeout: 60_000, interval: 1_000 },
    )
    running.process.kill('SIGINT')
    const { code, stdout } = await running.ended
    expect(code).toBe(0)
    expect(stdout.trimEnd().split('\n').at(-1)).toMatch(/^Ready at http:/)
    expect(existsSync(join(repository.path, '.countersign', 'run.json'))).toBe(false)
  })
})

describe('without a history, on a database of its own', () => {
  let server: TestDatabase
  let folder: string

  beforeAll(async () => {
    server = await testDatabase()
    folder = mkdtempSync(join(tmpdir(), 'countersign-test-plain-'))
    checkoutIn(folder)
  })

  afterAll(async () => {
    await server.close()
    rmSync(folder, { recursive: true })
  })

  const options = () => ({
    root: folder,
    cwd: folder,
    env: { ...FREE_PORT, DATABASE_URL: server.url, COUNTERSIGN_HOME: server.home },
  })

  test('the sample is imported instead', async () => {
    const { code, json } = await countersign(['up', '--demo', '--once', '--json'], options())
    expect(code).toBe(0)
    const lines = readFileSync(join(root, 'docs/sample/events.ndjson'), 'utf8').trimEnd().split('\n')
    expect(json()).toMatchObject({ imported: { imported: lines.length, refused: 0 }, verified: { findings: 0 } })
  })

  test('serve answers, warns until the keys are backed up, and ends in good order on SIGTERM', async () => {
    const running = start(['serve'], options())
    const url = await ready(running)
    const health = await fetch(`${url}/healthz`)
    expect(health.status).toBe(200)
    expect(running.output()).toMatch(/^warning the key file .* has not been backed up/m)
    running.process.kill('SIGTERM')
    expect((await running.ended).code).toBe(0)
    await countersign(['keys', 'backup', join(folder, 'backup.json')], options())
    const again = start(['serve'], options())
    await ready(again)
    again.process.kill('SIGTERM')
    expect((await again.ended).stderr).not.toContain('backed up')
  })

  test('signals that come together end it in good order; one that comes later ends it at once', async () => {
    const calm = start(['serve'], options())
    await ready(calm)
    calm.process.kill('SIGINT')
    calm.process.kill('SIGTERM')
    expect((await calm.ended).code).toBe(0)

    const held = start(['serve'], options())
    const { port } = new URL(await ready(held))
    // A request that is never finished keeps the server from ending.
    const socket = connect(Number(port), '127.0.0.1')
    socket.on('error', () => undefined)
    socket.write('POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n')
    await once(socket, 'connect')
    await sleep(200)
    held.process.kill('SIGINT')
    await sleep(1_000)
    expect(held.process.exitCode).toBe(null)
    held.process.kill('SIGINT')
    expect((await held.ended).code).toBe(130)
    socket.destroy()
  })

  test('up takes a free port where the usual one is taken', async () => {
    const squatter = createServer()
    await new Promise((done) => {
      squatter.once('error', done) // taken already, by whomever
      squatter.listen(4700, '127.0.0.1', () => done(undefined))
    })
    const { code, stdout } = await countersign(['up', '--once'], {
      ...options(),
      env: { DATABASE_URL: server.url, COUNTERSIGN_HOME: server.home },
    })
    squatter.close()
    expect([code, stdout]).toEqual([0, expect.stringContaining('on a free port, because 4700 is taken')])
  })

  test('a port that is taken could not run, and says what to set', async () => {
    const running = start(['serve'], options())
    const { port } = new URL(await ready(running))
    const { env } = options()
    const second = await countersign(['serve', '--json'], {
      ...options(),
      env: { ...env, COUNTERSIGN_HTTP_PORT: port },
    })
    expect(second.code).toBe(3)
    expect(second.json()).toMatchObject({ error: { code: 'PORT_IN_USE' } })
    running.process.kill('SIGTERM')
    await running.ended
  })
})

function writeEntryPoint(folder: string): void {
  const main = JSON.stringify(join(folder, 'dist', 'src', 'cli', 'main.js'))
  writeFileSync(
    join(folder, 'cli.mjs'),
    `process.exitCode = await (await import(${main})).main(process.argv.slice(2))\n`,
  )
}
