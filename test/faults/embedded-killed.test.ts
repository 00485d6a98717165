import { existsSync, readFileSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { homePaths, readRunFile } from '../../src/embedded/home.js'
import { countersign, start, type Running } from '../support/cli.js'
import { eventually } from '../support/processes.js'

let folder: string
let home: string
let serving: Running | undefined

const run = (...words: string[]) => countersign(words, { env: { COUNTERSIGN_HOME: home, COUNTERSIGN_HTTP_PORT: '0' } })

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'countersign-killed-'))
  await chmod(folder, 0o711)
  home = join(folder, 'home')
})

afterEach(async () => {
  serving?.process.kill('SIGTERM')
  await serving?.ended
  serving = undefined
  await rm(folder, { recursive: true })
})

async function serve(): Promise<string> {
  serving = start(['serve'], {
    env: { COUNTERSIGN_HOME: home, COUNTERSIGN_HTTP_PORT: '0', COUNTERSIGN_LOG_LEVEL: 'error' },
  })
  const ready = () => /^Ready at (\S+),/m.exec(serving?.output() ?? '')?.[1]
  await eventually(() => ready() !== undefined || serving?.process.exitCode !== null, 60_000)
  const url = ready()
  if (url === undefined) throw new Error(`not ready: ${serving.output()}`)
  return url
}

const postmaster = () => Number(readFileSync(join(homePaths(home).data, 'postmaster.pid'), 'utf8').split('\n')[0])

test('a PostgreSQL that is killed under the API is started again, where its users look for it', async () => {
  const url = await serve()
  await run('tenant', 'create', 'acme')
  const made = await run(
    'token',
    'create',
    '--tenant',
    'acme',
    '--principal',
    'service:billing',
    '--role',
    'admin',
    '--json',
  )
  const { token } = made.json() as { token: string }
  const post = (type: string) =>
    fetch(`${url}/v1/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ type }),
    })
  expect((await post('before.kill')).status).toBe(201)
  const announced = readRunFile(home)
  for (let round = 1; round <= 2; round++) {
    const killed = postmaster()
    process.kill(killed, 'SIGKILL')
    // A command that comes meanwhile starts no second server.
    const verifying = run('verify', '--json')
    await eventually(async () => (await post('after.kill')).status === 201, 60_000)
    await eventually(async () => (await fetch(`${url}/readyz`)).status === 200)
    const { code, json } = await verifying
    expect([code, json()['findings']]).toEqual([0, []])
    expect(postmaster()).not.toBe(killed)
    expect(readRunFile(home)).toEqual(announced)
    expect(serving?.output().match(/^warning PostgreSQL ended by itself \(it ended with SIGKILL\)/gm)).toHaveLength(
      round,
    )
  }
  expect(serving?.output()).toContain('PostgreSQL runs again')
  serving?.process.kill('SIGTERM')
  expect((await serving?.ended)?.code).toBe(0)
  await sleep(500)
  expect([existsSync(homePaths(home).run), existsSync(join(homePaths(home).data, 'postmaster.pid'))]).toEqual([
    false,
    false,
  ])
})

test('it can be told to end while its PostgreSQL is away', async () => {
  await serve()
  process.kill(postmaster(), 'SIGKILL')
  await eventually(() => serving?.output().includes('ended by itself') === true)
  serving?.process.kill('SIGTERM')
  expect((await serving?.ended)?.code).toBe(0)
  expect(existsSync(homePaths(home).run)).toBe(false)
})

test('a second API on the same home is refused whatever its port, and the first stays announced', async () => {
  const url = await serve()
  for (const words of [['serve'], ['up', '--once']]) {
    const second = await run(...words, '--json')
    expect([second.code, second.json()]).toMatchObject([3, { error: { code: 'PORT_IN_USE' } }])
    expect(second.stderr).toContain(url)
  }
  expect(readRunFile(home)?.apiUrl).toBe(url)
})
