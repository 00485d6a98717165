import { setTimeout as sleep } from 'node:timers/promises'
import { DomainError } from '../errors.js'
import { Child } from './child.js'
import { freePort, HOST, isFree } from './port.js'
import { Watched, type ServerProcess } from './watched.js'

export interface TemporalServerOptions {
  /** The command line `temporal`. */
  readonly program: string
  /** Its SQLite file; made when it is not there. The log lies beside it. */
  readonly dbFile: string
  readonly namespace: string
  /** Taken where they are free, else others are. */
  readonly ports?: TemporalPorts | undefined
  /** Refuses to take others. */
  readonly fixedPorts?: boolean
  /** Where given, a server that ends by itself is started again on its ports, and this is told of it. */
  readonly onRestart?: ((line: string) => void) | undefined
}

export interface TemporalPorts {
  readonly port: number
  readonly uiPort: number
}

export interface RunningTemporalServer extends TemporalPorts {
  readonly address: string
  readonly uiUrl: string
  /** Another one once it was started again. */
  readonly pid: number
  stop(): Promise<void>
}

const START_TIMEOUT_MS = 60_000
const STOP_MS = 10_000
const ATTEMPTS = 5

/**
 * Starts Temporal's development server: one process, SQLite, without authentication, on 127.0.0.1 only. It ends with this
 * process, even when that is killed. Call it from the main thread.
 * @throws DomainError TEMPORAL_DID_NOT_START
 */
export async function startTemporalServer(options: TemporalServerOptions): Promise<RunningTemporalServer> {
  for (let attempt = 1; ; attempt += 1) {
    const ports = await choosePorts(attempt === 1 || options.fixedPorts === true ? options.ports : undefined)
    if (options.fixedPorts === true && ports.port !== options.ports?.port) {
      throw didNotStart(options, `port ${options.ports?.port ?? 0} is taken`)
    }
    const server = new TemporalServer(options, ports)
    const problem = await server.ready()
    if (problem === undefined) return running(options, server, ports)
    await server.stop()
    // Somebody took a port in between.
    if (!/address already in use/.test(problem) || attempt === ATTEMPTS) throw didNotStart(options, problem)
  }
}

function running(options: TemporalServerOptions, first: TemporalServer, ports: TemporalPorts): RunningTemporalServer {
  const again = async (keep: (server: TemporalServer) => void) => {
    const server = new TemporalServer(options, ports)
    keep(server)
    const problem = await server.ready()
    if (problem !== undefined) {
      await server.stop()
      throw didNotStart(options, problem)
    }
  }
  const { onRestart: tell } = options
  const server: ServerProcess = tell ? new Watched({ name: 'Temporal', server: first, again, tell }) : first
  return {
    ...ports,
    address: `${HOST}:${ports.port}`,
    uiUrl: `http://${HOST}:${ports.uiPort}`,
    get pid() {
      return server.pid
    },
    stop: () => server.stop(),
  }
}

function didNotStart({ dbFile }: TemporalServerOptions, problem: string): DomainError {
  return new DomainError('TEMPORAL_DID_NOT_START', `Temporal did not start (see ${dbFile}.log):\n${problem}`)
}

async function choosePorts(wanted: TemporalPorts | undefined): Promise<TemporalPorts> {
  const port = wanted !== undefined && (await isFree(wanted.port)) ? wanted.port : await freePort()
  const uiPort = wanted !== undefined && (await isFree(wanted.uiPort)) ? wanted.uiPort : await freePort()
  return { port, uiPort }
}

/** One try at running the server process. */
class TemporalServer implements ServerProcess {
  readonly #child: Child
  readonly #health: string
  #stopping: Promise<void> | undefined

  constructor({ program, dbFile, namespace }: TemporalServerOptions, { port, uiPort }: TemporalPorts) {
    this.#health = `http://${HOST}:${uiPort}/api/v1/namespaces/${encodeURIComponent(namespace)}`
    const flags = Object.entries({
      ip: HOST,
      port,
      'ui-port': uiPort,
      'db-filename': dbFile,
      namespace,
      'log-level': 'warn',
      'log-format': 'json',
      color: 'never',
      // No question to Temporal's makers which version is the newest.
      'dynamic-config-value': 'frontend.enableServerVersionCheck=false',
    }).flatMap(([name, value]) => [`--${name}`, String(value)])
    this.#child = new Child({
      program: '/bin/sh',
      // Its files are for their owner to read. One made for it beforehand it takes for a database that is set up.
      words: ['-c', 'umask 077; exec "$0" "$@"', program, 'server', 'start-dev', ...flags],
      logFile: `${dbFile}.log`,
      signal: 'TERM',
    })
  }

  get pid(): number {
    return this.#child.pid
  }

  get ended(): Promise<string> {
    return this.#child.ended
  }

  /** @returns undefined when it knows our namespace, else what it said */
  async ready(): Promise<string | undefined> {
    const began = Date.now()
    while (this.#child.running) {
      const response = await fetch(this.#health, { signal: AbortSignal.timeout(5_000) }).catch(() => undefined)
      await response?.body?.cancel()
      if (response?.ok === true) return undefined
      if (Date.now() - began > START_TIMEOUT_MS) return `it was not ready after ${START_TIMEOUT_MS / 1000} s`
      await sleep(50)
    }
    return this.#child.said()
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#child.stop(['SIGTERM', 'SIGKILL'], STOP_MS)
    return this.#stopping
  }
}
