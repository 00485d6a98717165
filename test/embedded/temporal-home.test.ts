import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readConfig } from '../../src/config.js'
import { processIdentity } from '../../src/embedded/process-identity.js'
import {
  provideTemporal,
  runningTemporal,
  temporalPaths,
  type ProvidedTemporal,
} from '../../src/embedded/temporal-home.js'
import { namespaceOf, openTemporal } from '../../src/temporal/connection.js'
import { eventually, runModule, type Child } from '../support/processes.js'
import { root } from '../support/root.js'

let folder: string
let home: string
let lines: string[]
let open: ProvidedTemporal[]
let children: Child[]
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'countersign-test-'))
  home = join(folder, 'home')
  lines = []
  open = []
  children = []
})
afterEach(async () => {
  for (const each of open) await each.close()
  for (const { process: child, ended } of children) {
    child.kill('SIGKILL')
    await ended
  }
  const pid = serverPid()
  await eventually(() => pid === undefined || processIdentity(pid) === undefined)
  rmSync(folder, { recursive: true })
})

const settings = () => ({ ...readConfig(), home })

async function provide(): Promise<ProvidedTemporal> {
  const tell = (line: string) => void lines.push(line)
  const temporal = await provideTemporal(settings(), { log: tell, warn: tell })
  open.push(temporal)
  return temporal
}

/** The same in a process of its own, which says `has <address>`. */
function elsewhere(): Child {
  const module = pathToFileURL(join(root, 'dist/src/embedded/temporal-home.js')).href
  const child = runModule(`
    import { provideTemporal } from '${module}'
    const tell = (line) => console.log(line)
    const temporal = await provideTemporal(${JSON.stringify(settings())}, { log: tell, warn: tell })
    console.log('has', temporal.address, temporal.how)
    const wait = setInterval(() => {}, 1000)
    process.once('SIGTERM', () => { clearInterval(wait); void temporal.close().then(() => console.log('closed')) })`)
  children.push(child)
  return child
}

function serverPid(): number | undefined {
  const run = temporalPaths(home).run
  if (!existsSync(run)) return undefined
  return (JSON.parse(readFileSync(run, 'utf8')) as { server?: { pid: number } }).server?.pid
}

async function namespaceId(address: string): Promise<string | undefined> {
  const temporal = openTemporal({ address, namespace: 'countersign' })
  try {
    return (await namespaceOf(temporal, 2_000))?.id
  } catch {
    return undefined
  } finally {
    await temporal.close()
  }
}

test('one is started, for its owner alone to read, with pages of its own, and stopped', async () => {
  const temporal = await provide()
  const id = await namespaceId(temporal.address)
  expect(id).toMatch(/^[0-9a-f-]{36}$/)
  expect((await fetch(temporal.uiUrl)).status).toBe(200)
  expect(runningTemporal(home)).toMatchObject({ address: temporal.address, uiUrl: temporal.uiUrl })
  for (const file of [temporalPaths(home).db, temporalPaths(home).run, `${temporalPaths(home).db}.log`]) {
    expect([file, (statSync(file).mode & 0o777).toString(8)]).toEqual([file, '600'])
  }
  await temporal.close()
  expect(await namespaceId(temporal.address)).toBeUndefined()
  expect(runningTemporal(home)).toBeUndefined()
  // Again it is at the same place, with the same data.
  const again = await provide()
  expect([again.address, again.uiUrl]).toEqual([temporal.address, temporal.uiUrl])
  expect(await namespaceId(again.address)).toBe(id)
})

test('it listens on 127.0.0.1 and nowhere else', async () => {
  await provide()
  const inodes = socketsOf(serverPid() ?? 0)
  expect(inodes.length).toBeGreaterThan(3)
  for (const address of inodes) expect(address).toBe('0100007F')
})

test('one that is killed is started again, at its place', async () => {
  const temporal = await provide()
  const id = await namespaceId(temporal.address)
  const before = serverPid() ?? 0
  process.kill(before, 'SIGKILL')
  await eventually(() => lines.some((line) => line.includes('runs again')))
  expect(await namespaceId(temporal.address)).toBe(id)
  await eventually(() => serverPid() !== before)
})

test('a second process uses the same one, and runs it at the same place once the first has ended', async () => {
  const first = elsewhere()
  const [, address = '', how] = await first.said(/has (\S+) (\S+)/)
  expect(how).not.toBe('running')
  const second = await provide()
  expect([second.address, second.how]).toEqual([address, 'running'])
  const id = await namespaceId(address)
  first.process.kill('SIGTERM')
  expect(await first.ended).toBe(0)
  await eventually(async () => (await namespaceId(address)) === id)
  expect(second.address).toBe(address)
})

test('one whose process was killed ends, and the next start takes its place', async () => {
  const first = elsewhere()
  const [, address = ''] = await first.said(/has (\S+)/)
  const id = await namespaceId(address)
  first.process.kill('SIGKILL')
  const second = await provide()
  expect(second.address).toBe(address)
  expect(await namespaceId(address)).toBe(id)
})

test('two that start at once share one', async () => {
  const both = [elsewhere(), elsewhere()]
  const said = await Promise.all(both.map((each) => each.said(/has (\S+) (\S+)/)))
  expect(said[0]?.[1]).toBe(said[1]?.[1])
  expect(said.filter(([, , how]) => how === 'running')).toHaveLength(1)
})

/** @returns the local addresses, as the system writes them, that a process listens on */
function socketsOf(pid: number): string[] {
  const of = (file: string) => readFileSync(`/proc/${pid}/net/${file}`, 'utf8').split('\n').slice(1)
  const own = new Set(descriptorsOf(pid))
  return ['tcp', 'tcp6'].flatMap(of).flatMap((line) => {
    const fields = line.trim().split(/\s+/)
    const listens = fields[3] === '0A' && own.has(`socket:[${fields[9] ?? ''}]`)
    return listens ? [(fields[1] ?? '').split(':')[0] ?? ''] : []
  })
}

function descriptorsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)]
    } catch {
      return []
    }
  })
}
