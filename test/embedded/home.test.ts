import { existsSync, readFileSync, statSync } from 'node:fs'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Client } from 'pg'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  announceApi,
  homePaths,
  provideDatabase,
  readRunFile,
  withdrawApi,
  writePrivate,
} from '../../src/embedded/home.js'
import { eventually, processesIn, runModule, type Child } from '../support/processes.js'
import { root } from '../support/root.js'

const module = pathToFileURL(join(root, 'dist/src/embedded/home.js')).href
let folder: string
let home: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'countersign-home-'))
  await chmod(folder, 0o711)
  home = join(folder, 'home')
})
afterEach(() => rm(folder, { recursive: true }))

const config = () => ({ home, databaseUrl: undefined })

/** A command of its own process: says `has …` when it has the database, and lets go of it when told by SIGTERM. */
function command(options: { lasting?: boolean; holdMs?: number } = {}): Child {
  return runModule(`
    import { provideDatabase } from '${module}'
    const config = ${JSON.stringify({ home })}
    const database = await provideDatabase(config, { lasting: ${options.lasting ?? false}, log: (line) => console.log(line) })
    console.log('has', database.url)
    const end = () => database.close().then(() => console.log('closed'))
    const holdMs = ${options.holdMs ?? 0}
    if (holdMs > 0) setTimeout(end, holdMs)
    else { const wait = setInterval(() => {}, 1000); process.once('SIGTERM', () => { clearInterval(wait); void end() }) }`)
}

async function answers(url: string): Promise<boolean> {
  const client = new Client({ connectionString: url })
  try {
    await client.connect()
    await client.query('select 1')
    return true
  } catch {
    return false
  } finally {
    await client.end().catch(() => {})
  }
}

test('DATABASE_URL is used as it is', async () => {
  const url = 'postgres://ada:pw@db.example.org/audit'
  const database = await provideDatabase({ home, databaseUrl: url })
  expect(database).toMatchObject({ url, embedded: false })
  await database.close()
  expect(existsSync(home)).toBe(false)
})

test('without anything a server is started, announced in a 0600 file, and stopped', async () => {
  const database = await provideDatabase(config())
  expect(await answers(database.url)).toBe(true)
  expect(new URL(database.url).pathname).toBe('/countersign')
  expect((statSync(homePaths(home).run).mode & 0o777).toString(8)).toBe('600')
  expect(readRunFile(home)).toMatchObject({ pid: process.pid, lasting: false, databaseUrl: database.url })
  await announceApi(home, 'http://127.0.0.1:4700')
  expect(readRunFile(home)?.apiUrl).toBe('http://127.0.0.1:4700')
  await withdrawApi(home, 'http://127.0.0.1:4701')
  expect(readRunFile(home)?.apiUrl).toBe('http://127.0.0.1:4700')
  await withdrawApi(home, 'http://127.0.0.1:4700')
  expect(readRunFile(home)).not.toHaveProperty('apiUrl')
  await database.close()
  await database.close()
  expect(await answers(database.url)).toBe(false)
  expect(existsSync(homePaths(home).run)).toBe(false)
})

test('a command uses the server that another process runs, and leaves it running', async () => {
  const server = command({ lasting: true })
  const [, url = ''] = await server.said(/has (\S+)/)
  const database = await provideDatabase(config())
  expect(database.url).toBe(url)
  await database.close()
  expect(await answers(url)).toBe(true)
  server.process.kill('SIGTERM')
  expect(await server.ended).toBe(0)
  expect(await answers(url)).toBe(false)
})

test('six commands at once all work, and none is left', async () => {
  const commands = Array.from({ length: 6 }, (_, index) => command({ holdMs: 100 + 150 * (index % 3) }))
  expect(await Promise.all(commands.map((each) => each.ended))).toEqual([0, 0, 0, 0, 0, 0])
  for (const each of commands) expect(each.output()).toMatch(/has postgres:[^]*closed/)
  expect(existsSync(homePaths(home).run)).toBe(false)
  expect(processesIn(homePaths(home).data)).toEqual([])
})

test('the command that started the server ends it only when the others are done', async () => {
  const first = command()
  const [, url = ''] = await first.said(/has (\S+)/)
  const second = command()
  await second.said(/has /)
  first.process.kill('SIGTERM')
  await first.said(/1 other command\(s\) use the database that was started here/)
  expect(await answers(url)).toBe(true)
  second.process.kill('SIGKILL') // counts no more, though it never said so
  expect(await first.ended).toBe(0)
  expect(await answers(url)).toBe(false)
})

test('what is to last waits for a server that ends with a command', async () => {
  const first = command()
  await first.said(/has /)
  const lasting = command({ lasting: true })
  await lasting.said(/uses the database .*; waiting for it to end/)
  expect(lasting.output()).not.toContain('has ')
  first.process.kill('SIGTERM')
  await lasting.said(/has /)
  expect(readRunFile(home)).toMatchObject({ pid: lasting.process.pid, lasting: true })
  lasting.process.kill('SIGTERM')
  expect(await lasting.ended).toBe(0)
})

test('what a killed process left is seen through', async () => {
  const first = command({ lasting: true })
  await first.said(/has /)
  first.process.kill('SIGKILL')
  await first.ended
  const second = command({ holdMs: 1 })
  expect(await second.ended).toBe(0)
  expect(second.output()).toContain('closed')
  await eventually(() => processesIn(homePaths(home).data).length === 0)
})

test('a run file that points to nobody is seen through', async () => {
  const database = await provideDatabase(config())
  const content = readFileSync(homePaths(home).run, 'utf8')
  await database.close()
  await writePrivate(homePaths(home).run, content) // this process lives, its server does not
  const again = await provideDatabase(config())
  expect(await answers(again.url)).toBe(true)
  await again.close()
  await writeFile(homePaths(home).run, 'half a fi')
  expect(readRunFile(home)).toBeUndefined()
})
