import { Type } from 'typebox'
import type { Json } from '../ledger/event.js'
import type { Governance } from './governance.js'
import type { ChangeKind } from './kind.js'
import {
  checkWebhook,
  expectWebhook,
  MAX_TARGET_LENGTH,
  MAX_WEBHOOK_EVENTS,
  webhookStream,
  webhookVersion,
  type WebhookTarget,
} from './webhook.js'

const WebhookId = Type.String({ maxLength: 63, description: 'Names the webhook in this tenant: a-z, 0-9 and -' })

/** A change that something outside this service carries out. */
export interface ExternalPayload {
  /** `grant`: whoever has it done shows a signed grant; `webhook`: the service orders it there. */
  readonly delivery: 'grant' | 'webhook'
  /** With `webhook`: its id. */
  readonly webhook?: string
  /** What is to be done: any JSON. */
  readonly content: Json
}

const nobody = () => []

const webhookSet: ChangeKind = {
  name: 'webhook.set',
  what: 'say where notices and approved changes are sent',
  payload: Type.Object(
    {
      id: WebhookId,
      url: Type.String({ maxLength: MAX_TARGET_LENGTH, description: 'https://…; it stands in the log, so no secrets' }),
      events: Type.Array(Type.String({ maxLength: 128 }), {
        maxItems: MAX_WEBHOOK_EVENTS,
        description: 'Types of notices: `change.escalated`, `change.*`, `*`',
      }),
    },
    { additionalProperties: false },
  ),
  beneficiaries: nobody,
  base: webhookBase,
  check: (payload, { checkTarget }) => checkTarget(targetOf(payload).url),
  diff: (payload, governance) => ({
    before: targetJson(governance, targetOf(payload).id),
    after: asJson(targetOf(payload)),
  }),
  effects: (payload, { governance }) => {
    const target = targetOf(payload)
    const after = asJson(target)
    if (JSON.stringify(targetJson(governance, target.id)) === JSON.stringify(after)) return []
    const { id, url, events } = target
    return [{ stream: webhookStream(id), events: [{ type: 'webhook.set', data: { id, url, events: [...events] } }] }]
  },
}

const webhookRemove: ChangeKind = {
  name: 'webhook.remove',
  what: 'send nothing there any more',
  payload: Type.Object({ id: WebhookId }, { additionalProperties: false }),
  beneficiaries: nobody,
  base: webhookBase,
  diff: (payload, governance) => ({ before: asJson(expectWebhook(governance, idOf(payload))), after: null }),
  effects: (payload, { governance }) => {
    const { id } = expectWebhook(governance, idOf(payload))
    return [{ stream: webhookStream(id), events: [{ type: 'webhook.removed', data: { id } }] }]
  },
}

const external: ChangeKind = {
  name: 'external.*',
  what: 'have something done by another system',
  payload: Type.Union([
    Type.Object({ delivery: Type.Literal('grant'), content: Type.Unknown() }, { additionalProperties: false }),
    Type.Object(
      { delivery: Type.Literal('webhook'), webhook: WebhookId, content: Type.Unknown() },
      { additionalProperties: false },
    ),
  ]),
  beneficiaries: nobody,
  base: (payload, governance) => {
    const { webhook } = payload as unknown as ExternalPayload
    return webhook === undefined ? {} : { [webhookStream(webhook)]: webhookVersion(governance, webhook) }
  },
  diff: (payload, governance) => {
    const { webhook, content } = payload as unknown as ExternalPayload
    if (webhook !== undefined) expectWebhook(governance, webhook)
    return { before: null, after: content }
  },
  outside: (payload) => ((payload as unknown as ExternalPayload).delivery === 'webhook' ? 'ordered' : 'taken'),
}

function webhookBase(payload: Json, governance: Governance): Record<string, number> {
  const id = idOf(payload)
  return { [webhookStream(id)]: webhookVersion(governance, id) }
}

const targetOf = (payload: Json): WebhookTarget => checkWebhook(payload as unknown as WebhookTarget)

const idOf = (payload: Json): string => (payload as unknown as { id: string }).id

function targetJson(governance: Governance, id: string): Json {
  const target = governance.webhooks.get(id)?.target
  return target ? asJson({ id, ...target }) : null
}

const asJson = ({ id, url, events }: WebhookTarget): Json => ({ id, url, events: [...events] })

/** Kinds of change that concern what leaves the service. */
export const outsideKinds: readonly ChangeKind[] = [webhookSet, webhookRemove, external]
