import { Type } from 'typebox'
import { applyDirectly } from '../../approvals/commands/direct.js'
import { readGoverned } from '../../approvals/governed.js'
import { expectSatisfiable } from '../../approvals/queries/satisfied.js'
import { listRoles, roleOf } from '../../auth/directory.js'
import { permissions } from '../../auth/permissions.js'
import { revokeRole } from '../../auth/removal.js'
import { MAX_INHERITED, MAX_ROLE_PERMISSIONS } from '../../auth/roles.js'
import { callerOf } from '../authorize.js'
import { answer, PermissionText, PrincipalId, problems } from '../schemas.js'
import type { App, ServerDeps } from '../server.js'

const RoleId = Type.String({ maxLength: 256, description: 'a-z, 0-9 and -, a letter first', examples: ['clerk'] })
export const DIRECTLY =
  'During setup only; afterwards the answer is 409 `CHANGE_REQUIRED`, and a change has to be requested.'

const RoleSchema = Type.Object(
  {
    role: RoleId,
    permissions: Type.Array(PermissionText),
    inherits: Type.Array(RoleId),
    effective: Type.Array(PermissionText, { description: 'What it allows with all that it inherits' }),
    holders: Type.Integer({ description: 'How many have it, by inheritance too' }),
    version: Type.Integer({ description: 'Of the stream `role/<role>`' }),
  },
  { title: 'Role', description: 'A role as it is' },
)

/** Roles: defined, listed, removed, granted, revoked. */
export async function roleRoutes(app: App, { approvals, authenticator }: ServerDeps): Promise<void> {
  app.get(
    '/v1/roles',
    {
      config: { permission: permissions.readRoles },
      schema: {
        operationId: 'listRoles',
        summary: 'List roles',
        description:
          'By name. `own:<principal>` is what one principal got with its tokens, listed where `own` is true.',
        tags: ['roles'],
        querystring: Type.Object(
          {
            limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
            after: Type.Optional(Type.String({ maxLength: 256, description: 'Where the last page ended' })),
            own: Type.Optional(Type.Boolean({ default: false })),
          },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object(
            {
              roles: Type.Array(RoleSchema),
              next: Type.Optional(Type.String({ description: 'Send it as `after` for the next page' })),
            },
            { description: 'A page of roles' },
          ),
          ...problems(400),
        },
      },
    },
    async (request) => {
      const { limit = 100, after, own = false } = request.query
      const { tenant } = callerOf(request)
      const roles = await readGoverned(approvals, tenant, async (_, { governance }) =>
        listRoles(governance.access, { limit, after, own }),
      )
      const last = roles.length === limit ? roles.at(-1)?.role : undefined
      return answer({ roles, ...(last !== undefined && { next: last }) })
    },
  )

  app.put(
    '/v1/roles/:role',
    {
      config: { permission: permissions.writeRoles },
      schema: {
        operationId: 'defineRole',
        summary: 'Define a role',
        description: `All of it; what is left out is no longer part of it. Nobody grants what they do not have. ${DIRECTLY}`,
        tags: ['roles'],
        params: Type.Object({ role: RoleId }),
        body: Type.Object(
          {
            permissions: Type.Array(PermissionText, { maxItems: MAX_ROLE_PERMISSIONS }),
            inherits: Type.Optional(Type.Array(RoleId, { maxItems: MAX_INHERITED })),
          },
          { additionalProperties: false, title: 'RoleDefinition' },
        ),
        response: { 200: RoleSchema, ...problems(400, 404, 409, 413, 415, 422) },
      },
    },
    async (request) => {
      const by = callerOf(request)
      const { role } = request.params
      await applyDirectly(approvals, by, 'role.define', { role, ...request.body })
      authenticator.forgetRoles(by.tenant)
      return readGoverned(approvals, by.tenant, async (_, { governance }) => answer(roleOf(governance.access, role)))
    },
  )

  app.delete(
    '/v1/roles/:role',
    {
      config: { permission: permissions.writeRoles },
      schema: {
        operationId: 'removeRole',
        summary: 'Remove a role',
        description: `Only one that nobody has and no other inherits. Repeating it changes nothing. ${DIRECTLY}`,
        tags: ['roles'],
        params: Type.Object({ role: RoleId }),
        response: { 204: Type.Null({ description: 'Removed, now or before' }), ...problems(400, 409) },
      },
    },
    async (request, reply) => {
      const by = callerOf(request)
      await applyDirectly(approvals, by, 'role.remove', { role: request.params.role })
      authenticator.forgetRoles(by.tenant)
      void reply.code(204)
      return null
    },
  )

  app.post(
    '/v1/principals/:id/roles',
    {
      config: { permission: permissions.writeRoles },
      schema: {
        operationId: 'grantRole',
        summary: 'Grant a role',
        description: `Nobody grants what they do not have. Repeating it changes nothing. ${DIRECTLY}`,
        tags: ['roles'],
        params: Type.Object({ id: PrincipalId }),
        body: Type.Object({ role: RoleId }, { additionalProperties: false, title: 'RoleGrant' }),
        response: { 204: Type.Null({ description: 'Granted, now or before' }), ...problems(400, 404, 409, 413, 415) },
      },
    },
    async (request, reply) => {
      const by = callerOf(request)
      await applyDirectly(approvals, by, 'role.grant', { principal: request.params.id, role: request.body.role })
      authenticator.forgetRoles(by.tenant)
      void reply.code(204)
      return null
    },
  )

  app.delete(
    '/v1/principals/:id/roles/:role',
    {
      config: { permission: permissions.writeRoles },
      schema: {
        operationId: 'revokeRole',
        summary: 'Revoke a role',
        description:
          'At once and by one person alone, also when approvals are enforced, unless nobody could then approve changes of ' +
          'some kind any more. It holds at once in the process that answers, within 5 seconds in others.',
        tags: ['roles'],
        params: Type.Object({ id: PrincipalId, role: RoleId }),
        response: { 204: Type.Null({ description: 'Revoked, now or before' }), ...problems(404, 422) },
      },
    },
    async (request, reply) => {
      const by = callerOf(request)
      const { id: principal, role } = request.params
      await revokeRole(approvals.database, by, { principal, role }, (tx, tenant, change) =>
        expectSatisfiable(tx, tenant, approvals.kinds, change),
      )
      authenticator.forgetRoles(by.tenant)
      void reply.code(204)
      return null
    },
  )
}
