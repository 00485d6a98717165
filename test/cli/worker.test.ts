import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { chmod } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { runningTemporal, temporalPaths } from '../../src/embedded/temporal-home.js'
import { countersign, start, type Running } from '../support/cli.js'
import { eventually } from '../support/processes.js'
import { testTemporal } from '../support/temporal.js'

let home: string
let running: Running[]
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'countersign-test-'))
  await chmod(home, 0o711) // as root PostgreSQL runs as another user, who has to pass through
  running = []
})
afterEach(async () => {
  for (const { process: child, ended } of running.reverse()) {
    child.kill('SIGTERM')
    await ended
  }
  rmSync(home, { recursive: true })
})

const env = (more: Record<string, string> = {}) => ({ COUNTERSIGN_HOME: home, COUNTERSIGN_HTTP_PORT: '0', ...more })

function begin(words: string[], more: Record<string, string> = {}): Running {
  const command = start(words, { env: env(more) })
  running.push(command)
  return command
}

/** Ends one in good order, as a process manager does. */
async function end(command: Running): Promise<number | null> {
  running = running.filter((each) => each !== command)
  command.process.kill('SIGTERM')
  return (await command.ended).code
}

async function urlOf(command: Running): Promise<string> {
  const pattern = /^Ready at (http[^,\s]+),/m
  await eventually(() => pattern.test(command.output()) || command.process.exitCode !== null, 90_000)
  const url = pattern.exec(command.output())?.[1]
  if (url === undefined) throw new Error(`not ready: ${command.output()}`)
  return url
}

/** The API is ready all the same: what waits is not asked of it. */
const become = (url: string, state: string) =>
  eventually(async () => {
    const response = await fetch(`${url}/readyz`)
    const { workflows } = (await response.json()) as { workflows?: unknown }
    return response.status === 200 && workflows === state
  }, 90_000)

test('up runs Temporal and a worker beside the API, says where, and ends with both', async () => {
  const up = begin(['up'])
  const url = await urlOf(up)
  await become(url, 'ready')
  const temporal = runningTemporal(home)
  expect(up.output()).toContain(`${temporal?.uiUrl ?? '?'}/namespaces/countersign/workflows`)
  expect(await (await fetch(`${url}/metrics`)).text()).toMatch(/^countersign_workflows_ready 1$/m)
  expect(await end(up)).toBe(0)
  expect(runningTemporal(home)).toBeUndefined()
  await expect(fetch(temporal?.uiUrl ?? '')).rejects.toThrow()
})

test('with a Temporal that does not answer the API is up, and says that workflows wait', async () => {
  const up = begin(['up'], { TEMPORAL_ADDRESS: '127.0.0.1:1' })
  const url = await urlOf(up)
  await become(url, 'waiting')
  expect(existsSync(temporalPaths(home).db)).toBe(false)
  expect(await end(up)).toBe(0)
})

test('while Temporal is being made the API is up and says so; once it is there, workflows run', async () => {
  const program = process.env['COUNTERSIGN_TEST_TEMPORAL_PROGRAM'] ?? ''
  expect(program).not.toBe('')
  const bin = join(home, 'bin')
  mkdirSync(bin)
  // A Go that builds until it is let go on, and then "makes" the program that is there.
  const go = `#!/bin/sh
    PATH=/usr/bin:/bin
    if [ "$1" = env ]; then echo go1.26.8; exit; fi
    while [ ! -e ${home}/go-on ]; do sleep 0.1; done
    mkdir -p "$GOBIN" && ln -s ${program} "$GOBIN/temporal"`
  writeFileSync(join(bin, 'go'), go, { mode: 0o755 })
  const up = begin(['up'], { PATH: bin, COUNTERSIGN_TEMPORAL_CACHE: join(home, 'cache') })
  const url = await urlOf(up)
  expect(up.output()).toContain('building Temporal')
  await become(url, 'waiting')
  writeFileSync(join(home, 'go-on'), '')
  await become(url, 'ready')
  expect(up.output()).toMatch(/^ {2}Temporal +\S+, built with Go$/m)
  expect(await end(up)).toBe(0)
}, 120_000)

test('told to end while Temporal is being made, it ends', async () => {
  const bin = join(home, 'bin')
  mkdirSync(bin)
  const go = `#!/bin/sh
    PATH=/usr/bin:/bin
    if [ "$1" = env ]; then echo go1.26.8; exit; fi
    exec sleep 600`
  writeFileSync(join(bin, 'go'), go, { mode: 0o755 })
  const up = begin(['up'], { PATH: bin, COUNTERSIGN_TEMPORAL_CACHE: join(home, 'cache') })
  await urlOf(up)
  expect(await end(up)).toBe(0)
})

test('up without workflows starts no Temporal', async () => {
  const up = begin(['up'], { COUNTERSIGN_WORKFLOWS: 'off' })
  const url = await urlOf(up)
  await become(url, 'off')
  expect(existsSync(temporalPaths(home).run)).toBe(false)
  expect(await end(up)).toBe(0)
})

test('worker processes are beside an API that serves, come and go, and end when told', async () => {
  const server = await testTemporal()
  const { target } = server
  try {
    const at = { TEMPORAL_ADDRESS: target.address, TEMPORAL_NAMESPACE: target.namespace }
    const api = begin(['serve'], at)
    const url = await urlOf(api)
    await become(url, 'waiting')
    const workers = [begin(['worker'], at), begin(['worker', '--json'], at)]
    await become(url, 'ready')
    for (const worker of workers) await eventually(() => worker.output().includes('"msg":"workflows run"'), 90_000)
    for (const worker of workers) expect(await end(worker)).toBe(0)
    const { stdout } = (await workers[1]?.ended) ?? { stdout: '' }
    expect(JSON.parse(stdout)).toEqual({ pid: workers[1]?.process.pid })
    expect(await end(api)).toBe(0)
  } finally {
    await server.close()
  }
})

test('a worker and an API of one home share its Temporal', async () => {
  const api = begin(['serve'])
  const url = await urlOf(api)
  const worker = begin(['worker'])
  await become(url, 'ready')
  expect(runningTemporal(home)).toBeDefined()
  expect(await end(worker)).toBe(0)
  expect(runningTemporal(home)).toBeUndefined()
})

test('doctor says which Temporal it would be', async () => {
  const server = await testTemporal()
  const { target } = server
  try {
    const look = async (more: Record<string, string>) => {
      const { json } = await countersign(['doctor', '--json'], { env: env(more) })
      const checks = json()['checks'] as { id: string; status: string; found: string; advice?: string }[]
      return checks.find(({ id }) => id === 'temporal')
    }
    const { address, namespace } = target
    expect(await look({ TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: namespace })).toEqual({
      id: 'temporal',
      status: 'ok',
      found: `Temporal at ${address}, namespace ${namespace}`,
    })
    expect(await look({ TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: 'missing' })).toMatchObject({ status: 'warn' })
    expect(await look({ TEMPORAL_ADDRESS: '127.0.0.1:1' })).toMatchObject({
      status: 'fail',
      advice: expect.stringContaining('TEMPORAL_ADDRESS'),
    })
    expect(await look({ COUNTERSIGN_WORKFLOWS: 'off' })).toMatchObject({ status: 'ok' })
    const none = { COUNTERSIGN_TEMPORAL_CACHE: join(home, 'cache'), PATH: '/nowhere' }
    expect(await look(none)).toMatchObject({ status: 'warn', advice: expect.stringContaining('Install') })
  } finally {
    await server.close()
  }
})
