import { Type } from 'typebox'
import { reviewEmergency, useEmergency } from '../../approvals/commands/emergency.js'
import { requestChange } from '../../approvals/commands/request.js'
import { MAX_REASON_LENGTH } from '../../approvals/commands/sealing.js'
import { castVote } from '../../approvals/commands/vote.js'
import { withdrawChange } from '../../approvals/commands/withdraw.js'
import { getChange, listChanges } from '../../approvals/queries/changes.js'
import { permissions } from '../../auth/permissions.js'
import type { Json } from '../../ledger/event.js'
import { callerOf } from '../authorize.js'
import { At, Hash, PrincipalId, problems, Seq } from '../schemas.js'
import type { App, ServerDeps } from '../server.js'
import { PolicySchema } from './policies.js'

const ChangeId = Type.String({ maxLength: 64, description: "A change's id, a ULID" })
const Params = Type.Object({ id: ChangeId })
const Reason = Type.String({ maxLength: MAX_REASON_LENGTH, description: 'Why; kept sealed with the entry' })
const Time = Type.String({ description: 'RFC 3339 with an offset' })
const Status = Type.Enum(['requested', 'approved', 'rejected', 'expired', 'withdrawn', 'applying', 'applied', 'failed'])
const Decision = Type.Enum(['approve', 'reject'])

const Summary = {
  id: ChangeId,
  kind: Type.String({ examples: ['role.grant'] }),
  status: Status,
  requester: PrincipalId,
  onBehalfOf: Type.Optional(PrincipalId),
  requestedAt: At,
  requestedSeq: Seq,
  expiresAt: Type.String({ description: 'Until then votes are waited for' }),
  applyBy: Type.String({ description: 'Until then it may be applied' }),
  payloadHash: Hash,
  approvals: Type.Integer(),
  rejections: Type.Integer(),
  closedAt: Type.Optional(At),
  failure: Type.Optional(Type.String({ description: 'The code of a change that failed' })),
  emergency: Type.Optional(Type.Enum(['review-due', 'reviewed'])),
}
const Sealed = Type.Array(Type.Object({ group: Type.String(), subject: PrincipalId }))

export const ChangeSchema = Type.Object(
  {
    ...Summary,
    what: Type.String(),
    payload: Type.Unknown(),
    beneficiaries: Type.Array(PrincipalId),
    sealed: Sealed,
    base: Type.Record(Type.String(), Type.Integer(), { description: 'The streams that it rests on, with versions' }),
    policy: PolicySchema,
    policyHash: Hash,
    diff: Type.Optional(Type.Object({ before: Type.Unknown(), after: Type.Unknown() })),
    impossible: Type.Optional(Type.Object({ code: Type.String(), message: Type.String() })),
    votes: Type.Array(
      Type.Object({
        voter: PrincipalId,
        decision: Decision,
        at: At,
        seq: Seq,
        discounted: Type.Optional(Type.String({ description: 'Why it does not count (any more)' })),
      }),
    ),
    groups: Type.Array(Type.Object({ name: Type.String(), count: Type.Integer(), have: Type.Integer() })),
    waitsFor: Type.String(),
    couldApprove: Type.Array(PrincipalId),
    notBefore: Type.Optional(At),
    history: Type.Array(
      Type.Object({
        seq: Seq,
        at: At,
        by: PrincipalId,
        via: Type.String(),
        type: Type.String(),
        data: Type.Optional(Type.Unknown()),
        sealed: Type.Optional(Sealed),
      }),
    ),
  },
  { $id: 'Change', title: 'Change', description: 'What was asked for, who decided, what it waits for' },
)

/** Changes: requested, decided on, listed. Everything is read from the log itself. */
export async function changeRoutes(app: App, { approvals, settings }: ServerDeps): Promise<void> {
  app.post(
    '/v1/changes',
    {
      config: { permission: permissions.requestChanges },
      bodyLimit: settings.bodyLimitBytes,
      schema: {
        operationId: 'requestChange',
        summary: 'Request a change',
        description:
          "Fixes what is asked for by its hash and pins the kind's policy. `payload` has at most 32 KiB as canonical JSON " +
          'and stands in the log in clear: personal parts go into `personal`, as in events, and secrets are named by reference.',
        tags: ['changes'],
        body: Type.Object(
          {
            kind: Type.String({ examples: ['role.grant'] }),
            payload: Type.Unknown(),
            reason: Type.Optional(Reason),
            personal: Type.Optional(Type.Array(Type.Unknown(), { description: 'As in events' })),
            expiresAt: Type.Optional(Time),
            applyBy: Type.Optional(Time),
            onBehalfOf: Type.Optional(PrincipalId),
            beneficiaries: Type.Optional(
              Type.Array(PrincipalId, { description: 'Who gains by it: they may not vote' }),
            ),
          },
          { additionalProperties: false, title: 'NewChange' },
        ),
        response: { 201: Type.Ref('Change'), ...problems(400, 404, 409, 413, 415, 422) },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request, reply) => {
      const by = callerOf(request)
      const { payload, ...rest } = request.body
      const { id } = await requestChange(approvals, by, { ...rest, payload: payload as Json })
      void reply.code(201).header('location', `/v1/changes/${id}`)
      return getChange(approvals, by.tenant, id)
    },
  )

  app.get(
    '/v1/changes',
    {
      config: { permission: permissions.readChanges },
      schema: {
        operationId: 'listChanges',
        summary: 'List changes',
        description:
          'Newest first, as new as the log. With a filter a page may be short and still have a `next`: so many were looked at.',
        tags: ['changes'],
        querystring: Type.Object(
          {
            limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, default: 100 })),
            before: Type.Optional(Type.String({ pattern: '^[0-9A-HJKMNP-TV-Z]{26}$' })),
            status: Type.Optional(Status),
            kind: Type.Optional(Type.String({ maxLength: 128 })),
            waitingFor: Type.Optional(Type.Literal('me', { description: 'Only what you could vote on now' })),
          },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object(
            {
              changes: Type.Array(Type.Object(Summary)),
              next: Type.Optional(Type.String({ description: 'Send it as `before` for the next page' })),
            },
            { description: 'A page of changes' },
          ),
          ...problems(400),
        },
      },
    },
    async (request) => {
      const by = callerOf(request)
      const { limit = 100, before, status, kind, waitingFor } = request.query
      const waiting = waitingFor === undefined ? undefined : by
      const page = await listChanges(approvals, by.tenant, { limit, before, status, kind, waitingFor: waiting })
      return { changes: [...page.changes], ...(page.next !== undefined && { next: page.next }) }
    },
  )

  app.get(
    '/v1/changes/:id',
    {
      config: { permission: permissions.readChanges },
      schema: {
        operationId: 'getChange',
        summary: 'Read a change',
        description: 'With what it would change, its history, what it waits for, and who could approve it now.',
        tags: ['changes'],
        params: Params,
        response: { 200: Type.Ref('Change'), ...problems(404) },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request) => getChange(approvals, callerOf(request).tenant, request.params.id),
  )

  app.post(
    '/v1/changes/:id/votes',
    {
      config: { permission: permissions.readChanges, alsoNeeds: 'changes/{kind}:approve' },
      schema: {
        operationId: 'castVote',
        summary: 'Vote on a change',
        description:
          'States what was seen: `payloadHash` has to be that of the change. Who may vote is decided anew at this moment; ' +
          'a vote that is refused is an entry. A vote to approve can be turned into a rejection until the change is applied, never back.',
        tags: ['changes'],
        params: Params,
        body: Type.Object(
          {
            decision: Decision,
            payloadHash: Hash,
            policyHash: Type.Optional(Hash),
            reason: Type.Optional(Reason),
          },
          { additionalProperties: false, title: 'NewVote' },
        ),
        response: {
          201: Type.Object(
            {
              seq: Seq,
              statement: Type.String({ description: 'Exactly what was recorded: canonical JSON' }),
              status: Status,
            },
            { description: 'The vote is recorded' },
          ),
          ...problems(400, 404, 409, 415),
        },
      },
    },
    async (request, reply) => {
      const { seq, statement, change } = await castVote(approvals, callerOf(request), {
        change: request.params.id,
        ...request.body,
      })
      void reply.code(201)
      return { seq, statement, status: change.recorded }
    },
  )

  app.post(
    '/v1/changes/:id/withdraw',
    {
      config: { permission: permissions.requestChanges },
      schema: {
        operationId: 'withdrawChange',
        summary: 'Withdraw a change',
        description: 'Until it is applied, by whoever requested it. Repeating it changes nothing.',
        tags: ['changes'],
        params: Params,
        response: { 204: Type.Null({ description: 'Withdrawn, now or before' }), ...problems(404, 409) },
      },
    },
    async (request, reply) => {
      await withdrawChange(approvals, callerOf(request), request.params.id)
      void reply.code(204)
      return null
    },
  )

  app.post(
    '/v1/changes/:id/emergency',
    {
      config: { permission: permissions.readChanges },
      schema: {
        operationId: 'useEmergency',
        summary: 'Break glass',
        description:
          'Lets a change through alone, by somebody on the emergency list. Everybody who could have been asked is named in ' +
          'the entry, and the next use is refused until this one was reviewed.',
        tags: ['changes'],
        params: Params,
        body: Type.Object(
          { payloadHash: Hash, reason: Reason },
          { additionalProperties: false, title: 'EmergencyUse' },
        ),
        response: { 204: Type.Null({ description: 'It will be applied' }), ...problems(400, 404, 409, 415) },
      },
    },
    async (request, reply) => {
      await useEmergency(approvals, callerOf(request), { change: request.params.id, ...request.body })
      void reply.code(204)
      return null
    },
  )

  app.post(
    '/v1/changes/:id/review',
    {
      config: { permission: permissions.readChanges, alsoNeeds: 'changes/{kind}:approve' },
      schema: {
        operationId: 'reviewEmergency',
        summary: 'Review an emergency use',
        description: 'By somebody who could have voted on the change, and neither asked for it nor broke glass.',
        tags: ['changes'],
        params: Params,
        body: Type.Object(
          { verdict: Type.Enum(['justified', 'unjustified']), reason: Type.Optional(Reason) },
          { additionalProperties: false, title: 'EmergencyReview' },
        ),
        response: { 204: Type.Null({ description: 'Reviewed' }), ...problems(400, 404, 409, 415) },
      },
    },
    async (request, reply) => {
      await reviewEmergency(approvals, callerOf(request), { change: request.params.id, ...request.body })
      void reply.code(204)
      return null
    },
  )
}
