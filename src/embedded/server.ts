import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { messageOf } from '../errors.js'
import type { Binaries } from './binaries.js'
import { Child } from './child.js'
import { readPostmaster, SUPERUSER } from './data-folder.js'
import { HOST } from './port.js'
import type { ServerUser } from './unprivileged.js'

/** Crash recovery replays up to `max_wal_size` of log: minutes on a slow disk. */
export const START_TIMEOUT_MS = 600_000
const STILL_STARTING_MS = 5_000
const FAST_STOP_MS = 60_000

export interface Launch {
  binaries: Binaries
  user: ServerUser | undefined
  dataDir: string
  logFile: string
  settings: Readonly<Record<string, string>>
  log: (line: string) => void
}

/** One try at running the server process. */
export class Server {
  readonly #how: Launch
  readonly #child: Child
  #stopping: Promise<void> | undefined

  constructor(how: Launch, port: number, socketDir: string) {
    this.#how = how
    const settings = {
      wal_level: 'logical',
      // What a failing statement was about stays out of the log: it may be somebody's name.
      log_error_verbosity: 'terse',
      ...how.settings,
      listen_addresses: HOST,
      port: String(port),
      unix_socket_directories: socketDir,
      unix_socket_permissions: '0700',
    }
    this.#child = new Child({
      program: join(how.binaries.dir, 'postgres'),
      words: ['-D', how.dataDir, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      user: how.user,
      logFile: how.logFile,
      signal: 'INT',
    })
  }

  get pid(): number {
    return this.#child.pid
  }

  /** Resolves with why it ended. */
  get ended(): Promise<string> {
    return this.#child.ended
  }

  /** @returns undefined when the server answers, else what it said */
  async ready(password: string): Promise<string | undefined> {
    const began = Date.now()
    let toldAt = began
    while (this.#child.running) {
      const state = readPostmaster(this.#how.dataDir)
      if (state?.pid === this.pid && state.ready) return answers(state.port, password)
      if (Date.now() - began > START_TIMEOUT_MS) return `it was not ready after ${START_TIMEOUT_MS / 1000} s`
      if (Date.now() - toldAt > STILL_STARTING_MS) {
        toldAt = Date.now()
        this.#how.log(`PostgreSQL is still starting, after ${Math.round((toldAt - began) / 1000)} s`)
      }
      await sleep(20)
    }
    return this.#child.said()
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#child.stop(['SIGINT', 'SIGQUIT', 'SIGKILL'], FAST_STOP_MS)
    return this.#stopping
  }
}

/** @returns undefined when the superuser gets in, else why not */
async function answers(port: number, password: string): Promise<string | undefined> {
  const client = new Client({ host: HOST, port, user: SUPERUSER, password, database: 'postgres' })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.end()
    return undefined
  } catch (error) {
    return messageOf(error)
  }
}
