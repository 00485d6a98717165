import { Type } from 'typebox'
import { applyDirectly } from '../../approvals/commands/direct.js'
import { enforceApprovals } from '../../approvals/commands/enforce.js'
import { PolicyBody } from '../../approvals/kinds.js'
import { approvalsStatus, listPolicies } from '../../approvals/queries/rules.js'
import { permissions } from '../../auth/permissions.js'
import type { Json } from '../../ledger/event.js'
import { callerOf } from '../authorize.js'
import { answer, Hash, PrincipalId, problems, Seq } from '../schemas.js'
import type { App, ServerDeps } from '../server.js'

export const PolicySchema = Type.Object({
  groups: Type.Array(
    Type.Object({
      name: Type.String(),
      count: Type.Integer(),
      roles: Type.Optional(Type.Array(Type.String())),
      people: Type.Optional(Type.Array(PrincipalId)),
    }),
    { description: 'All of them have to be met; nobody counts in two' },
  ),
  denyQuorum: Type.Integer({ description: 'So many rejections close a change' }),
  ttlMs: Type.Integer({ description: 'How long votes are waited for' }),
  coolingOffMs: Type.Integer({ description: 'How long an approved change rests' }),
  reasonRequired: Type.Boolean(),
})

const Kind = Type.String({ maxLength: 128, examples: ['role.grant'] })
const Done = Type.Object(
  { effects: Type.Array(Type.Object({ stream: Type.String(), seq: Seq }), { description: 'The entries written' }) },
  { description: 'Done, during setup' },
)
const DIRECTLY = 'During setup only; afterwards the answer is 409 CHANGE_REQUIRED, and a change has to be requested.'

/** Policies, the emergency list, and the end of a tenant's setup. */
export async function policyRoutes(app: App, { approvals }: ServerDeps): Promise<void> {
  app.get(
    '/v1/policies',
    {
      config: { permission: permissions.readPolicies },
      schema: {
        operationId: 'listPolicies',
        summary: 'List policies',
        description: 'What each kind of change asks for now.',
        tags: ['changes'],
        response: {
          200: Type.Object(
            {
              policies: Type.Array(
                Type.Object({
                  kind: Kind,
                  what: Type.String(),
                  own: Type.Boolean({ description: 'Set for this kind; else it is the default' }),
                  policy: PolicySchema,
                  policyHash: Hash,
                }),
              ),
            },
            { description: 'All kinds of change' },
          ),
          ...problems(),
        },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request) => answer({ policies: await listPolicies(approvals, callerOf(request).tenant) }),
  )

  app.put(
    '/v1/policies/:kind',
    {
      config: { permission: permissions.writePolicies },
      schema: {
        operationId: 'setPolicy',
        summary: 'Set a policy',
        description: `What is left out is as in the default. ${DIRECTLY}`,
        tags: ['changes'],
        params: Type.Object({ kind: Kind }),
        body: PolicyBody,
        response: { 200: Done, ...problems(400, 404, 409, 415, 422) },
      },
    },
    async (request) => {
      const payload = { kind: request.params.kind, policy: request.body as Json }
      const { effects } = await applyDirectly(approvals, callerOf(request), 'policy.set', payload)
      return { effects: [...effects] }
    },
  )

  app.delete(
    '/v1/policies/:kind',
    {
      config: { permission: permissions.writePolicies },
      schema: {
        operationId: 'removePolicy',
        summary: 'Remove a policy',
        description: `The kind has the default then. ${DIRECTLY}`,
        tags: ['changes'],
        params: Type.Object({ kind: Kind }),
        response: { 204: Type.Null({ description: 'Removed' }), ...problems(404, 409, 422) },
      },
    },
    async (request, reply) => {
      await applyDirectly(approvals, callerOf(request), 'policy.remove', { kind: request.params.kind })
      void reply.code(204)
      return null
    },
  )

  app.get(
    '/v1/approvals',
    {
      config: { permission: permissions.readPolicies },
      schema: {
        operationId: 'getApprovals',
        summary: 'Where the tenant stands with approvals',
        description:
          'Whether they are enforced, what is in the way, who may break glass, and which uses wait for a review.',
        tags: ['changes'],
        response: {
          200: Type.Object(
            {
              enforced: Type.Boolean(),
              enforcedSeq: Type.Optional(Seq),
              unsatisfied: Type.Array(
                Type.Object({
                  kind: Kind,
                  requester: Type.Optional(PrincipalId),
                  groups: Type.Array(
                    Type.Object({ name: Type.String(), count: Type.Integer(), could: Type.Integer() }),
                  ),
                }),
                { description: 'Kinds whose changes nobody could approve, were they asked for by this requester' },
              ),
              emergency: Type.Optional(
                Type.Object({ people: Type.Array(PrincipalId), kinds: Type.Array(Type.String()) }),
              ),
              reviewsDue: Type.Array(Type.String(), { description: 'Changes that somebody broke glass for' }),
            },
            { title: 'Approvals', description: 'State of approvals' },
          ),
          ...problems(),
        },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request) => answer(await approvalsStatus(approvals, callerOf(request).tenant)),
  )

  app.put(
    '/v1/approvals/emergency',
    {
      config: { permission: permissions.writePolicies },
      schema: {
        operationId: 'setEmergencyList',
        summary: 'Say who may break glass',
        description: `For which kinds of change; an empty list means nobody. ${DIRECTLY}`,
        tags: ['changes'],
        body: Type.Object(
          { people: Type.Array(PrincipalId, { maxItems: 64 }), kinds: Type.Array(Kind, { maxItems: 64 }) },
          { additionalProperties: false, title: 'EmergencyList' },
        ),
        response: { 200: Done, ...problems(400, 404, 409, 415, 422) },
      },
    },
    async (request) => {
      const { effects } = await applyDirectly(approvals, callerOf(request), 'emergency.list', request.body)
      return { effects: [...effects] }
    },
  )

  app.post(
    '/v1/approvals/enforce',
    {
      config: { permission: permissions.enforceApprovals },
      schema: {
        operationId: 'enforceApprovals',
        summary: 'Enforce approvals',
        description:
          "Ends the tenant's setup: what is protected needs an approved change from then on, and there is no way back. " +
          'Refused while changes of some kind could not be approved, whoever asked for them.',
        tags: ['changes'],
        response: {
          200: Type.Object({ seq: Seq }, { description: 'The entry since which it holds' }),
          ...problems(422),
        },
      },
    },
    async (request) => enforceApprovals(approvals, callerOf(request)),
  )
}
