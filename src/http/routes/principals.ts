import { Type } from 'typebox'
import { applyDirectly } from '../../approvals/commands/direct.js'
import { readGoverned } from '../../approvals/governed.js'
import { expectSatisfiable } from '../../approvals/queries/satisfied.js'
import { listPrincipals, principalOf } from '../../auth/directory.js'
import { permissions } from '../../auth/permissions.js'
import { disablePrincipal } from '../../auth/removal.js'
import { callerOf } from '../authorize.js'
import { answer, PermissionText, PrincipalId, problems } from '../schemas.js'
import type { App, ServerDeps } from '../server.js'
import { DIRECTLY } from './roles.js'

const PrincipalSchema = Type.Object(
  {
    principal: PrincipalId,
    kind: Type.Enum(['person', 'service']),
    owner: Type.Optional(PrincipalId),
    sameAs: Type.Optional(PrincipalId),
    countsAs: Type.Optional(
      Type.String({ description: 'The person that it counts as, where that is another pseudonym' }),
    ),
    roles: Type.Array(Type.String()),
    permissions: Type.Array(PermissionText, { description: 'What its roles allow together' }),
    disabled: Type.Optional(Type.Boolean({ description: 'None of its roles allows anything' })),
    version: Type.Integer({ description: 'Of the stream `principal/<principal>`' }),
  },
  { title: 'Principal', description: 'A principal as it is' },
)
const Id = Type.Object({ id: PrincipalId })

/** Principals: people and services that may do something, who answers for them, and who counts as whom. */
export async function principalRoutes(app: App, { approvals, authenticator }: ServerDeps): Promise<void> {
  const viewOf = (tenant: string, principal: string) =>
    readGoverned(approvals, tenant, async (_, { governance }) => answer(principalOf(governance.access, principal)))

  app.get(
    '/v1/principals',
    {
      config: { permission: permissions.readPrincipals },
      schema: {
        operationId: 'listPrincipals',
        summary: 'List principals',
        description: 'By name, disabled ones included; people by pseudonym.',
        tags: ['roles'],
        querystring: Type.Object(
          {
            limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
            after: Type.Optional(Type.String({ maxLength: 256, description: 'Where the last page ended' })),
          },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object(
            {
              principals: Type.Array(PrincipalSchema),
              next: Type.Optional(Type.String({ description: 'Send it as `after` for the next page' })),
            },
            { description: 'A page of principals' },
          ),
          ...problems(400),
        },
      },
    },
    async (request) => {
      const { limit = 100, after } = request.query
      const principals = await readGoverned(approvals, callerOf(request).tenant, async (_, { governance }) =>
        listPrincipals(governance.access, { limit, after }),
      )
      const last = principals.length === limit ? principals.at(-1)?.principal : undefined
      return answer({ principals, ...(last !== undefined && { next: last }) })
    },
  )

  app.get(
    '/v1/principals/:id',
    {
      config: { permission: permissions.readPrincipals },
      schema: {
        operationId: 'getPrincipal',
        summary: 'One principal',
        description: 'With its roles and what they allow together.',
        tags: ['roles'],
        params: Id,
        response: { 200: PrincipalSchema, ...problems(404) },
      },
    },
    async (request) => viewOf(callerOf(request).tenant, request.params.id),
  )

  app.post(
    '/v1/principals',
    {
      config: { permission: permissions.writePrincipals },
      schema: {
        operationId: 'registerPrincipal',
        summary: 'Register a principal',
        description: `Or give a service another owner, or bring back who was disabled. Repeating it changes nothing. ${DIRECTLY}`,
        tags: ['roles'],
        body: Type.Object(
          {
            principal: PrincipalId,
            owner: Type.Optional(
              Type.String({ description: 'Who answers for a service; as it was where it is left out' }),
            ),
          },
          { additionalProperties: false, title: 'NewPrincipal' },
        ),
        response: { 200: PrincipalSchema, ...problems(400, 404, 409, 413, 415, 422) },
      },
    },
    async (request) => {
      const by = callerOf(request)
      await applyDirectly(approvals, by, 'principal.register', request.body)
      authenticator.forgetRoles(by.tenant)
      return viewOf(by.tenant, request.body.principal)
    },
  )

  app.put(
    '/v1/principals/:id/link',
    {
      config: { permission: permissions.writePrincipals },
      schema: {
        operationId: 'linkPrincipal',
        summary: 'Link two pseudonyms',
        description: `They count as one person from then on, and keep their own roles. Repeating it changes nothing. ${DIRECTLY}`,
        tags: ['roles'],
        params: Id,
        body: Type.Object({ sameAs: PrincipalId }, { additionalProperties: false, title: 'PrincipalLink' }),
        response: { 200: PrincipalSchema, ...problems(400, 404, 409, 413, 415, 422) },
      },
    },
    async (request) => {
      const by = callerOf(request)
      const { id: principal } = request.params
      await applyDirectly(approvals, by, 'principal.link', { principal, sameAs: request.body.sameAs })
      return viewOf(by.tenant, principal)
    },
  )

  app.delete(
    '/v1/principals/:id/link',
    {
      config: { permission: permissions.writePrincipals },
      schema: {
        operationId: 'unlinkPrincipal',
        summary: 'Unlink a pseudonym',
        description: `It counts as a person of its own again. Repeating it changes nothing. ${DIRECTLY}`,
        tags: ['roles'],
        params: Id,
        response: { 204: Type.Null({ description: 'Unlinked, now or before' }), ...problems(404, 409) },
      },
    },
    async (request, reply) => {
      await applyDirectly(approvals, callerOf(request), 'principal.unlink', { principal: request.params.id })
      void reply.code(204)
      return null
    },
  )

  app.post(
    '/v1/principals/:id/disable',
    {
      config: { permission: permissions.writePrincipals },
      schema: {
        operationId: 'disablePrincipal',
        summary: 'Disable a principal',
        description:
          'None of its roles and tokens allows anything until it is registered again. At once and by one person alone, also ' +
          'when approvals are enforced, unless nobody could then approve changes of some kind any more.',
        tags: ['roles'],
        params: Id,
        response: { 204: Type.Null({ description: 'Disabled, now or before' }), ...problems(404, 422) },
      },
    },
    async (request, reply) => {
      const by = callerOf(request)
      await disablePrincipal(approvals.database, by, request.params.id, (tx, tenant, change) =>
        expectSatisfiable(tx, tenant, approvals.kinds, change),
      )
      authenticator.forgetRoles(by.tenant)
      void reply.code(204)
      return null
    },
  )
}
