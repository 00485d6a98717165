import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { messageOf } from '../errors.js'
import type { Binaries } from './binaries.js'
import { readPostmaster, SUPERUSER } from './data-folder.js'
import { as, CHILD_ENV, dieWithParent, type ServerUser } from './unprivileged.js'

export const HOST = '127.0.0.1'
/** Crash recovery replays up to `max_wal_size` of log: minutes on a slow disk. */
export const START_TIMEOUT_MS = 600_000
const STILL_STARTING_MS = 5_000
const FAST_STOP_MS = 60_000
const LOG_LIMIT_BYTES = 10 * 1024 * 1024

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
  readonly #child: ChildProcess
  /** Resolves with why it ended. */
  readonly ended: Promise<string>
  readonly #logFrom: number
  #running = true
  #failure = ''
  #stopping: Promise<void> | undefined

  constructor(how: Launch, port: number, socketDir: string) {
    this.#how = how
    if (existsSync(how.logFile) && statSync(how.logFile).size > LOG_LIMIT_BYTES) {
      renameSync(how.logFile, `${how.logFile}.1`)
    }
    const output = openSync(how.logFile, 'a', 0o600)
    this.#logFrom = statSync(how.logFile).size
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
    const guard = dieWithParent('INT')
    const [file = '', ...words] = [
      ...guard,
      join(how.binaries.dir, 'postgres'),
      '-D',
      how.dataDir,
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ]
    // In a session of its own: a Ctrl-C at the terminal is ours to handle, and ours may have work to finish first.
    this.#child = spawn(file, words, { ...as(how.user), stdio: ['ignore', output, output], detached: true })
    closeSync(output)
    const watch = guard.length === 0 ? watchFor(this.#child) : undefined
    this.ended = new Promise((done) => {
      const end = (why: string) => {
        this.#running = false
        this.#failure = why
        process.off('exit', this.#interrupt)
        watch?.kill()
        done(why)
      }
      this.#child.once('exit', (code, signal) => end(`it ended with ${signal ?? code}`))
      this.#child.once('error', (error) => end(error.message))
    })
    process.once('exit', this.#interrupt)
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** @returns undefined when the server answers, else what it said */
  async ready(password: string): Promise<string | undefined> {
    const began = Date.now()
    let toldAt = began
    while (this.#running) {
      const state = readPostmaster(this.#how.dataDir)
      if (state?.pid === this.pid && state.ready) return answers(state.port, password)
      if (Date.now() - began > START_TIMEOUT_MS) return `it was not ready after ${START_TIMEOUT_MS / 1000} s`
      if (Date.now() - toldAt > STILL_STARTING_MS) {
        toldAt = Date.now()
        this.#how.log(`PostgreSQL is still starting, after ${Math.round((toldAt - began) / 1000)} s`)
      }
      await sleep(20)
    }
    const said = readFileSync(this.#how.logFile).subarray(this.#logFrom).toString('utf8').trim()
    return said === '' ? this.#failure : said.slice(-4_000)
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop(): Promise<void> {
    for (const signal of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
      if (!this.#running) return
      this.#child.kill(signal)
      await Promise.race([this.ended, sleep(FAST_STOP_MS, undefined, { ref: false })])
    }
  }

  readonly #interrupt = (): void => {
    this.#child.kill('SIGINT')
  }
}

/** Where no system call ties the server to us: a shell that waits for the end of its input, which is our end. */
function watchFor(server: ChildProcess): ChildProcess {
  const watch = spawn('/bin/sh', ['-c', 'read -r _; kill -INT "$0"', String(server.pid)], {
    cwd: '/',
    env: CHILD_ENV,
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  watch.once('error', () => {})
  return watch
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
