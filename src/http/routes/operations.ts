import { sql } from 'kysely'
import { Type } from 'typebox'
import type { Database } from '../../db/database.js'
import { DISPATCHER, ENTRY_INDEX, lagOf, openByKind, REPORTS, SCHEDULER, type Lag } from '../../ledger/subscriptions.js'
import { publicProblems } from '../schemas.js'
import type { App, ServerDeps } from '../server.js'

/** A database that takes longer to say anything is as good as gone. */
const PATIENCE_MS = 2_000
/** Who balances load asks often, from many places, and without a limit: the database is asked once for all of them. */
const REMEMBERED_MS = 250
const FOLLOWERS = [ENTRY_INDEX, REPORTS]

const Readiness = Type.Object(
  {
    status: Type.Enum(['ready', 'unavailable']),
    database: Type.Enum(['up', 'down']),
    workflows: Type.Enum(['ready', 'waiting', 'off'], {
      description: 'Whether workflows move; while they wait, everything is taken and nothing is lost',
    }),
    followers: Type.Optional(
      Type.Array(
        Type.Object({
          consumer: Type.String(),
          entries: Type.Integer({ description: 'Entries of all logs that it has yet to read' }),
        }),
      ),
    ),
  },
  { title: 'Readiness', description: 'Whether requests can be served' },
)

/** Health and metrics: public, and without a word about tenants. */
export async function operationRoutes(app: App, { database, metrics, workflows }: ServerDeps): Promise<void> {
  metrics.workflows(workflows)
  metrics.lag(() => lagsOf(database, [...FOLLOWERS, DISPATCHER, SCHEDULER]))
  metrics.open(() => openByKind(database.operator))
  const readiness = remembered(() => followersOf(database), REMEMBERED_MS)

  app.get(
    '/healthz',
    {
      config: { public: true, unlimited: true },
      schema: {
        operationId: 'getHealth',
        summary: 'Liveness: this process answers',
        tags: ['operations'],
        response: { 200: Type.Object({ status: Type.Enum(['alive']) }, { description: 'Alive' }), ...publicProblems() },
      },
    },
    () => ({ status: 'alive' as const }),
  )

  app.get(
    '/readyz',
    {
      config: { public: true, unlimited: true },
      schema: {
        operationId: 'getReadiness',
        summary: "Readiness: PostgreSQL, the followers' lag, and whether workflows move",
        description:
          'A follower that lags makes answers older, not wrong, and a workflow that waits goes on later: both leave the service ready.',
        tags: ['operations'],
        response: { 200: Readiness, 503: Readiness, ...publicProblems() },
      },
    },
    async (_request, reply) => {
      try {
        const followers = await readiness()
        return { status: 'ready' as const, database: 'up' as const, workflows: workflows(), followers }
      } catch (error) {
        app.log.warn({ err: error }, 'not ready')
        void reply.code(503).header('retry-after', 2)
        return { status: 'unavailable' as const, database: 'down' as const, workflows: workflows() }
      }
    },
  )

  app.get(
    '/metrics',
    {
      config: { public: true },
      schema: {
        operationId: 'getMetrics',
        summary: 'Metrics as Prometheus text',
        tags: ['operations'],
        response: {
          200: { content: { 'text/plain': { schema: Type.String() } }, description: 'Prometheus text format 0.0.4' },
          ...publicProblems(),
        },
      },
    },
    async (_request, reply) => {
      void reply.header('content-type', metrics.registry.contentType)
      return metrics.registry.metrics()
    },
  )
}

async function followersOf(database: Database): Promise<{ consumer: string; entries: number }[]> {
  return (await lagsOf(database, FOLLOWERS)).map(({ consumer, entries }) => ({ consumer, entries }))
}

async function lagsOf({ reader, operator }: Database, consumers: readonly string[]): Promise<Lag[]> {
  const asked = (async () => {
    await sql`select 1`.execute(reader)
    return lagOf(operator, consumers)
  })()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the database did not answer within ${PATIENCE_MS} ms`)), PATIENCE_MS)
  })
  try {
    return await Promise.race([asked, late])
  } finally {
    clearTimeout(timer)
    asked.catch(() => undefined)
  }
}

/** Asks once for everybody who wants to know within some time. */
function remembered<T>(ask: () => Promise<T>, ms: number): () => Promise<T> {
  let last: { answer: Promise<T>; atMs: number } | undefined
  return async () => {
    const now = performance.now()
    if (!last || now - last.atMs > ms) last = { answer: ask(), atMs: now }
    return last.answer
  }
}
