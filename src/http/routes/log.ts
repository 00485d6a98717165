import { Type } from 'typebox'
import { permissions } from '../../auth/permissions.js'
import { headOf, lastVerification } from '../../ledger/query.js'
import { callerOf } from '../authorize.js'
import { At, Hash, problems } from '../schemas.js'
import type { App, ServerDeps } from '../server.js'

const Log = Type.Object(
  {
    tenant: Type.String(),
    log: Type.String({ description: 'Identity of the log, 32 hex digits' }),
    size: Type.Integer({ minimum: 0, description: "How many entries it has; the next one's seq" }),
    chainHash: Hash,
    recordedAt: At,
    expect: Type.String({
      description:
        'SEQ:HASH of the last entry. Keep it elsewhere: `countersign verify --expect` finds a log that was cut or rewritten since',
    }),
    level: Type.Enum(['chained', 'sealed', 'witnessed'], {
      description: 'The assurance level: what a manipulation of the log would meet',
    }),
    detects: Type.String({ description: 'What this level detects' }),
    lastVerification: Type.Union([
      Type.Object({
        verifiedAt: At,
        fromSeq: Type.Integer({ minimum: 0 }),
        nextSeq: Type.Integer({ minimum: 0, description: 'The entries before this one were looked at' }),
        chainHash: Hash,
        findings: Type.Integer({ minimum: 0 }),
        durationMs: Type.Integer({ minimum: 0 }),
      }),
      Type.Null(),
    ]),
  },
  { title: 'Log', description: 'The log as it stands' },
)

/** There are no checkpoints and no witnesses yet, so no log is more than chained. */
const LEVEL = 'chained'
const DETECTS = 'edits, gaps and reordering by anyone who cannot rewrite the whole chain'

export async function logRoutes(app: App, { database }: ServerDeps): Promise<void> {
  app.get(
    '/v1/log',
    {
      config: { permission: permissions.readLog },
      schema: {
        operationId: 'getLog',
        summary: 'The log: size, head, assurance level, last verification',
        tags: ['log'],
        response: { 200: Log, ...problems() },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request) => {
      const { tenant } = callerOf(request)
      const head = await headOf(database, tenant)
      const verified = await lastVerification(database, tenant)
      return {
        tenant,
        ...head,
        expect: `${head.size - 1}:${head.chainHash}`,
        level: LEVEL,
        detects: DETECTS,
        lastVerification: verified ? { ...verified } : null,
      } as const
    },
  )
}
