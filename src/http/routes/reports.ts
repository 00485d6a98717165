import { createReadStream } from 'node:fs'
import { Type } from 'typebox'
import { downloadReport, generateReport } from '../../../reports/generate.js'
import { listReports, type RecordedReport } from '../../../reports/recorded.js'
import { reportKindNames } from '../../../reports/report-kind.js'
import { permissions } from '../../auth/permissions.js'
import { callerOf } from '../authorize.js'
import { At, Outcome, PrincipalId, problems, Seq } from '../schemas.js'
import type { App, ServerDeps } from '../server.js'

const Format = Type.Enum(['csv', 'pdf', 'manifest'])
const Text = Type.String({ minLength: 1, maxLength: 255 })

const ReportRequest = Type.Object(
  {
    kind: Type.Optional(
      Type.Enum([...reportKindNames], {
        description: 'The audit trail unless given; change-approvals takes neither a filter nor a claimed time',
      }),
    ),
    by: Type.Optional(
      Type.Enum(['recorded', 'occurred'], {
        description: 'Which time the period is one of; recorded unless said otherwise',
      }),
    ),
    from: Type.Optional(
      Type.String({
        description: 'First instant: RFC 3339, or a day for its start in the time zone',
        examples: ['2026-11-01'],
      }),
    ),
    to: Type.Optional(Type.String({ description: 'First instant after the period, in the same forms' })),
    timeZone: Type.Optional(Type.String({ description: 'IANA name; UTC unless given', examples: ['Europe/Berlin'] })),
    filter: Type.Optional(
      Type.Object(
        {
          type: Type.Optional(Type.String({ description: 'An event type, or a prefix: `role.*`' })),
          actor: Type.Optional(Text),
          target: Type.Optional(Text),
          subject: Type.Optional(Text),
          stream: Type.Optional(Text),
          outcome: Type.Optional(Outcome),
        },
        { additionalProperties: false },
      ),
    ),
    formats: Type.Optional(Type.Array(Type.Enum(['csv', 'pdf']), { minItems: 1 })),
  },
  { additionalProperties: false, title: 'ReportRequest' },
)

export const ReportSchema = Type.Object(
  {
    id: Type.String(),
    kind: Type.String(),
    seq: Seq,
    generatedAt: At,
    generatedBy: PrincipalId,
    level: Type.String({ description: 'The assurance level of the log: chained, sealed or witnessed' }),
    completeTo: Type.Integer({ description: 'Complete up to and including this entry' }),
    rows: Type.Integer({ minimum: 0 }),
    parameters: Type.Object({}, { additionalProperties: true, description: 'What makes the same bytes again' }),
    files: Type.Array(
      Type.Object({
        format: Format,
        sha256: Type.String(),
        bytes: Type.Integer(),
        href: Type.String({ description: 'Where to download it' }),
      }),
    ),
  },
  { $id: 'Report', title: 'Report' },
)

/** Reports: made, listed, downloaded. Making and downloading are entries. */
export async function reportRoutes(app: App, { database, reports }: ServerDeps): Promise<void> {
  app.post(
    '/v1/reports',
    {
      config: { permission: permissions.writeReports },
      schema: {
        operationId: 'makeReport',
        summary: 'Make a report',
        description: 'Answers once the report is made and recorded (`report.generated`), with the digest of each file.',
        tags: ['reports'],
        body: ReportRequest,
        response: {
          201: { description: 'The report as it was recorded', ...Type.Ref('Report') },
          ...problems(400, 413, 415),
        },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request, reply) => {
      const { kind = 'audit-trail', ...wanted } = request.body
      const report = await generateReport(reports, callerOf(request), kind, wanted)
      void reply.code(201)
      return viewOf(report)
    },
  )

  app.get(
    '/v1/reports',
    {
      config: { permission: permissions.readReports },
      schema: {
        operationId: 'listReports',
        summary: 'List reports',
        description: 'Newest first.',
        tags: ['reports'],
        querystring: Type.Object(
          {
            limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
            before: Type.Optional(Seq),
          },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object(
            {
              reports: Type.Array(Type.Ref('Report')),
              next: Type.Optional(Type.Integer({ description: 'Send it as `before` for the next page' })),
            },
            { description: 'A page of reports' },
          ),
          ...problems(400),
        },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request) => {
      const { limit = 100, before } = request.query
      const found = await listReports(database, callerOf(request).tenant, {
        limit,
        ...(before !== undefined && { before }),
      })
      const last = found.length === limit ? found.at(-1)?.seq : undefined
      return { reports: found.map(viewOf), ...(last !== undefined && { next: last }) }
    },
  )

  app.get(
    '/v1/reports/:id/:format',
    {
      config: { permission: permissions.readReports },
      // Asking for the headers alone would be recorded as a download.
      exposeHeadRoute: false,
      schema: {
        operationId: 'downloadReport',
        summary: 'Download a report',
        description:
          'The recorded bytes, made again where the file is gone. The download is an entry (`report.downloaded`) before the ' +
          'first byte leaves. `Repr-Digest` (RFC 9530) carries the recorded SHA-256.',
        tags: ['reports'],
        params: Type.Object({ id: Type.String({ pattern: '^[0-9A-Z]{26}$' }), format: Format }),
        response: {
          200: {
            description: 'The file',
            content: {
              'text/csv': { schema: Type.String() },
              'application/pdf': { schema: Type.String({ format: 'binary' }) },
              'application/json': { schema: Type.Object({}, { additionalProperties: true }) },
            },
          },
          ...problems(400, 404),
        },
      },
    },
    async (request, reply) => {
      const { id, format } = request.params
      const { file, path, name, mediaType } = await downloadReport(reports, callerOf(request), id, format)
      void reply
        .header('content-type', mediaType)
        .header('content-length', file.bytes)
        .header('content-disposition', `attachment; filename="${name}"`)
        .header('repr-digest', `sha-256=:${Buffer.from(file.sha256, 'hex').toString('base64')}:`)
      return reply.send(createReadStream(path))
    },
  )
}

function viewOf({ id, kind, seq, generatedAt, generatedBy, parameters, rows, files }: RecordedReport) {
  return {
    id,
    kind,
    seq,
    generatedAt,
    generatedBy,
    level: parameters.level,
    completeTo: parameters.completeTo,
    rows,
    parameters: { ...parameters },
    files: files.map((file) => ({ ...file, href: `/v1/reports/${id}/${file.format}` })),
  }
}
