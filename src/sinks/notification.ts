import type { Json } from '../ledger/event.js'

/**
 * Something that people are told of: a change that waits for them, a finding of a verification, a report that is ready. It
 * names entries and pseudonyms; who is told reads the rest with a token of their own.
 */
export interface Notification {
  readonly tenant: string
  /** The same however often it is sent, so that receivers tell repeats: see `entryId`. */
  readonly id: string
  /** `change.escalated`: the type of the entry that it is about, where there is one. */
  readonly type: string
  /** When it happened: RFC 3339, UTC, milliseconds. */
  readonly at: string
  /** No personal data: a receiver lies outside whatever is erased here. */
  readonly data: Readonly<Record<string, Json>>
}

/** An id for what one entry tells of. */
export function entryId(tenant: string, seq: number): string {
  return `${tenant}-${seq}`
}

/** What is sent: the shape that Standard Webhooks recommends. The same bytes each time. */
export function notificationBody({ tenant, type, at, data }: Notification): Buffer {
  return Buffer.from(JSON.stringify({ type, timestamp: at, data: { tenant, ...data } }))
}

/** The type of a notice that tells nothing but that the way is open. */
export const WEBHOOK_TESTED = 'webhook.tested'
