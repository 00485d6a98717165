import { randomBytes } from 'node:crypto'
import { vi, expect } from 'vitest'
import { readConfig } from '../../src/config.js'
import type { Log } from '../../src/log.js'
import type { TemporalTarget } from '../../src/temporal/target.js'
import { startWorker, type RunningWorker, type WorkerDeps } from '../../src/worker.js'
import type { ChangesBench, Tenant } from './changes.js'

/** Lines that a worker logged, for whoever wants to know why. */
export interface KeptLog extends Log {
  readonly lines: string[]
}

export function keptLog(): KeptLog {
  const lines: string[] = []
  const keep = (about: object, message: string) => void lines.push(`${message} ${describe(about)}`)
  return { lines, debug: () => undefined, info: keep, warn: keep, error: keep }
}

function describe(about: object): string {
  return JSON.stringify(about, (_, value: unknown) => (value instanceof Error ? (value.stack ?? value.message) : value))
}

/** Dispatcher and worker on the changes of a test, on a task queue of their own. */
export function movingChanges(
  bench: Pick<ChangesBench, 'server' | 'deps'>,
  target: TemporalTarget,
  more: Partial<WorkerDeps> = {},
): RunningWorker & { readonly log: KeptLog; readonly taskQueue: string } {
  const { db: database, installation, home } = bench.server
  const log = keptLog()
  const taskQueue = more.taskQueue ?? `test-${randomBytes(6).toString('hex')}`
  const config = readConfig({ COUNTERSIGN_HOME: home, COUNTERSIGN_SHUTDOWN_TIMEOUT_MS: '5000' })
  const worker = startWorker(config, {
    database,
    installation,
    target,
    log,
    taskQueue,
    approvals: bench.deps,
    ...more,
  })
  return {
    log,
    taskQueue,
    get state() {
      return worker.state
    },
    close: () => worker.close(),
  }
}

/** Waits until the log of a change ends like this. */
export async function untilLast(tenant: Tenant, change: string, type: string, timeout = 50_000): Promise<void> {
  await vi.waitFor(async () => expect((await tenant.types(`change/${change}`)).at(-1)).toBe(type), {
    timeout,
    interval: 50,
  })
}

export async function until(holds: () => Promise<boolean>, timeout = 50_000): Promise<void> {
  await vi.waitFor(async () => expect(await holds()).toBe(true), { timeout, interval: 50 })
}
