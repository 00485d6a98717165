import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { Database } from '../../src/db/database.js'
import { parsers } from '../../src/db/parsers.js'
import { startPostgres, type RunningPostgres, type StartOptions } from '../../src/embedded/postgres.js'
import type { Installation } from '../../src/keyring/installation.js'
import { openAsInstallation, setUp } from '../../src/keyring/set-up.js'
import { processesIn } from './processes.js'
import { Proxy } from './proxy.js'

/** A PostgreSQL of a test's own, to be killed and started again, behind an address that stays the same. */
export interface OwnServer {
  /** Superuser's address of the database, by way of the proxy. */
  readonly url: string
  readonly proxy: Proxy
  readonly keyFile: string
  readonly installation: Installation
  /** By way of the proxy. */
  readonly db: Database
  readonly folder: string
  /** Kills every process of the server at once. @returns how many there were */
  kill(): number
  /** Starts the server again on its data. */
  start(): Promise<void>
  /** A superuser's connection, past the proxy; the caller ends it. */
  admin(): Promise<pg.Client>
  close(): Promise<void>
}

export async function ownServer(options: Omit<StartOptions, 'dataDir'> & { folder?: string } = {}): Promise<OwnServer> {
  const { folder = await mkdtemp(join(tmpdir(), `countersign-test-${process.pid}-`)), ...rest } = options
  // The server runs as another user where this runs as root, and must get through.
  await chmod(folder, 0o711)
  const settings = { shared_buffers: '32MB', max_connections: '100', ...options.settings }
  const launch = () => startPostgres({ dataDir: join(folder, 'data'), ...rest, settings })
  let server: RunningPostgres = await launch()
  const maintenance = new pg.Client({ connectionString: server.url })
  await maintenance.connect()
  const name = `test_${randomBytes(6).toString('hex')}`
  await maintenance.query(`create database ${name} template template0`)
  await maintenance.end()
  const addressOf = ({ url }: RunningPostgres) => {
    const address = new URL(url)
    address.pathname = `/${name}`
    return address.href
  }
  const home = await mkdtemp(join(tmpdir(), 'countersign-test-'))
  const keyFile = join(home, 'keys.json')
  const { installation } = await setUp(addressOf(server), keyFile)
  const proxy = await Proxy.to(addressOf(server))
  const db = openAsInstallation(proxy.url, installation)
  return {
    url: proxy.url,
    proxy,
    keyFile,
    installation,
    db,
    folder,
    kill() {
      const pids = processesIn(server.dataDir)
      for (const pid of pids) {
        try {
          process.kill(pid, 'SIGKILL')
        } catch {
          // It ended by itself, its parent being gone.
        }
      }
      return pids.length
    },
    async start() {
      await server.stop()
      server = await launch()
      proxy.aim(addressOf(server))
    },
    async admin() {
      const client = new pg.Client({ connectionString: addressOf(server), types: parsers })
      client.on('error', () => undefined)
      await client.connect()
      return client
    },
    async close() {
      await db.close()
      await proxy.close()
      await server.stop()
      await rm(home, { recursive: true })
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true })
    },
  }
}
