import { Type } from 'typebox'
import { claimToken } from '../../approvals/commands/claim.js'
import { issueGrant, redeemGrant } from '../../approvals/commands/grant.js'
import { MAX_DESCRIPTION, mintToken } from '../../auth/commands.js'
import { permissions } from '../../auth/permissions.js'
import { callerOf } from '../authorize.js'
import { At, Hash, PermissionText, PrincipalId, problems } from '../schemas.js'
import type { App, ServerDeps } from '../server.js'

const Params = Type.Object({ id: Type.String({ maxLength: 64, description: "A change's id, a ULID" }) })
const Jti = Type.String({ description: 'Names the grant in entries' })
const Kind = Type.String({ examples: ['external.billing'] })

/** What people take of an approved change: a grant to show elsewhere, a token to use here. */
export async function takingRoutes(app: App, { approvals }: ServerDeps): Promise<void> {
  app.post(
    '/v1/changes/:id/grant',
    {
      config: { permission: permissions.requestChanges },
      schema: {
        operationId: 'issueGrant',
        summary: 'Get a grant of an approved change',
        description:
          'For changes `external.<system>` that are delivered by grant, to their requester. It holds for ten minutes at most; ' +
          'another one can be had until one of them is redeemed.',
        tags: ['changes'],
        params: Params,
        response: {
          201: Type.Object(
            {
              grant: Type.String({ description: 'A JWS in the compact form, EdDSA; `typ` is countersign-grant+jwt' }),
              jti: Jti,
              expiresAt: At,
              payloadHash: Hash,
              hashed: Type.Unknown({
                description:
                  'What the hash is over: whoever checks offline hashes its canonical JSON, and does its `payload`',
              }),
            },
            { description: 'The grant' },
          ),
          ...problems(403, 404, 409),
        },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request, reply) => {
      const issued = await issueGrant(approvals, callerOf(request), request.params.id)
      void reply.code(201)
      return { ...issued }
    },
  )

  app.post(
    '/v1/changes/:id/redeem',
    {
      config: { permission: permissions.redeemGrants },
      schema: {
        operationId: 'redeemGrant',
        summary: 'Redeem a grant',
        description:
          'Once for each change: the first gets what is to be done and does it, every other 409 GRANT_REDEEMED.',
        tags: ['changes'],
        params: Params,
        body: Type.Object({ grant: Type.String({ maxLength: 16_384 }) }, { additionalProperties: false }),
        response: {
          200: Type.Object(
            {
              change: Type.String(),
              kind: Kind,
              payloadHash: Hash,
              payload: Type.Unknown({ description: 'What was approved' }),
              requester: PrincipalId,
              jti: Jti,
            },
            { description: 'Redeemed now' },
          ),
          ...problems(400, 404, 409, 413, 415, 422),
        },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request) => ({
      ...(await redeemGrant(approvals, callerOf(request), { id: request.params.id, grant: request.body.grant })),
    }),
  )

  app.post(
    '/v1/changes/:id/claim',
    {
      config: { permission: permissions.requestChanges },
      schema: {
        operationId: 'claimToken',
        summary: 'Claim the token of an approved change',
        description:
          'Of a change `token.create`: by the principal it is for, or whoever answers for it. Only claiming makes the token; its ' +
          'secret is shown this once.',
        tags: ['tokens'],
        params: Params,
        body: Type.Object(
          {
            description: Type.Optional(
              Type.String({ minLength: 1, maxLength: MAX_DESCRIPTION, description: 'A note; it stays out of the log' }),
            ),
          },
          { additionalProperties: false },
        ),
        response: {
          201: Type.Object(
            {
              id: Type.String({ description: 'Names the token in entries: `token:<id>`' }),
              token: Type.String({ description: 'The secret, shown this once' }),
              principal: PrincipalId,
              permissions: Type.Array(PermissionText),
              expiresAt: Type.Optional(At),
              description: Type.Optional(Type.String()),
            },
            { description: 'The token, with its secret' },
          ),
          ...problems(400, 403, 404, 409, 413, 415, 422),
        },
      },
    },
    async (request, reply) => {
      const claim = { id: request.params.id, description: request.body.description }
      const made = await claimToken(approvals, mintToken, callerOf(request), claim)
      void reply.code(201)
      return { ...made, permissions: [...made.permissions] }
    },
  )
}
