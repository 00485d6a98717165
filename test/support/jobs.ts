import type { LeafEvent } from '../../src/ledger/event.js'
import { command } from '../../src/ledger/append.js'
import { dispatcher, type DispatcherDeps } from '../../src/dispatcher/run.js'
import { routes, type Routes } from '../../src/dispatcher/routes.js'
import { Workflows } from '../../src/dispatcher/workflows.js'
import { Follower, type FollowerOptions } from '../../src/ledger/subscribe.js'
import { host } from '../../src/principal.js'
import type { Temporal } from '../../src/temporal/connection.js'
import type { TestDatabase } from './database.js'

/** A kind of stream of no domain, to try the dispatcher with: nobody need run its workflows. */
export const jobRoutes: Routes = {
  'dispatch/': routes['dispatch/'],
  'job/': {
    // What is too large for Temporal stands for whatever it will never take.
    workflow: {
      name: 'job',
      input: (tenant, job) => {
        if (broken.has(job)) throw new Error('a bug of ours')
        return { tenant, job, ...(heavy.has(job) && { weight: 'x'.repeat(3_000_000) }) }
      },
    },
    types: { 'job.requested': 'start', 'job.poked': 'nudge', 'job.noted': 'nothing', 'job.done': 'end' },
  },
}

/** Jobs that Temporal refuses, and those for which our own code fails. */
export const heavy = new Set<string>()
export const broken = new Set<string>()

export const TEST_QUEUE = 'test-jobs'

export function jobWorkflows(
  test: Pick<TestDatabase, 'installation'>,
  temporal: Temporal,
  timeoutMs = 5_000,
): Workflows {
  return new Workflows(temporal, { installation: test.installation.id, taskQueue: TEST_QUEUE, timeoutMs })
}

export function jobFollower(
  test: TestDatabase,
  temporal: Temporal,
  { follow, ...deps }: Partial<DispatcherDeps> & { follow?: FollowerOptions } = {},
): Follower {
  const consumer = dispatcher({
    database: test.db,
    workflows: jobWorkflows(test, temporal),
    routes: jobRoutes,
    ...deps,
  })
  return new Follower(test.db, consumer, { pollMs: 50, restMs: { first: 20, most: 200 }, ...follow })
}

/** Appends to a job's stream, as a command does. */
export async function job(test: TestDatabase, tenant: string, id: string, ...types: string[]): Promise<void> {
  await command(
    test.db.command,
    { by: host(tenant), stream: `job/${id}` },
    { initial: 0, evolve: (count: number) => count + 1 },
    () => types.map((type): LeafEvent => ({ type: `job.${type}` })),
  )
}

/** What Temporal knows of a job's workflow: undefined where there is none. */
export async function jobRun(
  test: TestDatabase,
  temporal: Temporal,
  tenant: string,
  id: string,
): Promise<{ runId: string; nudges: number; status: string } | undefined> {
  const handle = temporal.client.workflow.getHandle(`${test.installation.id}/${tenant}/job/${id}`)
  try {
    const { runId, status } = await handle.describe()
    const { events = [] } = await handle.fetchHistory()
    const nudges = (events ?? []).filter((event) => event.workflowExecutionSignaledEventAttributes).length
    return { runId, nudges, status: status.name }
  } catch (error) {
    if ((error as Error).name === 'WorkflowNotFoundError') return undefined
    throw error
  }
}
