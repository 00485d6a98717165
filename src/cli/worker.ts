import { readConfig, type Config } from '../config.js'
import { provideTemporal } from '../embedded/temporal-home.js'
import { DomainError, messageOf } from '../errors.js'
import { jsonLog, type Log } from '../log.js'
import type { WorkflowsState } from '../temporal/state.js'
import type { TemporalTarget } from '../temporal/target.js'
import type { RunningWorker } from '../worker.js'
import { leaf, type Cli, type Frame } from './cli.js'
import { openHost, provide, type Host } from './host.js'
import { untilAborted } from './serve.js'

export function workerCommand(frame: Frame): void {
  leaf(frame, frame.program, {
    usage: 'worker',
    what: 'move workflows until it is told to end: the dispatcher and a Temporal worker',
    more: `What "up" runs beside the API, as a process of its own; any number of them may run. Log lines, one JSON object each, go to
standard error. Ctrl-C or SIGTERM ends it in good order: it takes nothing more and lets end what runs. Temporal is the one of
TEMPORAL_ADDRESS, else the one of this home, which is found or made as "up" does it; "doctor" says how.`,
    examples: ['worker', 'worker --json'],
    run: worker,
  })
}

async function worker(cli: Cli): Promise<void> {
  const config = readConfig()
  const provided = await provide(config, cli, { lasting: true })
  try {
    const host = await openHost(config, provided)
    try {
      const log = jsonLog(config.logLevel, cli.err)
      const workflows = runWorkflows(host, { log, say: (line) => cli.note(line), warn: (line) => cli.warn(line) })
      try {
        cli.result({ pid: process.pid }, () => `Worker of process ${process.pid}: Ctrl-C ends it\n`)
        await untilAborted(cli.signal)
      } finally {
        await workflows.close()
      }
    } finally {
      await host.close()
    }
  } finally {
    await provided.close()
  }
}

/** The Temporal that workflows run on. */
export interface TemporalPlace {
  readonly target: TemporalTarget
  /** Its own pages, where they are known. */
  readonly uiUrl?: string
  /** `1.29.1, on the PATH` */
  readonly what: string
}

export interface Workflows {
  readonly state: WorkflowsState
  /** Resolves with the Temporal once there is one; never when it is closed before. */
  readonly found: Promise<TemporalPlace>
  close(): Promise<void>
}

export interface WorkflowsOptions {
  readonly log: Log
  /** What is going on. */
  readonly say: (line: string) => void
  readonly warn: (line: string) => void
}

/** After what is missing may have been installed. */
const AGAIN_MS = 60_000

/** Finds or starts Temporal, then runs dispatcher and worker on it, all behind the caller's back. */
export function runWorkflows({ config, database, installation }: Host, options: WorkflowsOptions): Workflows {
  const end = new AbortController()
  let running: RunningWorker | undefined
  let letGo: (() => Promise<void>) | undefined
  let tell: (place: TemporalPlace) => void
  const found = new Promise<TemporalPlace>((resolve) => (tell = resolve))

  async function begin(): Promise<void> {
    const { place, close } = await reach(config, options, end.signal)
    letGo = close
    if (end.signal.aborted) return
    // Loaded here: the worker's library takes its time, and no other command needs it.
    const { startWorker } = await import('../worker.js')
    if (end.signal.aborted) return
    running = startWorker(config, { database, installation, target: place.target, log: options.log })
    tell(place)
  }

  const begun = begin().catch((error: unknown) => {
    if (!end.signal.aborted) options.warn(messageOf(error))
  })
  return {
    get state() {
      return running?.state ?? 'waiting'
    },
    found,
    async close() {
      end.abort()
      await begun
      await running?.close()
      await letGo?.()
    },
  }
}

async function reach(
  config: Config,
  { say, warn }: WorkflowsOptions,
  signal: AbortSignal,
): Promise<{ place: TemporalPlace; close: () => Promise<void> }> {
  const { configuredTemporal } = await import('../temporal/target.js')
  const target = configuredTemporal(config)
  if (target !== undefined) {
    return {
      place: { target, what: `${target.address}, namespace ${target.namespace}` },
      close: () => Promise.resolve(),
    }
  }
  let said: string | undefined
  for (;;) {
    signal.throwIfAborted()
    try {
      const local = await provideTemporal(config, { log: say, warn, signal })
      const { address, namespace, uiUrl, version, how } = local
      const place = { target: { address, namespace }, uiUrl, what: `${version}, ${HOW[how]}` }
      return { place, close: () => local.close() }
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof DomainError)) throw error
      if (said !== error.message) warn(`workflows wait: ${error.message}`)
      said = error.message
    }
    await pause(AGAIN_MS, signal)
  }
}

const HOW = {
  path: 'from the PATH',
  cache: 'from the cache',
  built: 'built with Go',
  downloaded: 'downloaded',
  running: 'run by another process of this home',
} as const

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms)
    function done() {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    signal.addEventListener('abort', done)
  })
}
