import { fileURLToPath } from 'node:url'
import { TASK_QUEUE } from '../workflows/messages.js'
import { failuresByCode } from './activities/failure.js'
import type { Config } from './config.js'
import type { Database } from './db/database.js'
import type { Installation } from './keyring/installation.js'
import type { Log } from './log.js'
import { openTemporal } from './temporal/connection.js'
import type { TemporalTarget } from './temporal/target.js'
import type { WorkflowsState } from './temporal/state.js'
import { keepWorker } from './temporal/worker-connection.js'

export interface WorkerDeps {
  readonly database: Database
  readonly installation: Installation
  readonly target: TemporalTarget
  readonly log: Log
  /** Another build of the workflows, another task queue, further activities: for tests. */
  readonly bundle?: string
  readonly taskQueue?: string
  readonly activities?: object
}

export interface RunningWorker {
  readonly state: WorkflowsState
  /** Takes nothing more, lets end what runs, then ends. */
  close(): Promise<void>
}

const BUNDLE = fileURLToPath(new URL('../workflow-bundle.js', import.meta.url))

/**
 * Starts what moves workflows, in this process: the dispatcher, which tells Temporal what the log says, and a worker,
 * which does what Temporal says. Any number of processes may do so. Returns at once: what cannot be reached is tried
 * again until it can.
 */
export function startWorker(config: Pick<Config, 'shutdownTimeoutMs'>, deps: WorkerDeps): RunningWorker {
  const { log } = deps
  const temporal = openTemporal(deps.target)
  const worker = keepWorker({
    temporal,
    taskQueue: deps.taskQueue ?? TASK_QUEUE,
    bundle: deps.bundle ?? BUNDLE,
    activities: { ...deps.activities },
    interceptors: {
      activity: [failuresByCode((error, activity) => log.error({ err: error, activity }, 'an activity failed'))],
    },
    drainMs: config.shutdownTimeoutMs,
    log,
  })
  return {
    get state() {
      return worker.state
    },
    async close() {
      await worker.close()
      await temporal.close()
    },
  }
}
