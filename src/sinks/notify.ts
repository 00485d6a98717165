import { setTimeout as sleep } from 'node:timers/promises'
import { readGoverned } from '../approvals/governed.js'
import { expectWebhook, isSubscribed, webhooksOf } from '../approvals/webhook.js'
import { DomainError } from '../errors.js'
import type { Appender } from '../ledger/appender.js'
import type { Json, LeafEvent } from '../ledger/event.js'
import { record } from '../ledger/record.js'
import { service, SERVICE } from '../principal.js'
import type { LogSink } from './log.js'
import { notificationBody, type Notification } from './notification.js'
import { sendTo, type Attempt, type WebhookDeps } from './webhook.js'

export interface NotifyDeps extends WebhookDeps {
  readonly appender: Appender
  readonly log: LogSink
}

/** Which of a tenant's webhooks are sent notices of a type, by id. */
export async function subscribersOf(
  deps: Pick<NotifyDeps, 'database'>,
  { tenant, type }: Pick<Notification, 'tenant' | 'type'>,
): Promise<string[]> {
  return readGoverned(deps, tenant, async (_, { governance }) =>
    webhooksOf(governance)
      .filter((webhook) => isSubscribed(webhook, type))
      .map(({ id }) => id),
  )
}

/**
 * Sends a notice to one webhook, once, and puts on record what became of it. A repeat is told by its id.
 * @param attempt from 1
 * @throws DomainError WEBHOOK_UNKNOWN where it has been removed since
 */
export async function notifyWebhook(
  deps: Omit<NotifyDeps, 'log'>,
  webhook: string,
  notification: Notification,
  attempt = 1,
): Promise<Attempt> {
  const { tenant, id, type } = notification
  const target = await readGoverned(deps, tenant, async (_, { governance }) => expectWebhook(governance, webhook))
  const result = await sendTo(deps, target, { tenant, id, body: notificationBody(notification) })
  await record(deps.appender, service(tenant), resultEvent({ webhook, notice: id, noticeType: type, attempt }, result))
  return result
}

/** How long after each failed attempt `notify` tries again, in ms; whoever can wait longer repeats it with the same id. */
const TRY_AGAIN_MS = [1_000, 10_000] as const

/**
 * Tells everybody who is to be told: the log, and each webhook that asked for it, a few times where it does not answer.
 * @returns the webhooks that could not be reached
 */
export async function notify(
  deps: NotifyDeps,
  notification: Notification,
  { tryAgainMs = TRY_AGAIN_MS }: { readonly tryAgainMs?: readonly number[] } = {},
): Promise<{ readonly failed: readonly string[] }> {
  deps.log.notice(notification)
  const webhooks = await subscribersOf(deps, notification)
  const told = await Promise.all(
    webhooks.map(async (webhook) => {
      for (let attempt = 1; ; attempt++) {
        const { delivered } = await unlessRemoved(notifyWebhook(deps, webhook, notification, attempt))
        const waitMs = tryAgainMs[attempt - 1]
        if (delivered || waitMs === undefined) return { webhook, delivered }
        await sleep(waitMs)
      }
    }),
  )
  return { failed: told.filter(({ delivered }) => !delivered).map(({ webhook }) => webhook) }
}

/** A webhook that is gone by now wants to hear nothing. */
async function unlessRemoved(work: Promise<Attempt>): Promise<Attempt> {
  return work.catch((error: unknown) => {
    if (error instanceof DomainError && error.code === 'WEBHOOK_UNKNOWN') return { delivered: true }
    throw error
  })
}

function resultEvent(
  about: Record<string, Json> & { webhook: string },
  { delivered, status, code }: Attempt,
): LeafEvent {
  const said = {
    actor: { id: SERVICE, type: 'service' },
    targets: [{ id: `webhook:${about.webhook}`, type: 'webhook' }],
    data: { ...about, ...(status !== undefined && { status }) },
  }
  if (delivered) return { type: 'webhook.delivered', ...said, outcome: 'success' }
  return { type: 'webhook.delivery-failed', ...said, outcome: 'failure', ...(code !== undefined && { reason: code }) }
}
