import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../config.js'
import { DomainError, messageOf, systemCode } from '../errors.js'
import { makeHome, writePrivate } from './home.js'
import { withLock } from './lock.js'
import { processIdentity, stillRuns, type ProcessIdentity } from './process-identity.js'
import { obtainTemporal, type TemporalProgram } from './temporal-program.js'
import { startTemporalServer, type RunningTemporalServer, type TemporalPorts } from './temporal-server.js'

/** Where Temporal's things lie in the home folder. */
export function temporalPaths(home: string) {
  return {
    /** Its SQLite file. */
    db: join(home, 'temporal.db'),
    /** The running server, and the ports that it takes again. */
    run: join(home, 'temporal.json'),
    lock: join(home, 'temporal.lock'),
  }
}

/**
 * What the process that runs Temporal in a home says of it. Apart from run.json: it may be another process than the one
 * that runs PostgreSQL, and there is one with DATABASE_URL too.
 */
interface TemporalRun extends TemporalPorts {
  readonly namespace: string
  readonly version: string
  /** Absent when nobody runs it. */
  readonly owner?: ProcessIdentity
  readonly server?: ProcessIdentity
}

export interface ProvidedTemporal {
  /** `host:port`; it stays the same for as long as this is not closed. */
  readonly address: string
  readonly uiUrl: string
  readonly namespace: string
  readonly version: string
  /** How its program was found; `running` when another process of this home runs the server. */
  readonly how: TemporalProgram['how'] | 'running'
  /** Lets go of it; a server that was started here is stopped. */
  close(): Promise<void>
}

export interface ProvideTemporalOptions {
  readonly log: (line: string) => void
  /** Told when the server ended by itself, and when it is back. */
  readonly warn: (line: string) => void
  readonly signal?: AbortSignal
}

type Settings = Pick<Config, 'home' | 'temporalCacheDir' | 'temporalNamespace'>

const LOCK_WAIT_MS = 120_000
/** How often a process that uses another's server looks whether that process is still there. */
const OWNER_LOOK_MS = 500
/** What a server whose process was killed gets to end by itself. */
const LEFT_BEHIND_MS = 15_000
const PORT_WAIT_MS = 250

/**
 * Gives the Temporal of a home: the one that another process runs there, else one that is started here and ends with us.
 * When the other process ends, the server is started here, at the same address.
 * @throws DomainError TEMPORAL_MISSING, TEMPORAL_DID_NOT_START
 */
export async function provideTemporal(settings: Settings, options: ProvideTemporalOptions): Promise<ProvidedTemporal> {
  await makeHome(settings.home)
  const keeper = new Keeper(settings, options)
  await keeper.begin()
  return keeper
}

/** @returns where the Temporal of a home answers, while a process runs one */
export function runningTemporal(home: string): { address: string; uiUrl: string; namespace: string } | undefined {
  const run = readRun(home)
  if (run?.owner === undefined || !stillRuns(run.owner)) return undefined
  return { ...addresses(run), namespace: run.namespace }
}

class Keeper implements ProvidedTemporal {
  readonly #settings: Settings
  readonly #options: ProvideTemporalOptions
  readonly #end = new AbortController()
  #server: RunningTemporalServer | undefined
  #run: TemporalRun | undefined
  #watching: Promise<void> | undefined
  #how: ProvidedTemporal['how'] = 'running'

  constructor(settings: Settings, options: ProvideTemporalOptions) {
    this.#settings = settings
    this.#options = options
  }

  get address(): string {
    return addresses(this.#known()).address
  }
  get uiUrl(): string {
    return addresses(this.#known()).uiUrl
  }
  get namespace(): string {
    return this.#known().namespace
  }
  get version(): string {
    return this.#known().version
  }
  get how(): ProvidedTemporal['how'] {
    return this.#how
  }

  async begin(): Promise<void> {
    if (!(await this.#join())) await this.#start()
    if (this.#server === undefined) this.#watching = this.#watchOwner()
  }

  async close(): Promise<void> {
    this.#end.abort()
    await this.#watching
    const server = this.#server
    if (server === undefined) return
    this.#server = undefined
    await server.stop()
    await this.#locked(async () => {
      const { owner: _, server: __, ...rest } = this.#known()
      await this.#write(rest)
    })
  }

  #known(): TemporalRun {
    if (this.#run === undefined) throw new Error('asked before it began')
    return this.#run
  }

  async #join(): Promise<boolean> {
    const run = readRun(this.#settings.home)
    if (run?.owner === undefined || !stillRuns(run.owner)) return false
    this.#run = run
    this.#how = 'running'
    return true
  }

  /** Starts the server, unless somebody else has done so meanwhile. @param address it must have, when it is known to others */
  async #start(address?: TemporalPorts): Promise<void> {
    const { home, temporalCacheDir: cacheDir, temporalNamespace: namespace } = this.#settings
    const { log, signal = this.#end.signal } = this.#options
    // May take minutes, and whoever else wants one gets it from the same place.
    const program = await obtainTemporal({ cacheDir, log, signal })
    await this.#locked(async () => {
      if (await this.#join()) return
      const last = readRun(home)
      await ended(last?.server)
      const server = await startTemporalServer({
        program: program.program,
        dbFile: temporalPaths(home).db,
        namespace,
        ports: address ?? last,
        fixedPorts: address !== undefined,
        onRestart: (line) => {
          this.#options.warn(line)
          void this.#announce(server, program.version).catch((error: unknown) => this.#options.warn(messageOf(error)))
        },
      })
      this.#server = server
      this.#how = program.how
      await this.#announce(server, program.version)
    })
  }

  async #announce({ port, uiPort, pid }: RunningTemporalServer, version: string): Promise<void> {
    const owner = processIdentity(process.pid) ?? { pid: process.pid, started: '' }
    const server = processIdentity(pid)
    const { temporalNamespace: namespace } = this.#settings
    this.#run = { port, uiPort, namespace, version, owner, ...(server !== undefined && { server }) }
    await this.#write(this.#run)
  }

  async #watchOwner(): Promise<void> {
    const { signal } = this.#end
    let told = false
    while (!signal.aborted && this.#server === undefined) {
      await sleep(OWNER_LOOK_MS, undefined, { signal }).catch(() => undefined)
      const known = this.#known()
      if (signal.aborted || (await this.#join())) continue
      if (!told) this.#options.log('the process that ran Temporal has ended: starting it here')
      told = true
      try {
        await this.#start(known)
      } catch (error) {
        if (!signal.aborted) this.#options.warn(messageOf(error))
        await sleep(PORT_WAIT_MS, undefined, { signal }).catch(() => undefined)
      }
    }
  }

  #write(run: TemporalRun): Promise<void> {
    return writePrivate(temporalPaths(this.#settings.home).run, `${JSON.stringify(run)}\n`)
  }

  #locked(work: () => Promise<void>): Promise<void> {
    const onWait = (pid: number) => this.#options.log(`waiting for process ${pid}, which starts or stops Temporal`)
    return withLock(temporalPaths(this.#settings.home).lock, { waitMs: LOCK_WAIT_MS, onWait }, work)
  }
}

function addresses({ port, uiPort }: TemporalPorts): { address: string; uiUrl: string } {
  return { address: `127.0.0.1:${port}`, uiUrl: `http://127.0.0.1:${uiPort}` }
}

function readRun(home: string): TemporalRun | undefined {
  try {
    return JSON.parse(readFileSync(temporalPaths(home).run, 'utf8')) as TemporalRun
  } catch (error) {
    // A file that somebody mangled says nothing: the server is started on other ports.
    if (error instanceof SyntaxError || systemCode(error) === 'ENOENT') return undefined
    throw error
  }
}

/** A server has its file to itself: one that was left behind is waited for, then killed. */
async function ended(server: ProcessIdentity | undefined): Promise<void> {
  if (server === undefined) return
  const deadline = Date.now() + LEFT_BEHIND_MS
  while (stillRuns(server)) {
    if (Date.now() > deadline + LEFT_BEHIND_MS) {
      throw new DomainError('TEMPORAL_DID_NOT_START', `process ${server.pid}, an earlier Temporal, does not end`)
    }
    if (Date.now() > deadline) process.kill(server.pid, 'SIGKILL')
    await sleep(100)
  }
}
