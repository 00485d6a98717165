import type { Database } from '../db/database.js'
import type { Consumer } from '../ledger/subscribe.js'
import { DISPATCHER } from '../ledger/subscriptions.js'
import { faultOf, type Fault } from './faults.js'
import { isOver, recordOpen } from './open.js'
import { park, parkedStreams } from './parked.js'
import { routedOf, routes, stepsOf, type Area, type Routes, type Step } from './routes.js'
import type { Workflows } from './workflows.js'

export interface DispatcherDeps {
  readonly database: Database
  readonly workflows: Workflows
  /** Another table: for tests. */
  readonly routes?: Routes
  /** Its cursors' name: for tests and measures. */
  readonly name?: string
  /** How long one log may take at a time: all wait for the slowest. */
  readonly budgetMs?: number
  /** Told of what was parked. */
  readonly onParked?: (tenant: string, step: Step, fault: Fault) => void
}

/** Tries after which an entry whose fault is obscure is parked. */
const OBSCURE_TRIES = 5

/**
 * Tells Temporal what the log says: starts and nudges workflows, in the order of each log. What it tells bears repeating,
 * so that a crash at any point costs a second telling and nothing else. It decides nothing.
 */
export function dispatcher(deps: DispatcherDeps): Consumer {
  const { database, budgetMs = 2_000, onParked } = deps
  const table: Routes = deps.routes ?? routes
  const tries = new Map<string, number>()

  const take = async (tenant: string, step: Step, parked: ReadonlySet<string>): Promise<void> => {
    if (parked.has(step.stream)) return
    const key = `${tenant} ${step.stream}`
    try {
      await tell(deps, tenant, step)
    } catch (error) {
      const fault = faultOf(error)
      const tried = (tries.get(key) ?? 0) + 1
      if (fault.kind === 'outage' || (fault.kind === 'obscure' && tried < OBSCURE_TRIES)) {
        if (fault.kind === 'obscure') tries.set(key, tried)
        throw error
      }
      await park(database, tenant, step, fault.code)
      onParked?.(tenant, step, fault)
    }
    tries.delete(key)
  }

  return {
    name: deps.name ?? DISPATCHER,
    streams: true,
    async act(slice) {
      const steps = stepsOf(table, routedOf(table, slice))
      if (steps.length === 0) return undefined
      const parked = await parkedStreams(database.operator, slice.tenant)
      const endMs = performance.now() + budgetMs
      for (const [n, step] of steps.entries()) {
        if (n > 0 && performance.now() > endMs) return step.seq
        try {
          await take(slice.tenant, step, parked)
        } catch (error) {
          // As far as it came is kept; the next try begins here, and fails for itself.
          if (n > 0) return step.seq
          throw error
        }
      }
      return undefined
    },
    write: (tx, slices) =>
      recordOpen(
        tx,
        slices.map((slice) => ({ tenant: slice.tenant, routed: routedOf(table, slice) })),
      ),
  }
}

async function tell(
  { database, workflows }: Pick<DispatcherDeps, 'database' | 'workflows'>,
  tenant: string,
  { stream, area, start, nudge, ended }: Step,
): Promise<void> {
  if (start && !ended) await workflows.start(tenant, stream, area)
  if (!nudge || (await workflows.nudge(tenant, stream)) || ended || start) return
  // Nobody is there to be told: the process is over, as the log says, or Temporal has lost its workflow.
  await ensureRunning({ database, workflows }, tenant, stream, area)
}

/** Has a workflow run for a stream, unless the log says that its process is over. @returns whether it was to run */
export async function ensureRunning(
  { database, workflows }: Pick<DispatcherDeps, 'database' | 'workflows'>,
  tenant: string,
  stream: string,
  area: Area,
): Promise<boolean> {
  if (await isOver(database.operator, tenant, stream, area)) return false
  if ((await workflows.start(tenant, stream, area)) === 'running') return true
  // One has ended while the log goes on: the database was restored from a backup, or it ended just now.
  if (await isOver(database.operator, tenant, stream, area)) return false
  await workflows.start(tenant, stream, area, { again: true })
  return true
}
