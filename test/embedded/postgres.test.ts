import { spawn } from 'node:child_process'
import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { chmod, chown, cp, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Client } from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { localBinDirs, packagedBinDir } from '../../src/embedded/binaries.js'
import { startPostgres, type RunningPostgres, type StartOptions } from '../../src/embedded/postgres.js'
import { serverUser } from '../../src/embedded/unprivileged.js'
import { eventually, processesIn, runModule } from '../support/processes.js'
import { root } from '../support/root.js'
import { systemCode } from '../../src/errors.js'

const isRoot = process.getuid?.() === 0
const isLinux = process.platform === 'linux'
const launcher = pathToFileURL(join(root, 'dist/src/embedded/postgres.js')).href

let folder: string
const running: RunningPostgres[] = []

async function start(options: Partial<StartOptions> = {}): Promise<RunningPostgres> {
  const server = await startPostgres({ dataDir: join(folder, 'data'), ...options })
  running.push(server)
  return server
}

async function query(address: string | object, text: string): Promise<Record<string, unknown>[]> {
  const client = new Client(typeof address === 'string' ? { connectionString: address } : address)
  await client.connect()
  try {
    return (await client.query<Record<string, unknown>>(text)).rows
  } finally {
    await client.end()
  }
}

const mode = (path: string) => (statSync(path).mode & 0o777).toString(8)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'countersign-launcher-'))
  await chmod(folder, 0o711)
})
afterEach(async () => {
  for (const server of running.splice(0)) await server.stop()
})
afterAll(() => rm(folder, { recursive: true }))

describe.each([packagedBinDir(), ...localBinDirs()])('the PostgreSQL in %s', (binDir) => {
  const name = binDir?.includes('node_modules') ? 'packaged' : `local${binDir?.replaceAll('/', '-')}`
  const dataDir = () => join(folder, name)

  test('starts with checksums, logical WAL, scram and UTF-8, and keeps its data', async () => {
    const server = await start({ dataDir: dataDir(), binDir })
    const [settings] = await query(
      server.url,
      `select current_setting('data_checksums') as checksums, current_setting('wal_level') as wal,
        current_setting('listen_addresses') as addresses, current_setting('password_encryption') as passwords,
        current_setting('server_encoding') as encoding, current_setting('fsync') as fsync,
        (select rolpassword like 'SCRAM-SHA-256$%' from pg_authid where rolname = 'postgres') as scram,
        (select datcollate from pg_database where datname = 'postgres') as collation`,
    )
    expect(settings).toEqual({
      checksums: 'on',
      wal: 'logical',
      addresses: '127.0.0.1',
      passwords: 'scram-sha-256',
      encoding: 'UTF8',
      fsync: 'on',
      scram: true,
      collation: 'C',
    })
    await query(server.url, 'create table kept as select 42 as n')
    await server.stop()
    expect(existsSync(join(server.dataDir, 'postmaster.pid'))).toBe(false)

    const again = await start({ dataDir: dataDir(), binDir, settings: { work_mem: '7MB' } })
    expect(await query(again.url, `select n, current_setting('work_mem') as mem from kept`)).toEqual([
      { n: 42, mem: '7MB' },
    ])
    expect(again.password).toBe(server.password)
  })

  test('lets nobody in without the password, over TCP or the socket', async () => {
    const server = await start({ dataDir: dataDir(), binDir })
    const { host, port, user, password, socketDir } = server
    await expect(
      query({ host, port, user, password: 'wrong', database: 'postgres' }, 'select 1'),
    ).rejects.toMatchObject({
      code: '28P01',
    })
    await expect(query({ host: socketDir, port, user, password: 'wrong', database: 'postgres' }, 'select 1'))
      .rejects //
      .toMatchObject({ code: '28P01' })
    expect(await query({ host: socketDir, port, user, password, database: 'postgres' }, 'select 1 as n')).toEqual([
      { n: 1 },
    ])
    const rules = await query(server.url, 'select distinct auth_method from pg_hba_file_rules')
    expect(rules).toEqual([{ auth_method: 'scram-sha-256' }])
  })

  test('keeps folders at 0700 and secrets at 0600', async () => {
    const server = await start({ dataDir: dataDir(), binDir })
    expect(mode(server.dataDir)).toBe('700')
    expect(mode(join(server.dataDir, 'superuser.password'))).toBe('600')
    expect(mode(`${dataDir()}.log`)).toBe('600')
    expect(mode(join(server.dataDir, `.s.PGSQL.${server.port}`))).toBe('700')
    expect(readFileSync(`${dataDir()}.log`, 'utf8')).not.toContain(server.password)
    expect((await readdir(folder)).filter((file) => file.includes('password') || file.endsWith('.new'))).toEqual([])
  })

  test('listens on 127.0.0.1 only', async () => {
    const server = await start({ dataDir: dataDir(), binDir })
    const others = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
    for (const { address } of others.filter((each) => each.address !== '127.0.0.1')) {
      const outcome = await new Promise((done) => {
        const socket = createConnection({ host: address, port: server.port })
        socket.once('connect', () => done('connected'))
        socket.once('error', () => done('refused'))
        socket.setTimeout(5_000, () => done('refused'))
        socket.once('close', () => socket.destroy())
      })
      expect([address, outcome]).toEqual([address, 'refused'])
    }
  })

  test.runIf(isLinux)('gives the server an allow-listed environment', async () => {
    process.env['COUNTERSIGN_TEST_SECRET'] = 'swordfish'
    try {
      const server = await start({ dataDir: dataDir(), binDir })
      const environment = readFileSync(`/proc/${server.pid}/environ`, 'utf8').split('\0').filter(Boolean)
      const names = environment.map((each) => each.split('=')[0] ?? '')
      // PostgreSQL itself adds the last two.
      expect(
        names.filter((name) => !['PATH', 'LC_ALL', 'TZ', 'PGLOCALEDIR', 'PG_GRANDPARENT_PID'].includes(name)),
      ).toEqual([])
    } finally {
      delete process.env['COUNTERSIGN_TEST_SECRET']
    }
  })

  test.runIf(isLinux)('ends when its parent is killed, and starts again over what that left', async () => {
    const options = JSON.stringify({ dataDir: dataDir(), binDir })
    const child = runModule(`
      import { startPostgres } from '${launcher}'
      const server = await startPostgres(${options})
      console.log('pid', server.pid, 'in', server.dataDir)
      setInterval(() => {}, 1000)`)
    const [, , data = ''] = await child.said(/pid (\d+) in (.*)\n/)
    expect(processesIn(data).length).toBeGreaterThan(3)
    child.process.kill('SIGKILL')
    await eventually(() => processesIn(data).length === 0)
    const server = await start({ dataDir: dataDir(), binDir })
    expect(await query(server.url, 'select 1 as n')).toEqual([{ n: 1 }])
  })

  test('a second start on the same data folder is told who runs there', async () => {
    const server = await start({ dataDir: dataDir(), binDir })
    await expect(startPostgres({ dataDir: dataDir(), binDir })).rejects.toMatchObject({
      code: 'POSTGRES_ALREADY_RUNNING',
      message: expect.stringContaining(`process ${server.pid}, port ${server.port}`),
    })
    expect(await query(server.url, 'select 1 as n')).toEqual([{ n: 1 }])
  })
})

test('of concurrent first starts one wins, and the others are told', async () => {
  const dataDir = join(folder, 'raced')
  const outcomes = await Promise.allSettled(Array.from({ length: 4 }, () => start({ dataDir })))
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  for (const outcome of outcomes.filter((each) => each.status === 'rejected')) {
    expect(outcome.reason).toMatchObject({ code: 'POSTGRES_ALREADY_RUNNING' })
  }
})

test('a data folder of another major version is refused in plain words', async () => {
  const dataDir = join(folder, 'older')
  await (await start({ dataDir })).stop()
  await writeFile(join(dataDir, 'PG_VERSION'), '16\n')
  await expect(startPostgres({ dataDir })).rejects.toMatchObject({
    code: 'POSTGRES_OTHER_VERSION',
    message: expect.stringMatching(/was made by PostgreSQL 16, and this is PostgreSQL 18/),
  })
})

test('a folder with something else in it is left alone', async () => {
  const dataDir = join(folder, 'letters')
  await mkdir(dataDir)
  await writeFile(join(dataDir, 'letter.txt'), 'Dear Ada')
  await expect(startPostgres({ dataDir })).rejects.toMatchObject({ code: 'POSTGRES_DATA_FOLDER' })
  expect(await readdir(dataDir)).toEqual(['letter.txt'])
})

test('an initdb that was cut short leaves nothing in the way', async () => {
  const dataDir = join(folder, 'cut-short')
  await mkdir(`${dataDir}.new/base`, { recursive: true })
  await writeFile(`${dataDir}.new/PG_VERSION`, '18\n')
  await writeFile(`${dataDir}.new.password`, 'old')
  await start({ dataDir })
  expect(existsSync(`${dataDir}.new`)).toBe(false)
  expect(existsSync(`${dataDir}.new.password`)).toBe(false)
})

test('a postmaster.pid whose number another process has now is seen through', async () => {
  const dataDir = join(folder, 'stale')
  const first = await start({ dataDir })
  await first.stop()
  const owner = statSync(dataDir)
  // The same user's: PostgreSQL by itself would take this process for a server.
  const other = spawn('sleep', ['60'], { cwd: '/', ...(isRoot ? { uid: owner.uid, gid: owner.gid } : {}) })
  try {
    await writeFile(join(dataDir, 'postmaster.pid'), `${other.pid}\n${dataDir}\n1\n5432\n\n127.0.0.1\n0 0\nready\n`)
    await chown(join(dataDir, 'postmaster.pid'), owner.uid, owner.gid)
    const server = await start({ dataDir })
    expect(await query(server.url, 'select 1 as n')).toEqual([{ n: 1 }])
  } finally {
    other.kill()
  }
})

/** A process may end by itself once another of its server has been killed. */
function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error
  }
}

test.runIf(isLinux)('a server that was killed as a whole recovers what it acknowledged', async () => {
  const dataDir = join(folder, 'killed')
  const server = await start({ dataDir })
  await query(server.url, 'create table kept as select 42 as n')
  for (const pid of processesIn(server.dataDir)) killIfThere(pid)
  await eventually(() => processesIn(server.dataDir).length === 0)
  const again = await start({ dataDir })
  expect(await query(again.url, 'select n from kept')).toEqual([{ n: 42 }])
})

test('a server that cannot start says why', async () => {
  await expect(
    startPostgres({ dataDir: join(folder, 'bad'), settings: { shared_buffers: 'plenty' } }),
  ).rejects.toMatchObject({
    code: 'POSTGRES_DID_NOT_START',
    message: expect.stringContaining('shared_buffers'),
  })
})

test('a folder without a PostgreSQL is said to be one', async () => {
  const binDir = join(folder, 'no-binaries')
  await expect(startPostgres({ dataDir: join(folder, 'none'), binDir })).rejects.toMatchObject({
    code: 'POSTGRES_BINARIES_MISSING',
    message: expect.stringContaining('DATABASE_URL'),
  })
})

test('binaries without their symbolic links (no install scripts were run) get them', async () => {
  const native = dirname(packagedBinDir() ?? '')
  const copy = join(folder, 'bare', 'native')
  await cp(native, copy, { recursive: true, filter: (path) => !path.endsWith('.so.60') })
  expect(existsSync(join(copy, 'lib', 'libicui18n.so.60'))).toBe(false)
  const server = await start({ dataDir: join(folder, 'bare-data'), binDir: join(copy, 'bin') })
  expect(await query(server.url, 'select 1 as n')).toEqual([{ n: 1 }])
})

describe.runIf(isRoot)('as root', () => {
  test('the server runs as an unprivileged user with a passwd entry, who owns the data', async () => {
    const dataDir = join(folder, 'owned')
    const server = await start({ dataDir })
    const user = serverUser(dataDir)
    expect(statSync(server.dataDir).uid).toBe(user?.uid)
    const status = readFileSync(`/proc/${server.pid}/status`, 'utf8')
    expect(status).toMatch(new RegExp(`^Uid:\\t${user?.uid}\\t${user?.uid}\\t${user?.uid}\\t${user?.uid}$`, 'm'))
    expect(status).toMatch(/^Groups:\t\s*$/m)
    expect(readFileSync('/etc/passwd', 'utf8')).toContain(`${user?.name}:`)
  })

  test('under a folder that only root may enter, binaries and data move, and it says so', async () => {
    const closed = join(folder, 'closed')
    await mkdir(closed, { mode: 0o700 })
    await cp(dirname(packagedBinDir() ?? ''), join(closed, 'native'), { recursive: true, verbatimSymlinks: true })
    const said: string[] = []
    const options = {
      dataDir: join(closed, 'data'),
      binDir: join(closed, 'native', 'bin'),
      log: (line: string) => said.push(line),
    }
    const server = await start(options)
    const moved: string[] = [dirname(server.dataDir)]
    try {
      await query(server.url, 'create table kept as select 42 as n')
      expect(server.dataDir).toMatch(/^\/var\/lib\/countersign\/[0-9a-f]{16}\/data$/)
      expect(realpathSync(options.dataDir)).toBe(server.dataDir)
      expect(mode(server.dataDir)).toBe('700')
      const binary = /copying PostgreSQL to (\S+)/.exec(said.join('\n'))?.[1] ?? ''
      expect(binary).toMatch(/^\/var\/lib\/countersign\/[0-9a-f]{16}\/postgresql$/)
      moved.push(dirname(binary))
      expect(said.join('\n')).toContain(`the data folder is ${server.dataDir}`)
      await server.stop()

      const again = await start(options)
      expect(again.dataDir).toBe(server.dataDir)
      expect(await query(again.url, 'select n from kept')).toEqual([{ n: 42 }])
      await again.stop()
    } finally {
      for (const each of moved) await rm(each, { recursive: true })
    }
  })

  test('data that was made in the open moves along when its folder is closed', async () => {
    const home = join(folder, 'closing')
    await mkdir(home, { mode: 0o755 })
    const first = await start({ dataDir: join(home, 'data') })
    await query(first.url, 'create table kept as select 42 as n')
    await first.stop()
    await chmod(home, 0o700)
    const second = await start({ dataDir: join(home, 'data') })
    try {
      expect(second.dataDir).not.toBe(first.dataDir)
      expect(await query(second.url, 'select n from kept')).toEqual([{ n: 42 }])
    } finally {
      await second.stop()
      await rm(dirname(second.dataDir), { recursive: true })
    }
  })
})
