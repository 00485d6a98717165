import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../errors.js'

/** A server process that is, or was, running. */
export interface ServerProcess {
  readonly pid: number
  /** Resolves with why it ended. */
  readonly ended: Promise<string>
  stop(): Promise<void>
}

export interface WatchOptions<S extends ServerProcess> {
  /** For messages: `PostgreSQL`. */
  readonly name: string
  readonly server: S
  /** Starts it where it was; tells `keep` of each try as it begins, so that it can be stopped. */
  readonly again: (keep: (server: S) => void) => Promise<void>
  readonly tell: (line: string) => void
}

/** Between a server's end and its next start, doubled with each try. */
const FIRST_PAUSE_MS = 250
const MOST_PAUSE_MS = 10_000

/** A server that is started again whenever it ends without having been told to. */
export class Watched<S extends ServerProcess> implements ServerProcess {
  readonly #options: WatchOptions<S>
  readonly #end = new AbortController()
  readonly #watching: Promise<void>
  #server: S

  constructor(options: WatchOptions<S>) {
    this.#options = options
    this.#server = options.server
    this.#watching = this.#watch()
  }

  get pid(): number {
    return this.#server.pid
  }

  get ended(): Promise<string> {
    return this.#watching.then(() => 'it was stopped')
  }

  async stop(): Promise<void> {
    this.#end.abort()
    await this.#server.stop()
    await this.#watching
  }

  async #watch(): Promise<void> {
    const { name, tell } = this.#options
    const { signal } = this.#end
    let pauseMs = FIRST_PAUSE_MS
    for (;;) {
      const began = Date.now()
      const why = await this.#server.ended
      if (signal.aborted) return
      // One that ran for a while had no trouble starting.
      if (Date.now() - began > MOST_PAUSE_MS) pauseMs = FIRST_PAUSE_MS
      tell(`${name} ended by itself (${why}): starting it again`)
      const lostAt = Date.now()
      for (;;) {
        await sleep(pauseMs, undefined, { signal }).catch(() => undefined)
        if (signal.aborted) return
        pauseMs = Math.min(2 * pauseMs, MOST_PAUSE_MS)
        const problem = await this.#again().catch(messageOf)
        if (signal.aborted) return this.#server.stop()
        if (problem === undefined) break
        tell(`${name} does not run yet, next try in ${pauseMs / 1000} s: ${problem}`)
      }
      tell(`${name} runs again, after ${((Date.now() - lostAt) / 1000).toFixed(1)} s`)
    }
  }

  async #again(): Promise<undefined> {
    await this.#options.again((server) => {
      this.#server = server
      // Told to end while it was about to start.
      if (this.#end.signal.aborted) void server.stop()
    })
  }
}
