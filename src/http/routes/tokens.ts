import { Type } from 'typebox'
import { createToken, MAX_DESCRIPTION, revokeToken } from '../../auth/commands.js'
import { permissions } from '../../auth/permissions.js'
import { listTokens } from '../../auth/queries.js'
import { callerOf } from '../authorize.js'
import { At, PermissionText, PrincipalId, problems } from '../schemas.js'
import type { App, ServerDeps } from '../server.js'

const TokenId = Type.String({ pattern: '^[0-9A-Z]{26}$', description: 'Names the token in entries: `token:<id>`' })
const Grant = {
  principal: PrincipalId,
  permissions: Type.Array(PermissionText, { minItems: 1, maxItems: 64 }),
  expiresAt: Type.Optional(Type.String({ format: 'date-time', description: 'RFC 3339 with an offset' })),
  description: Type.Optional(
    Type.String({ minLength: 1, maxLength: MAX_DESCRIPTION, description: 'A note; it stays out of the log' }),
  ),
}

const Created = Type.Object(
  {
    id: TokenId,
    token: Type.String({ description: 'The secret, shown this once' }),
    ...Grant,
  },
  { description: 'The token, with its secret' },
)

const TokenSchema = Type.Object({
  id: TokenId,
  ...Grant,
  createdAt: At,
  revokedAt: Type.Optional(At),
})

/** Tokens: made, listed, revoked. Making and revoking are entries on the stream `token/<id>`. */
export async function tokenRoutes(app: App, { database, authenticator }: ServerDeps): Promise<void> {
  app.post(
    '/v1/tokens',
    {
      config: { permission: permissions.writeTokens },
      schema: {
        operationId: 'createToken',
        summary: 'Make a token',
        description: 'Nobody grants what they do not have. The secret is shown this once; only its SHA-256 is kept.',
        tags: ['tokens'],
        body: Type.Object(Grant, { additionalProperties: false, title: 'NewToken' }),
        response: { 201: Created, ...problems(400, 413, 415, 422) },
      },
    },
    async (request, reply) => {
      const created = await createToken(database, callerOf(request), request.body)
      void reply.code(201)
      return { ...created, permissions: [...created.permissions] }
    },
  )

  app.get(
    '/v1/tokens',
    {
      config: { permission: permissions.readTokens },
      schema: {
        operationId: 'listTokens',
        summary: 'List tokens',
        description: 'Newest first, revoked and expired ones included, never a secret.',
        tags: ['tokens'],
        querystring: Type.Object(
          {
            limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
            before: Type.Optional(TokenId),
          },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object(
            {
              tokens: Type.Array(TokenSchema),
              next: Type.Optional(Type.String({ description: 'Send it as `before` for the next page' })),
            },
            { description: 'A page of tokens' },
          ),
          ...problems(400),
        },
      },
    },
    async (request) => {
      const { limit = 100, before } = request.query
      const tokens = await listTokens(database, callerOf(request).tenant, { limit, before })
      const last = tokens.length === limit ? tokens.at(-1)?.id : undefined
      return {
        tokens: tokens.map((token) => ({ ...token, permissions: [...token.permissions] })),
        ...(last !== undefined && { next: last }),
      }
    },
  )

  app.delete(
    '/v1/tokens/:id',
    {
      config: { permission: permissions.writeTokens },
      schema: {
        operationId: 'revokeToken',
        summary: 'Revoke a token',
        description: 'At once in the process that answers, within 5 seconds in others. Repeating it changes nothing.',
        tags: ['tokens'],
        params: Type.Object({ id: Type.String() }),
        response: { 204: Type.Null({ description: 'Revoked, now or before' }), ...problems(404) },
      },
    },
    async (request, reply) => {
      await revokeToken(database, callerOf(request), request.params.id, authenticator)
      void reply.code(204)
      return null
    },
  )
}
