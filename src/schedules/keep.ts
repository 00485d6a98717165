import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from '../db/database.js'
import { leafType, parseEnvelope } from '../ledger/envelope.js'
import type { EntriesListener } from '../ledger/listen.js'
import { Follower, type Consumer } from '../ledger/subscribe.js'
import { SCHEDULER } from '../ledger/subscriptions.js'
import type { Log } from '../log.js'
import { namespaceOf } from '../temporal/connection.js'
import { reconcile, startRun, syncSchedules, type ReconcileDeps } from './reconcile.js'
import { runOf } from './run.js'
import { scheduleEventTypes, scheduleOf, SCHEDULES, VERIFICATION } from './schedule.js'

const EVERY_MS = 5 * 60_000
/** How often Temporal is asked whether it is still the same one. */
const LOOK_EVERY_MS = 10_000
/** After a failure, doubled with each, and at most. */
const FIRST_PAUSE_MS = 1_000
const MOST_PAUSE_MS = 30_000

export interface KeepSchedulesOptions extends ReconcileDeps {
  readonly database: Database
  readonly listener?: EntriesListener | undefined
  readonly log: Pick<Log, 'info' | 'warn'>
  readonly everyMs?: number
}

/**
 * Keeps Temporal's schedules as the logs have them: all of them now and every few minutes, one that changes right away, and starts
 * runs that somebody asks for. Any number of processes may do so.
 */
export function keepSchedules(options: KeepSchedulesOptions): { close(): Promise<void> } {
  const { database, listener, log, everyMs = EVERY_MS } = options
  const end = new AbortController()
  const ended = new Promise<undefined>((resolve) => end.signal.addEventListener('abort', () => resolve(undefined)))
  const follower = new Follower(database, schedulesConsumer(options), {
    listener,
    onTrouble: (error, tenant) => log.warn({ err: error, tenant }, 'following schedules met trouble'),
  })
  follower.start()
  const reconciling = keepReconciling()

  async function keepReconciling(): Promise<void> {
    let pauseMs = FIRST_PAUSE_MS
    let known: string | undefined
    let doneAtMs = -Infinity
    while (!end.signal.aborted) {
      try {
        const namespace = await unlessEnded(namespaceOf(options.temporal))
        // Another id is that of another database of Temporal's: nothing of ours is there.
        if (namespace && (namespace.id !== known || performance.now() - doneAtMs >= everyMs)) {
          const done = await unlessEnded(reconcile(options))
          if (done && Object.values(done).some((count) => count > 0)) log.info(done, 'schedules were put right')
          known = namespace.id
          doneAtMs = performance.now()
        }
        pauseMs = FIRST_PAUSE_MS
        await pause(Math.min(everyMs, LOOK_EVERY_MS))
      } catch (error) {
        if (pauseMs === FIRST_PAUSE_MS) log.warn({ err: error }, 'schedules wait for Temporal')
        await pause(pauseMs)
        pauseMs = Math.min(2 * pauseMs, MOST_PAUSE_MS)
      }
    }
  }

  /** Nobody waits for Temporal once this is to end: what is left undone is found the next time. */
  async function unlessEnded<T>(work: Promise<T>): Promise<T | undefined> {
    work.catch(() => undefined)
    return Promise.race([work, ended])
  }

  async function pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: end.signal }).catch(() => undefined)
  }

  return {
    async close() {
      end.abort()
      await Promise.all([follower.stop(), reconciling])
    },
  }
}

/** What changes or asks for a run, in the log's order. What fails here is tried again, and found by `reconcile` at the latest. */
export function schedulesConsumer(deps: ReconcileDeps): Consumer {
  return {
    name: SCHEDULER,
    types: [...scheduleEventTypes, 'run.requested'],
    async act({ tenant, entries }) {
      const changed = new Set<string>()
      for (const { leaf } of entries) {
        // What a source reports under these names is on no stream.
        const stream = parseEnvelope(leaf)?.stream
        if (stream === undefined) continue
        if (leafType(leaf) !== 'run.requested') changed.add(stream.startsWith(SCHEDULES) ? scheduleOf(stream) : '')
        else {
          const run = runOf(stream)
          await startRun(deps, tenant, run.schedule === VERIFICATION ? 'verification' : 'report', run)
        }
      }
      changed.delete('')
      if (changed.size > 0) await syncSchedules(deps, tenant, changed)
    },
  }
}
