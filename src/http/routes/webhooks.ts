import { Type } from 'typebox'
import { applyDirectly } from '../../approvals/commands/direct.js'
import { readGoverned } from '../../approvals/governed.js'
import { MAX_TARGET_LENGTH, MAX_WEBHOOK_EVENTS, webhooksOf } from '../../approvals/webhook.js'
import { permissions } from '../../auth/permissions.js'
import { publicKeysOf } from '../../keyring/signing-keys.js'
import { ulid } from '../../ledger/ulid.js'
import { WEBHOOK_TESTED } from '../../sinks/notification.js'
import { notifyWebhook } from '../../sinks/notify.js'
import { webhookPublicKey } from '../../sinks/standard-webhooks.js'
import { callerOf } from '../authorize.js'
import { problems } from '../schemas.js'
import type { App, ServerDeps } from '../server.js'

const WebhookId = Type.String({ maxLength: 63, description: 'Names the webhook: a-z, 0-9 and -, a letter first' })
const Params = Type.Object({ id: WebhookId })
const Target = {
  url: Type.String({
    maxLength: MAX_TARGET_LENGTH,
    description: '`https://…`; it stands in the log in clear, so put no secret into it',
  }),
  events: Type.Array(Type.String({ maxLength: 128 }), {
    maxItems: MAX_WEBHOOK_EVENTS,
    description: 'Types of notices that it is sent: `change.escalated`, `change.*`, `*`; changes that name it come too',
  }),
}
const Webhook = Type.Object({ id: WebhookId, ...Target, version: Type.Integer({ minimum: 1 }) }, { title: 'Webhook' })
const DIRECTLY = 'During setup only; afterwards the answer is 409 CHANGE_REQUIRED, and a change has to be requested.'

/** Where notices and approved changes are sent. */
export async function webhookRoutes(app: App, { approvals }: ServerDeps): Promise<void> {
  app.get(
    '/v1/webhooks',
    {
      config: { permission: permissions.readWebhooks },
      schema: {
        operationId: 'listWebhooks',
        summary: 'List webhooks',
        tags: ['webhooks'],
        response: {
          200: Type.Object(
            {
              webhooks: Type.Array(Webhook),
              publicKeys: Type.Array(Type.String(), {
                description: 'What their signatures are verified with, newest first: `whpk_…` of Standard Webhooks',
              }),
            },
            { description: 'All webhooks' },
          ),
          ...problems(),
        },
      },
    },
    async (request) => {
      const { tenant } = callerOf(request)
      const webhooks = await readGoverned(approvals, tenant, async (_, { governance }) => webhooksOf(governance))
      const keys = (await publicKeysOf(approvals.database, tenant)) ?? []
      return {
        webhooks: webhooks.map((webhook) => ({ ...webhook, events: [...webhook.events] })),
        publicKeys: keys
          .filter(({ status }) => status !== 'revoked')
          .map(({ x }) => webhookPublicKey(Buffer.from(x, 'base64url')))
          .reverse(),
      }
    },
  )

  app.put(
    '/v1/webhooks/:id',
    {
      config: { permission: permissions.writeWebhooks },
      schema: {
        operationId: 'setWebhook',
        summary: 'Set a webhook',
        description: `Makes it or gives it another address. ${DIRECTLY}`,
        tags: ['webhooks'],
        params: Params,
        body: Type.Object(Target, { additionalProperties: false }),
        response: { 204: Type.Null({ description: 'Set' }), ...problems(400, 409, 413, 415, 422) },
      },
    },
    async (request, reply) => {
      const { url, events } = request.body
      await applyDirectly(approvals, callerOf(request), 'webhook.set', { id: request.params.id, url, events })
      void reply.code(204)
      return null
    },
  )

  app.delete(
    '/v1/webhooks/:id',
    {
      config: { permission: permissions.writeWebhooks },
      schema: {
        operationId: 'removeWebhook',
        summary: 'Remove a webhook',
        description: `Nothing is sent there any more. ${DIRECTLY}`,
        tags: ['webhooks'],
        params: Params,
        response: { 204: Type.Null({ description: 'Removed' }), ...problems(404, 409) },
      },
    },
    async (request, reply) => {
      await applyDirectly(approvals, callerOf(request), 'webhook.remove', { id: request.params.id })
      void reply.code(204)
      return null
    },
  )

  app.post(
    '/v1/webhooks/:id/test',
    {
      config: { permission: permissions.writeWebhooks },
      schema: {
        operationId: 'testWebhook',
        summary: 'Send a test notice',
        description: 'One attempt, signed as every other, and what became of it; an entry too.',
        tags: ['webhooks'],
        params: Params,
        response: {
          200: Type.Object(
            {
              delivered: Type.Boolean(),
              status: Type.Optional(Type.Integer({ description: 'What the receiver answered' })),
              code: Type.Optional(Type.String({ description: 'Why it was not delivered' })),
            },
            { description: 'What became of it' },
          ),
          ...problems(404),
        },
      },
    },
    async (request) => {
      const { tenant } = callerOf(request)
      const notice = { tenant, id: `test-${ulid()}`, type: WEBHOOK_TESTED, at: new Date().toISOString(), data: {} }
      const { delivered, status, code } = await notifyWebhook(approvals, request.params.id, notice)
      return { delivered, ...(status !== undefined && { status }), ...(code !== undefined && { code }) }
    },
  )
}
