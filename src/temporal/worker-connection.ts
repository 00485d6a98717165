import { IllegalStateError } from '@temporalio/common'
import {
  makeTelemetryFilterString,
  NativeConnection,
  Runtime,
  Worker,
  type LogLevel,
  type WorkerOptions,
} from '@temporalio/worker'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../errors.js'
import type { Log } from '../log.js'
import { namespaceOf, type Temporal } from './connection.js'
import { dataConverter } from './data-converter.js'
import { ensureNamespace } from './namespace.js'
import type { WorkflowsState } from './state.js'

export interface KeepWorkerOptions {
  readonly temporal: Temporal
  readonly taskQueue: string
  /** The workflows as `npm run build` bundled them: a path. */
  readonly bundle: string
  readonly activities: object
  readonly interceptors?: WorkerOptions['interceptors']
  /** Milliseconds that activities get to end by themselves once `close` is called. */
  readonly drainMs: number
  readonly log: Log
}

export interface KeptWorker {
  readonly state: WorkflowsState
  /** Takes no more tasks, lets activities end, and returns when all have. */
  close(): Promise<void>
}

/** Between two tries to reach Temporal, doubled with each. */
const FIRST_PAUSE_MS = 250
const MOST_PAUSE_MS = 5_000
/** How often Temporal is asked whether it is still there; the SDK's own polling survives an outage without a word. */
const HEALTH_EVERY_MS = 2_000

/**
 * Runs a worker for as long as it is not told to end: a connection that fails at once, as the SDK's does where nobody
 * listens, is tried again, and so is a worker that fails.
 */
export function keepWorker(options: KeepWorkerOptions): KeptWorker {
  const { temporal, log } = options
  const end = new AbortController()
  let state: WorkflowsState = 'waiting'
  let working: Worker | undefined

  const become = (next: WorkflowsState, why?: unknown) => {
    if (state === next || (end.signal.aborted && next === 'ready')) return
    state = next
    if (next === 'ready') log.info({ address: temporal.target.address }, 'workflows run')
    else if (!end.signal.aborted) log.warn({ err: why }, 'workflows wait: Temporal does not answer')
  }

  async function work(): Promise<void> {
    const { address, namespace, access } = temporal.target
    await ensureNamespace(temporal)
    installRuntime(log)
    const connection = await NativeConnection.connect({ address, ...access })
    try {
      const worker = await Worker.create({
        connection,
        namespace,
        taskQueue: options.taskQueue,
        workflowBundle: { codePath: options.bundle },
        activities: options.activities,
        dataConverter: dataConverter(),
        ...(options.interceptors !== undefined && { interceptors: options.interceptors }),
        shutdownGraceTime: options.drainMs,
      })
      working = worker
      const running = worker.run()
      if (end.signal.aborted) worker.shutdown()
      become('ready')
      await running
    } finally {
      working = undefined
      await connection.close()
    }
  }

  async function keepWorking(): Promise<void> {
    let pauseMs = FIRST_PAUSE_MS
    let said: string | undefined
    while (!end.signal.aborted) {
      try {
        await work()
        pauseMs = FIRST_PAUSE_MS
      } catch (error) {
        const wasReady = state === 'ready'
        become('waiting', error)
        if (wasReady) pauseMs = FIRST_PAUSE_MS
        else if (messageOf(error) === said) log.debug({ err: error }, 'still no worker')
        // Once each: a wrong key is somebody's to mend, and nothing else would tell of it.
        else log.warn({ err: error }, 'no worker yet: trying again until there is one')
        said = wasReady ? undefined : messageOf(error)
      }
      await pause(pauseMs, end.signal)
      pauseMs = Math.min(2 * pauseMs, MOST_PAUSE_MS)
    }
  }

  async function watch(): Promise<void> {
    while (!end.signal.aborted) {
      await pause(HEALTH_EVERY_MS, end.signal)
      if (working === undefined || end.signal.aborted) continue
      try {
        const found = await namespaceOf(temporal, HEALTH_EVERY_MS)
        // A database of Temporal's that was made anew lacks it: whoever polls would be refused.
        if (found === undefined) await ensureNamespace(temporal)
        if (working !== undefined) become('ready')
      } catch (error) {
        become('waiting', error)
      }
    }
  }

  const ended = Promise.all([keepWorking(), watch()])
  return {
    get state() {
      return state
    },
    async close() {
      end.abort()
      state = 'waiting'
      if (working?.getState() === 'RUNNING') working.shutdown()
      await ended
    },
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined)
}

/**
 * The SDK has one runtime for a process: its log lines go to whoever installed it. It ends with its last connection, and
 * one without any would keep the process from ending: so it is installed right before each connection, where there is none.
 */
function installRuntime(log: Log): void {
  const to = (level: LogLevel) => (message: string, meta?: object) => {
    if (level === 'ERROR') log.error({ ...meta }, message)
    else if (level === 'WARN') log.warn({ ...meta }, message)
    else log.debug({ ...meta }, message)
  }
  try {
    Runtime.install({
      logger: {
        log: (level, message, meta) => to(level)(message, meta),
        trace: () => {},
        debug: () => {},
        info: to('INFO'),
        warn: to('WARN'),
        error: to('ERROR'),
      },
      // Without, the library's own lines would go past us to the terminal.
      telemetryOptions: {
        logging: { forward: {}, filter: makeTelemetryFilterString({ core: 'WARN', other: 'ERROR' }) },
      },
      // Signals are ours to handle: the process may have more to end than its worker.
      shutdownSignals: [],
    })
  } catch (error) {
    if (!(error instanceof IllegalStateError)) throw error // else there is one
  }
}
