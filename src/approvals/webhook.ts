import { DomainError } from '../errors.js'
import type { Governance } from './governance.js'

/** Where a tenant has notices and approved changes sent. */
export interface WebhookTarget {
  /** Names it in the tenant: a-z, 0-9 and -, a letter first, at most 63 characters. */
  readonly id: string
  readonly url: string
  /** Types of notices that it is sent: whole, or with `*` for the rest, `change.*`. Changes that name it come all the same. */
  readonly events: readonly string[]
}

export const WEBHOOK_ID = /^[a-z][a-z0-9-]{0,62}$/
export const MAX_WEBHOOK_EVENTS = 32
/** Characters of an address at most. */
export const MAX_TARGET_LENGTH = 2048
const EVENT_PATTERN = /^(?:\*|[a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*)*\.(?:\*|[a-z][a-z0-9-]*))$/

export const webhookStream = (id: string): string => `webhook/${id}`

/** The streams' version of a webhook; 0 for one that never was. */
export function webhookVersion({ webhooks }: Pick<Governance, 'webhooks'>, id: string): number {
  return webhooks.get(id)?.version ?? 0
}

/** @throws DomainError WEBHOOK_UNKNOWN */
export function expectWebhook({ webhooks }: Pick<Governance, 'webhooks'>, id: string): WebhookTarget {
  const target = webhooks.get(id)?.target
  if (target) return { id, ...target }
  throw new DomainError('WEBHOOK_UNKNOWN', `there is no webhook ${JSON.stringify(id.slice(0, 80))}`)
}

/** Every webhook there is, by id. */
export function webhooksOf({
  webhooks,
}: Pick<Governance, 'webhooks'>): (WebhookTarget & { readonly version: number })[] {
  return [...webhooks]
    .flatMap(([id, { target, version }]) => (target ? [{ id, ...target, version }] : []))
    .sort((a, b) => (a.id < b.id ? -1 : 1))
}

/** Whether a webhook is sent notices of a type. */
export function isSubscribed({ events }: Pick<WebhookTarget, 'events'>, type: string): boolean {
  return events.some((pattern) => pattern === type || (pattern.endsWith('*') && type.startsWith(pattern.slice(0, -1))))
}

/**
 * A target as it is kept.
 * @throws DomainError WEBHOOK_INVALID, WEBHOOK_TARGET_REFUSED as far as the address's text alone tells
 */
export function checkWebhook({ id, url, events }: WebhookTarget): WebhookTarget {
  if (!WEBHOOK_ID.test(id)) {
    throw invalid('/id', 'a webhook is named with a-z, 0-9 and -, a letter first, at most 63 characters')
  }
  targetUrl(url)
  if (events.length > MAX_WEBHOOK_EVENTS) throw invalid('/events', `at most ${MAX_WEBHOOK_EVENTS} types`)
  for (const [n, pattern] of events.entries()) {
    if (EVENT_PATTERN.test(pattern) && pattern.length <= 128) continue
    throw invalid(
      `/events/${n}`,
      `${JSON.stringify(pattern.slice(0, 80))} is no type of notice: write change.escalated, change.* or *`,
    )
  }
  return { id, url, events: [...new Set(events)].sort() }
}

/**
 * Reads an address, as far as its text alone tells whether it may be called.
 * @throws DomainError WEBHOOK_TARGET_REFUSED
 */
export function targetUrl(target: string): URL {
  if (target.length > MAX_TARGET_LENGTH) throw refused(`an address has at most ${MAX_TARGET_LENGTH} characters`)
  if (/[\s\p{Cc}]/u.test(target) || !URL.canParse(target)) {
    throw refused('this is no address: write https://host/path')
  }
  const url = new URL(target)
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw refused('only https:// addresses are called')
  // A password would stand in the log for good.
  if (url.username !== '' || url.password !== '') throw refused('an address holds no user and no password')
  if (url.hash !== '') throw refused('an address that is called has no fragment')
  return url
}

function refused(message: string): DomainError {
  return new DomainError('WEBHOOK_TARGET_REFUSED', message, { pointer: '/url' })
}

function invalid(pointer: string, message: string): DomainError {
  return new DomainError('WEBHOOK_INVALID', message, { pointer })
}
