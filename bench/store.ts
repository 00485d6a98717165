import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { parseDatabaseUrl } from '../src/db/address.js'
import { openDatabase, type Database } from '../src/db/database.js'
import { parsers } from '../src/db/parsers.js'
import { startPostgres } from '../src/embedded/postgres.js'
import { loginOf, type Installation } from '../src/keyring/installation.js'
import { setUp } from '../src/keyring/set-up.js'
import { createTenant } from '../src/keyring/tenants.js'
import type { PreparedEvent } from '../src/ledger/batch.js'
import { prepare } from '../src/ledger/prepare.js'
import { eventOf } from './events.js'

/** A PostgreSQL of the bench's own, with a hundred tenants. */
export interface Store {
  readonly database: Database
  readonly installation: Installation
  readonly keyFile: string
  /** Superuser's address, and how it is reached. */
  readonly url: string
  readonly reachedBy: string
  readonly version: string
  readonly admin: pg.Client
  /** A fresh checkpoint, so that no sample pays for the one before. */
  settle(): Promise<void>
  close(): Promise<void>
}

export const TENANTS = 100
export const tenantOf = (n: number): string => `bench-${n % TENANTS}`
export const principal = (n: number) => ({
  tenant: tenantOf(n),
  id: 'service:billing',
  via: 'token:01BENCH',
  permissions: [],
})

export async function openStore(log: (line: string) => void): Promise<Store> {
  const home = await mkdtemp(join(tmpdir(), 'countersign-bench-'))
  // The server runs as another user where this runs as root, and must get through.
  await chmod(home, 0o711)
  const server = await startPostgres({
    dataDir: join(home, 'data'),
    settings: { shared_buffers: '2GB', max_wal_size: '6GB', checkpoint_timeout: '30min', max_connections: '200' },
    log,
  })
  const name = `bench_${randomBytes(4).toString('hex')}`
  const maintenance = new pg.Client({ connectionString: server.url })
  await maintenance.connect()
  await maintenance.query(`create database ${name} template template0`)
  await maintenance.end()
  const address = new URL(server.url)
  address.pathname = `/${name}`
  const url = address.href
  const keyFile = join(home, 'keys.json')
  const { installation } = await setUp(url, keyFile)
  const database = openDatabase({
    address: parseDatabaseUrl(url).address,
    credentials: (role) => loginOf(installation, role),
    poolSize: 64,
  })
  for (let n = 0; n < TENANTS; n++) await createTenant(database, installation, tenantOf(n))
  await createTenant(database, installation, 'hot')
  const admin = new pg.Client({ connectionString: url, types: parsers })
  await admin.connect()
  return {
    database,
    installation,
    keyFile,
    url,
    // As the product itself: a Unix socket takes 208 KiB at a time here, and a batch behind it waits for the event loop.
    reachedBy: 'TCP on loopback',
    version: server.version,
    admin,
    async settle() {
      await admin.query('checkpoint')
    },
    async close() {
      await admin.end()
      await database.close()
      await server.stop()
      await rm(home, { recursive: true, force: true })
    },
  }
}

/** Objects as a caller has them. A few, taken in turn: a large live heap would measure the garbage collector. */
const objects = Array.from({ length: 1000 }, (_, n) => eventOf(n))

/** The n-th event, ready to be chained: making it canonical is part of the measure, making it up is not. */
export function preparedOf(n: number): PreparedEvent {
  const event = objects[n % objects.length]
  if (!event) throw new RangeError(`no event ${n}`)
  return prepare(event, { by: principal(n) }, 0)
}
