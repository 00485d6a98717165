import { Type } from 'typebox'
import { permissions } from '../../auth/permissions.js'
import { findSubject, MAX_REASON_LENGTH, reveal } from '../../keyring/reveal.js'
import { alsoNeed, callerOf } from '../authorize.js'
import { PrincipalId, problems, Seq } from '../schemas.js'
import type { App, ServerDeps } from '../server.js'

const Reason = Type.String({
  maxLength: MAX_REASON_LENGTH,
  description: 'Why; it goes on record, sealed for the person it concerns',
})
const RecordedSeq = Type.Integer({ minimum: 0, description: 'The entry that records this disclosure' })

/** What opens personal data. Each is an entry before its answer leaves. */
export async function personalRoutes(app: App, { ingest, denials }: ServerDeps): Promise<void> {
  app.post(
    '/v1/entries/:seq/reveal',
    {
      config: { permission: permissions.readEntries, alsoNeeds: 'personal/{group}:reveal' },
      schema: {
        operationId: 'revealGroup',
        summary: 'Reveal a sealed group',
        description:
          'Decrypts one group of personal data of an entry. The disclosure is an entry (`personal.revealed`) before the ' +
          'answer leaves. With `salt` and `data` the commitment in the leaf can be checked: ' +
          'HMAC-SHA-256(salt, JCS({data, group, subject})).',
        tags: ['personal'],
        params: Type.Object({ seq: Seq }),
        body: Type.Object(
          { group: Type.String({ pattern: '^[a-z][a-z0-9-]{0,31}$', examples: ['address'] }), reason: Reason },
          { additionalProperties: false, title: 'RevealRequest' },
        ),
        response: {
          200: Type.Object(
            {
              seq: Seq,
              group: Type.String(),
              subject: PrincipalId,
              data: Type.Unknown(),
              salt: Type.String({ description: 'Base64' }),
              recordedSeq: RecordedSeq,
            },
            { title: 'Revealed', description: 'The opened group' },
          ),
          ...problems(400, 404, 410, 413, 415),
        },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request) => {
      const { group, reason } = request.body
      alsoNeed(denials, request, `personal/${group}:reveal`)
      return reveal(ingest, callerOf(request), { seq: request.params.seq, group, reason })
    },
  )

  app.post(
    '/v1/subjects/find',
    {
      config: { permission: permissions.findSubjects },
      schema: {
        operationId: 'findSubject',
        summary: "Find a person's pseudonym",
        description:
          'The search is an entry (`subject.searched`) before the answer leaves, whether or not somebody was found; what ' +
          'was searched for is sealed in it.',
        tags: ['personal'],
        body: Type.Object(
          {
            kind: Type.String({ pattern: '^[a-z][a-z0-9-]{0,31}$', examples: ['email'] }),
            value: Type.String({ minLength: 1, maxLength: 2048, examples: ['ada@example.org'] }),
            reason: Reason,
          },
          { additionalProperties: false, title: 'FindRequest' },
        ),
        response: {
          200: Type.Object(
            {
              subject: Type.Optional(Type.String({ description: 'Absent where nobody is known by this' })),
              recordedSeq: RecordedSeq,
            },
            { title: 'Found', description: 'Whom the identifier names' },
          ),
          ...problems(400, 413, 415),
        },
      },
    },
    async (request) => {
      const { kind, value, reason } = request.body
      const { subject, recordedSeq } = await findSubject(ingest, callerOf(request), {
        identifier: { kind, value },
        reason,
      })
      return { recordedSeq, ...(subject !== undefined && { subject }) }
    },
  )
}
