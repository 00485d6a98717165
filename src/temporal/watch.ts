import { setTimeout as sleep } from 'node:timers/promises'
import { openTemporal, type Temporal } from './connection.js'
import type { WorkflowsState } from './state.js'
import type { TemporalTarget } from './target.js'

const EVERY_MS = 5_000
const PATIENCE_MS = 2_000
/** A worker asks for work at least this often: what asked longer ago is gone. */
const POLL_MS = 70_000
/** Temporal's number for the queue of workflow tasks. */
const WORKFLOW_TASKS = 1

/**
 * Whether workflows move, for a process that has no worker of its own: asks Temporal whether somebody works on `taskQueue`.
 * @param targetOf where Temporal is at the moment; undefined while there is none
 */
export function watchWorkflows(
  targetOf: () => TemporalTarget | undefined,
  taskQueue: string,
): { readonly state: WorkflowsState; close(): Promise<void> } {
  const end = new AbortController()
  let state: WorkflowsState = 'waiting'
  let temporal: Temporal | undefined
  const watch = async () => {
    while (!end.signal.aborted) {
      try {
        const target = targetOf()
        if (target?.address !== temporal?.target.address) {
          await temporal?.close()
          temporal = target === undefined ? undefined : openTemporal(target)
        }
        state = temporal !== undefined && (await hasWorker(temporal, taskQueue)) ? 'ready' : 'waiting'
      } catch {
        state = 'waiting'
      }
      await sleep(EVERY_MS, undefined, { signal: end.signal }).catch(() => undefined)
    }
    await temporal?.close()
  }
  const ended = watch()
  return {
    get state() {
      return state
    },
    async close() {
      end.abort()
      await ended
    },
  }
}

async function hasWorker(temporal: Temporal, taskQueue: string): Promise<boolean> {
  const { connection, target } = temporal
  const { namespace } = target
  const { pollers } = await temporal.withDeadline(
    () =>
      connection.workflowService.describeTaskQueue({
        namespace,
        taskQueue: { name: taskQueue },
        taskQueueType: WORKFLOW_TASKS,
      }),
    PATIENCE_MS,
  )
  const since = Date.now() - POLL_MS
  return (pollers ?? []).some(({ lastAccessTime }) => Number(lastAccessTime?.seconds ?? 0) * 1_000 > since)
}
