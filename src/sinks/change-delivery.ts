import type { Deliver, OrderedChange } from '../approvals/commands/deliver.js'
import { canonicalBytes } from '../ledger/jcs.js'
import { sendTo, type WebhookDeps } from './webhook.js'

/** The type of what a receiver is sent when an approved change is ordered from it. */
export const CHANGE_ORDERED = 'change.ordered'

/**
 * How ordered changes reach their webhooks. The message's id is the change's: whoever has done it answers 2xx again, and does
 * nothing.
 */
export function changeDelivery(deps: WebhookDeps): Deliver {
  return (target, ordered) =>
    sendTo(deps, target, { tenant: ordered.tenant, id: ordered.change.id, body: changeBody(ordered) })
}

/** The same bytes each time. `payloadHash` is the SHA-256 of `hashed` as canonical JSON. */
export function changeBody({ tenant, change }: OrderedChange): Buffer {
  const { id, kind, payload, payloadHash, nonce, sealed, requester, approved } = change
  const commitments = sealed.map(({ commit, group, subject }) => ({ commit, group, subject }))
  return canonicalBytes({
    type: CHANGE_ORDERED,
    timestamp: approved?.at ?? change.requestedAt,
    data: {
      payloadHash,
      requester,
      hashed: { v: 1, tenant, change: id, kind, payload, sealed: commitments, nonce },
    },
  })
}
