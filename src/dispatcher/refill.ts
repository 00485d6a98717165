import { CompiledQuery, sql } from 'kysely'
import type { Database, Db } from '../db/database.js'
import { DISPATCHER } from '../ledger/subscriptions.js'
import { namespaceOf, type Temporal } from '../temporal/connection.js'
import { faultOf } from './faults.js'
import { listOpen, PARKED_KIND } from './open.js'
import { parkedStreams } from './parked.js'
import { areaOf, routes, type Area, type Routes } from './routes.js'
import { ensureRunning } from './run.js'
import type { Workflows } from './workflows.js'

export interface RefillDeps {
  readonly database: Database
  readonly temporal: Temporal
  readonly workflows: Workflows
  /** Another table: for tests. */
  readonly routes?: Routes
}

export interface RefillOptions {
  /** How often everything open is looked after. */
  readonly everyMs?: number
  /** How often Temporal is asked whether it is still the one that was filled; also the pause after trouble. */
  readonly askMs?: number
  readonly onTrouble?: (error: unknown) => void
  /** Told how many workflows of how many tenants were started anew. */
  readonly onRefilled?: (counts: { readonly started: number; readonly open: number }) => void
}

const EVERY_MS = 300_000
/** So long after another process took a tenant's turn it is somebody else's, if Temporal still is another one. */
const TURN_MS = 10_000
const TENANTS = 50
const PAGE = 500
const ABREAST = 8

/**
 * Starts what the log says is open and Temporal does not have: at once, then every `everyMs`, and as soon as Temporal turns
 * out to be another one. Never by reading the log again. @returns what ends it
 */
export function startRefill(deps: RefillDeps, options: RefillOptions = {}): () => Promise<void> {
  const { everyMs = EVERY_MS, askMs = 15_000, onTrouble = () => undefined, onRefilled } = options
  let stopping = false
  let timer: NodeJS.Timeout | undefined
  let running = Promise.resolve()
  const round = async (): Promise<void> => {
    try {
      const counts = await refill(deps, { everyMs, onTrouble }, () => stopping)
      if (counts.started > 0) onRefilled?.(counts)
    } catch (error) {
      onTrouble(error)
    }
    if (stopping) return
    timer = setTimeout(() => void (running = round()), Math.min(askMs, everyMs))
    timer.unref()
  }
  running = round()
  return async () => {
    stopping = true
    clearTimeout(timer)
    await running
  }
}

/**
 * Goes through the tenants that are due: those not looked after for `everyMs`, or last in another Temporal. Any number of
 * processes may do so: whose turn a tenant is stands with its cursor.
 * @returns how many workflows were started, of how many that are open
 * @throws what Temporal or the database met; the tenants that were not reached are due again
 */
export async function refill(
  deps: RefillDeps,
  { everyMs = EVERY_MS, onTrouble = () => undefined }: Pick<RefillOptions, 'everyMs' | 'onTrouble'> = {},
  stopping: () => boolean = () => false,
): Promise<{ started: number; open: number }> {
  const { database, temporal } = deps
  const counts = { started: 0, open: 0 }
  const namespace = await namespaceOf(temporal)
  // One that is not there yet is made by whoever runs Temporal.
  if (namespace === undefined) return counts
  const { rows } = await sql<{ now: string }>`select clock_timestamp() as now`.execute(database.operator)
  const began = rows[0]?.now ?? ''
  let there: ReadonlySet<string> | undefined
  while (!stopping()) {
    const due = await claimDue(database.operator, namespace.id, began, everyMs)
    if (due.length === 0) break
    there ??= await runningNow(deps)
    for (const tenant of due) {
      const { started, open } = await refillTenant(deps, tenant, there, onTrouble)
      counts.started += started
      counts.open += open
      await settle(database.operator, namespace.id, tenant)
    }
  }
  return counts
}

async function refillTenant(
  deps: RefillDeps,
  tenant: string,
  there: ReadonlySet<string>,
  onTrouble: (error: unknown) => void,
): Promise<{ started: number; open: number }> {
  const { database, workflows } = deps
  const counts = { started: 0, open: 0 }
  const parked = await parkedStreams(database.operator, tenant)
  for (let after = ''; ;) {
    const page = await listOpen(database.operator, tenant, after, PAGE)
    counts.open += page.length
    const missing = page.filter(({ stream }) => !parked.has(stream) && !there.has(workflows.idOf(tenant, stream)))
    await abreast(missing, async ({ stream }) => {
      const area = areaOf(deps.routes ?? routes, stream)
      if (area?.workflow === undefined) return
      try {
        if (await ensureRunning(deps, tenant, stream, area)) counts.started++
      } catch (error) {
        // One that Temporal will not have holds up nobody else.
        if (faultOf(error).kind === 'outage') throw error
        onTrouble(error)
      }
    })
    const last = page.at(-1)
    if (last === undefined || page.length < PAGE) return counts
    after = last.stream
  }
}

/** Tenants with something open that are due, now this process's turn. @param began of this pass, the database's time */
async function claimDue(db: Db, namespace: string, began: string, everyMs: number): Promise<string[]> {
  const text = `
    with due as (
      select s.tenant from subscriptions s
      where s.consumer = $1
        and (s.refilled_at is null
          or s.refilled_at < $3::timestamptz - $4 * interval '1 ms'
          or (s.namespace is distinct from $2 and s.refilled_at < $3::timestamptz - $5 * interval '1 ms'))
        and exists (select from open_processes o where o.tenant = s.tenant and o.kind <> $6)
      order by s.tenant limit ${TENANTS}
      for update of s skip locked
    )
    update subscriptions s set refilled_at = clock_timestamp()
    from due where s.consumer = $1 and s.tenant = due.tenant
    returning s.tenant`
  const values = [DISPATCHER, namespace, began, everyMs, Math.min(everyMs, TURN_MS), PARKED_KIND]
  const { rows } = await db.executeQuery<{ tenant: string }>(CompiledQuery.raw(text, values))
  return rows.map(({ tenant }) => tenant)
}

/** Says with a tenant's cursor that everything open of it runs in this Temporal. */
async function settle(db: Db, namespace: string, tenant: string): Promise<void> {
  await db
    .updateTable('subscriptions')
    .set({ namespace })
    .where('consumer', '=', DISPATCHER)
    .where('tenant', '=', tenant)
    .execute()
}

/**
 * Ids of the workflows of ours that Temporal lists as running. The list may lag: what it lacks is started, which does
 * nothing where it runs, and what it has too much is found missing the next time.
 */
async function runningNow({ temporal, routes: table = routes }: RefillDeps): Promise<ReadonlySet<string>> {
  const names = Object.values<Area>(table).flatMap(({ workflow }) => (workflow ? [workflow.name] : []))
  const types = [...new Set(names)].map((name) => `WorkflowType = '${name}'`).join(' OR ')
  const { namespace } = temporal.target
  const found = new Set<string>()
  let nextPageToken: Uint8Array = new Uint8Array()
  do {
    const request = { namespace, query: `ExecutionStatus = 'Running' AND (${types})`, pageSize: 1_000, nextPageToken }
    try {
      const page = await temporal.withDeadline(() =>
        temporal.connection.workflowService.listWorkflowExecutions(request),
      )
      for (const { execution } of page.executions) if (execution?.workflowId) found.add(execution.workflowId)
      nextPageToken = page.nextPageToken
    } catch (error) {
      // Without a list everything open is started.
      if (faultOf(error).code === 'UNIMPLEMENTED') return new Set()
      throw error
    }
  } while (nextPageToken.length > 0)
  return found
}

async function abreast<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values()
  await Promise.all(
    Array.from({ length: ABREAST }, async () => {
      for (const item of rest) await work(item)
    }),
  )
}
