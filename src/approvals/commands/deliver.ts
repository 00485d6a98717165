import { service } from '../../principal.js'
import type { StreamEntry } from '../../ledger/streams.js'
import type { Json } from '../../ledger/event.js'
import type { ChangeState, ChangeStatus } from '../change.js'
import { governed, readGoverned, type ApprovalDeps } from '../governed.js'
import type { ExternalPayload } from '../outside-kinds.js'
import { loadChange, loadChangeEntries } from '../queries/load.js'
import { DELIVERY_BACKOFF_MS } from '../step.js'
import { webhookStream, webhookVersion } from '../webhook.js'
import { changeWriting } from './taking.js'
import { write } from './writing.js'

/** What became of one attempt to deliver. */
export interface DeliveryAttempt {
  readonly delivered: boolean
  readonly status?: number
  readonly code?: string
  /** Seconds for which the receiver asks to be left alone. */
  readonly retryAfterS?: number
}

/** Sends an ordered change to its webhook, once. */
export type Deliver = (target: { readonly url: string }, change: OrderedChange) => Promise<DeliveryAttempt>

export interface OrderedChange {
  readonly tenant: string
  readonly change: ChangeState
}

/** What is left to do for an ordered change. */
export type Delivery =
  | { readonly closed: true; readonly status: ChangeStatus }
  /** Nothing before so many ms have passed. */
  | { readonly closed: false; readonly waitMs: number }

/** HTTP's way to say that nobody there wants to hear of it, ever. */
const GONE = 410
const MAX_RETRY_AFTER_S = 24 * 3_600

/**
 * Delivers an ordered change: one attempt, when one is due, and its result as an entry. A 2xx ends it as applied; after the last
 * attempt, or a 410, it has failed. Everything follows from the log, so that calling it again after whatever went wrong is right:
 * at worst the receiver gets the same message twice, under the same id.
 */
export async function deliverChange(
  deps: ApprovalDeps,
  deliver: Deliver,
  { tenant, change: id }: { readonly tenant: string; readonly change: string },
): Promise<Delivery> {
  const due = await readGoverned(deps, tenant, async (tx, { governance, nowMs }) => {
    const { change, entries } = await loadChangeEntries(tx, tenant, id)
    const done = (delivery: Delivery) => ({ delivery })
    if (change.recorded !== 'applying') return done({ closed: true, status: change.recorded })
    const waitMs = nextAttemptMs(entries) - nowMs
    if (waitMs > 0) return done({ closed: false, waitMs })
    const { webhook = '' } = change.payload as unknown as ExternalPayload
    const target = governance.webhooks.get(webhook)?.target
    const moved = change.base[webhookStream(webhook)] !== webhookVersion(governance, webhook)
    return { change, webhook, target: moved ? undefined : target }
  })
  if ('delivery' in due) return due.delivery
  const { change, webhook, target } = due
  const attempt: DeliveryAttempt = target
    ? await deliver(target, { tenant, change })
    : // It was approved to go to the address of then, and to no other.
      { delivered: false, code: 'CHANGE_BASE_MOVED' }
  return recordAttempt(deps, { tenant, id, webhook }, attempt)
}

async function recordAttempt(
  deps: ApprovalDeps,
  { tenant, id, webhook }: { tenant: string; id: string; webhook: string },
  { delivered, status, code, retryAfterS }: DeliveryAttempt,
): Promise<Delivery> {
  const by = service(tenant)
  return governed(deps, by, async (tx, now) => {
    const change = await loadChange(tx, tenant, id)
    if (change.recorded !== 'applying') return { closed: true, status: change.recorded }
    const nth = change.deliveryAttempts + 1
    const { payloadHash } = change
    const pauseS = Math.min(retryAfterS ?? 0, MAX_RETRY_AFTER_S)
    const data: Record<string, Json> = {
      attempt: nth,
      webhook,
      ...(status !== undefined && { status }),
      ...(code !== undefined && { code }),
      ...(pauseS > 0 && !delivered && { retryAfterS: pauseS }),
    }
    const result = changeWriting(by, change, 1, {
      type: delivered ? 'change.delivered' : 'change.delivery-failed',
      data,
    })
    if (delivered) {
      const applied = { type: 'change.applied', data: { payloadHash, effects: [] } }
      await write(tx, now, [result, changeWriting(by, change, 2, applied)])
      return { closed: true, status: 'applied' }
    }
    const waitMs = DELIVERY_BACKOFF_MS[nth - 1]
    if (waitMs === undefined || status === GONE || code === 'CHANGE_BASE_MOVED') {
      await write(tx, now, [
        result,
        changeWriting(by, change, 2, { type: 'change.failed', data: { code: code ?? 'WEBHOOK_STATUS' } }),
      ])
      return { closed: true, status: 'failed' }
    }
    await write(tx, now, [result])
    return { closed: false, waitMs: Math.max(waitMs, pauseS * 1000) }
  })
}

/** When the next attempt is due, in ms since 1970; at once where there was none. */
function nextAttemptMs(entries: readonly StreamEntry[]): number {
  const failures = entries.filter(({ event }) => event.type === 'change.delivery-failed')
  const last = failures.at(-1)
  if (last === undefined) return 0
  const pauseMs = Number(last.event.data?.['retryAfterS'] ?? 0) * 1000
  return Date.parse(last.at) + Math.max(DELIVERY_BACKOFF_MS[failures.length - 1] ?? 0, pauseMs)
}
