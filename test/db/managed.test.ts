import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { localBinDirs } from '../../src/embedded/binaries.js'
import { startPostgres, type RunningPostgres } from '../../src/embedded/postgres.js'
import { openAsInstallation, setUp } from '../../src/keyring/set-up.js'
import { createTenant } from '../../src/keyring/tenants.js'
import { Appender } from '../../src/ledger/appender.js'
import { record } from '../../src/ledger/record.js'
import { host } from '../../src/principal.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'countersign-managed-'))
  await chmod(folder, 0o711) // as root the server runs as another user
})
afterAll(() => rm(folder, { recursive: true }))

/** As providers of managed databases give it: may create roles and databases, and is no superuser. */
async function administrator(server: RunningPostgres): Promise<string> {
  const superuser = new pg.Client({ connectionString: server.url })
  await superuser.connect()
  await superuser.query(`create role administrator login createrole createdb password 'of-the-test'`)
  await superuser.query('create database audit owner administrator template template0')
  await superuser.end()
  const url = new URL(server.url)
  Object.assign(url, { username: 'administrator', password: 'of-the-test', pathname: '/audit' })
  return url.href
}

// Roles belong to a whole server, so this needs one of its own; what an administrator may do changed with PostgreSQL 16.
test.each([
  { which: 'the packaged server', binDir: undefined },
  ...localBinDirs().map((binDir) => ({ which: binDir, binDir })),
])('an administrator who is no superuser can set up $which, and migrate it again', async ({ binDir }) => {
  const name = binDir?.replaceAll('/', '-') ?? 'packaged'
  const server = await startPostgres({ dataDir: join(folder, name, 'data'), binDir })
  try {
    const url = await administrator(server)
    const keyFile = join(folder, `${name}.json`)
    const { installation, migrations } = await setUp(url, keyFile)
    expect(migrations.length).toBeGreaterThan(0)
    expect(await setUp(url, keyFile)).toEqual({ installation, migrations: [] })
    const database = openAsInstallation(url, installation)
    const appender = new Appender(database)
    await createTenant(database, installation, 'acme')
    expect(await record(appender, host('acme'), { type: 'managed.checked' })).toMatchObject({ seq: 1 })
    await appender.close()
    await database.close()
  } finally {
    await server.stop()
  }
})
