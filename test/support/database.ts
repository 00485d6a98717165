import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { parsers } from '../../src/db/parsers.js'
import type { Database } from '../../src/db/database.js'
import type { Installation } from '../../src/keyring/installation.js'
import { loginOf } from '../../src/keyring/installation.js'
import { loginRoles } from '../../src/db/database.js'
import { openAsInstallation, setUp } from '../../src/keyring/set-up.js'

/** A migrated database of a test file's own, with its own installation. */
export interface TestDatabase {
  /** Superuser's address of this database. */
  readonly url: string
  readonly home: string
  readonly keyFile: string
  readonly installation: Installation
  readonly db: Database
  /** A connection of its own as superuser; closed with the database. */
  superuser(): Promise<pg.Client>
  close(): Promise<void>
}

function serverUrl(): string {
  const url = process.env['COUNTERSIGN_TEST_PG']
  if (!url) throw new Error('COUNTERSIGN_TEST_PG is not set: run the tests by npm test')
  return url
}

export async function testDatabase(): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`
  const server = new pg.Client({ connectionString: serverUrl() })
  await server.connect()
  await server.query(`create database ${name} template template0`)
  const address = new URL(serverUrl())
  address.pathname = `/${name}`
  const url = address.href

  const home = await mkdtemp(join(tmpdir(), 'countersign-test-'))
  const keyFile = join(home, 'keys.json')
  const { installation } = await setUp(url, keyFile)
  const db = openAsInstallation(url, installation)
  const clients: pg.Client[] = []

  return {
    url,
    home,
    keyFile,
    installation,
    db,
    async superuser() {
      const client = new pg.Client({ connectionString: url, types: parsers })
      client.on('error', () => undefined)
      await client.connect()
      clients.push(client)
      return client
    },
    async close() {
      await Promise.all(clients.map((client) => client.end()))
      await db.close()
      await server.query(`drop database ${name} with (force)`)
      for (const role of loginRoles) await server.query(`drop role ${loginOf(installation, role).user}`)
      await server.end()
      await rm(home, { recursive: true })
    },
  }
}
