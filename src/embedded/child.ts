import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, renameSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { as, CHILD_ENV, dieWithParent, type ServerUser } from './unprivileged.js'

const LOG_LIMIT_BYTES = 10 * 1024 * 1024
/** What the end of a server's log may add to a message, in characters. */
const SAID_CHARACTERS = 4_000

export interface ChildOptions {
  readonly program: string
  readonly words: readonly string[]
  readonly user?: ServerUser | undefined
  /** Grows by what the server says; a large one is put aside once. */
  readonly logFile: string
  /** What asks the server to end in good order. */
  readonly signal: 'INT' | 'TERM'
}

/**
 * A server of ours: it ends with the thread that started it, even when that is killed, and sees nothing of our
 * environment. Start it from the main thread.
 */
export class Child {
  readonly #child: ChildProcess
  readonly #signal: NodeJS.Signals
  readonly #logFile: string
  readonly #logFrom: number
  /** Resolves with why it ended. */
  readonly ended: Promise<string>
  #running = true
  #failure = ''

  constructor({ program, words, user, logFile, signal }: ChildOptions) {
    if (existsSync(logFile) && statSync(logFile).size > LOG_LIMIT_BYTES) renameSync(logFile, `${logFile}.1`)
    const output = openSync(logFile, 'a', 0o600)
    this.#logFile = logFile
    this.#logFrom = statSync(logFile).size
    this.#signal = `SIG${signal}`
    const guard = dieWithParent(signal)
    const [file = '', ...rest] = [...guard, program, ...words]
    // In a session of its own: a Ctrl-C at the terminal is ours to handle, and ours may have work to finish first.
    this.#child = spawn(file, rest, { ...as(user), stdio: ['ignore', output, output], detached: true })
    closeSync(output)
    const watch = guard.length === 0 ? watchFor(this.#child, signal) : undefined
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

  get running(): boolean {
    return this.#running
  }

  /** @returns the last of what it wrote to its log, or why it ended when it wrote nothing */
  said(): string {
    const text = readFileSync(this.#logFile).subarray(this.#logFrom).toString('utf8').trim()
    return text === '' ? this.#failure : text.slice(-SAID_CHARACTERS)
  }

  /** Sends these signals, each `patienceMs` after the one before it, until it has ended. */
  async stop(signals: readonly NodeJS.Signals[], patienceMs: number): Promise<void> {
    for (const signal of signals) {
      if (!this.#running) return
      this.#child.kill(signal)
      await Promise.race([this.ended, sleep(patienceMs, undefined, { ref: false })])
    }
  }

  readonly #interrupt = (): void => {
    this.#child.kill(this.#signal)
  }
}

/** Where no system call ties the server to us: a shell that waits for the end of its input, which is our end. */
function watchFor(server: ChildProcess, signal: 'INT' | 'TERM'): ChildProcess {
  const watch = spawn('/bin/sh', ['-c', `read -r _; kill -${signal} "$0"`, String(server.pid)], {
    cwd: '/',
    env: CHILD_ENV,
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  watch.once('error', () => {})
  return watch
}
