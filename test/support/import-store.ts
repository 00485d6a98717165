import type { IngestDeps } from '../../src/keyring/ingest.js'
import { Subjects } from '../../src/keyring/subjects.js'
import { createTenant } from '../../src/keyring/tenants.js'
import { Appender } from '../../src/ledger/appender.js'
import { readLeaf } from '../../src/ledger/entry.js'
import { host } from '../../src/principal.js'
import type { ImportDeps } from '../../src/sources/import.js'
import { importInto } from '../../src/sources/into.js'
import type { TestDatabase } from './database.js'

/** The way into one tenant's log, and what is found there. */
export interface ImportStore extends ImportDeps {
  readonly tenant: string
  /** Runs once before the next batch is appended: what somebody else does in between. */
  before: (() => Promise<unknown>) | undefined
  /** Everything in the log but its opening entry, in order. */
  leaves: () => Promise<Buffer[]>
  /** The callers' ids of everything in the log, in its order. */
  ids: () => Promise<(string | undefined)[]>
  positions: () => Promise<Map<string, string>>
}

/** Tenants of a test database to import into, each as good as a database of its own. */
export class ImportStores {
  readonly deps: IngestDeps
  readonly #server: TestDatabase
  readonly #appender: Appender
  #tenants = 0

  constructor(server: TestDatabase) {
    this.#server = server
    this.#appender = new Appender(server.db)
    this.deps = {
      database: server.db,
      installation: server.installation,
      appender: this.#appender,
      subjects: new Subjects(server.db, server.installation),
    }
  }

  async open(): Promise<ImportStore> {
    this.#tenants += 1
    const tenant = `tenant-${this.#tenants}`
    await createTenant(this.#server.db, this.#server.installation, tenant)
    const into = importInto(this.deps, host(tenant))
    const query = async <Row extends object>(text: string): Promise<Row[]> => {
      const superuser = await this.#superuser()
      return (await superuser.query<Row>(text, [tenant])).rows
    }
    const store: ImportStore = {
      tenant,
      before: undefined,
      position: into.position,
      async ingest(events, position) {
        const { before } = store
        store.before = undefined
        await before?.()
        return into.ingest(events, position)
      },
      async leaves() {
        const rows = await query<{ leaf: Buffer }>(
          'select leaf from entries where tenant = $1 and seq > 0 order by seq',
        )
        return rows.map(({ leaf }) => leaf)
      },
      ids: async () => (await store.leaves()).map((leaf) => readLeaf(leaf).event.id),
      async positions() {
        const rows = await query<{ source: string; position: string }>(
          'select source, position from source_positions where tenant = $1',
        )
        return new Map(rows.map(({ source, position }) => [source, position]))
      },
    }
    return store
  }

  async close(): Promise<void> {
    await this.#appender.close()
    await this.#server.close()
  }

  #connected: ReturnType<TestDatabase['superuser']> | undefined
  #superuser(): ReturnType<TestDatabase['superuser']> {
    this.#connected ??= this.#server.superuser()
    return this.#connected
  }
}
