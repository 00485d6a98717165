import { setTimeout as delay } from 'node:timers/promises'
import type pg from 'pg'
import type { Database } from '../db/database.js'
import { ENTRIES_CHANNEL } from './append-statement.js'

/** Told which tenants' logs grew; undefined where any may have. */
export type Wake = (tenants: readonly string[] | undefined) => void

const FIRST_RECONNECT_MS = 100
const SLOWEST_RECONNECT_MS = 5_000

/**
 * A process's one connection that hears of new entries, shared by all who want to know. It may miss some while it
 * reconnects, and then wakes everybody; who listens polls as well, so a lost notice costs time and nothing else.
 */
export class EntriesListener {
  private readonly database: Database
  private readonly onTrouble: (error: unknown) => void
  private readonly wakes = new Set<Wake>()
  private readonly stopping = new AbortController()
  private readonly running: Promise<void>
  private client: pg.Client | undefined

  constructor(database: Database, options: { readonly onTrouble?: (error: unknown) => void } = {}) {
    this.database = database
    this.onTrouble = options.onTrouble ?? (() => undefined)
    this.running = this.run()
  }

  /** Whether notices are heard now; otherwise only polling finds what is new. */
  get connected(): boolean {
    return this.client !== undefined
  }

  /** @returns what ends the listening */
  listen(wake: Wake): () => void {
    this.wakes.add(wake)
    return () => {
      this.wakes.delete(wake)
    }
  }

  async close(): Promise<void> {
    this.stopping.abort()
    await this.client?.end().catch(() => undefined)
    await this.running
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping
    for (let pauseMs = FIRST_RECONNECT_MS; !signal.aborted;) {
      const client = this.database.client('operator')
      const ended = new Promise<void>((resolve) => {
        client.once('end', resolve)
        // What broke the connection is told by the query that meets it, or by nobody: an idle one just ends.
        client.on('error', () => resolve())
      })
      client.on('notification', ({ payload }) => this.heard(payload ?? '*'))
      try {
        await client.connect()
        await client.query(`listen ${ENTRIES_CHANNEL}`)
        this.client = client
        pauseMs = FIRST_RECONNECT_MS
        // Whatever was appended while nobody listened.
        this.tell(undefined)
        if (!signal.aborted) await ended
      } catch (error) {
        this.onTrouble(error)
      }
      this.client = undefined
      await client.end().catch(() => undefined)
      await delay(pauseMs, undefined, { signal }).catch(() => undefined)
      pauseMs = Math.min(2 * pauseMs, SLOWEST_RECONNECT_MS)
    }
  }

  private heard(payload: string): void {
    this.tell(payload === '*' ? undefined : payload.split(' '))
  }

  private tell(tenants: readonly string[] | undefined): void {
    for (const wake of this.wakes) wake(tenants)
  }
}
