import type { WebhookTarget } from '../approvals/webhook.js'
import { DomainError } from '../errors.js'
import { signerOf, type SigningDeps } from '../keyring/signing-keys.js'
import type { Guard } from './guard.js'
import { post } from './post.js'
import { webhookHeaders } from './standard-webhooks.js'

export interface WebhookDeps extends SigningDeps {
  readonly guard: Guard
  /** For one delivery as a whole. */
  readonly webhookTimeoutMs: number
  /** Named to receivers. */
  readonly version: string
}

/** What became of one attempt. */
export interface Attempt {
  /** A 2xx, and nothing else. */
  readonly delivered: boolean
  /** What was answered; absent where nothing was. */
  readonly status?: number
  /** Why it was not delivered: `WEBHOOK_STATUS`, or what kept an answer from coming. */
  readonly code?: string
  /** Seconds for which the receiver asks to be left alone. */
  readonly retryAfterS?: number
}

export interface Message {
  readonly tenant: string
  readonly id: string
  readonly body: Uint8Array
}

/**
 * Sends one message to one target, once, signed by Standard Webhooks. What went wrong on the way is an answer, not an error.
 * @throws DomainError SIGNING_KEY_MISSING, SIGNING_KEY_FILE_INVALID: nothing was sent
 */
export async function sendTo(
  deps: WebhookDeps,
  { url }: Pick<WebhookTarget, 'url'>,
  { tenant, id, body }: Message,
): Promise<Attempt> {
  const { keys } = await signerOf(deps, tenant)
  const headers = {
    'content-type': 'application/json',
    'user-agent': `countersign/${deps.version}`,
    ...webhookHeaders({ id, timestampS: Math.floor(Date.now() / 1000), body }, keys),
  }
  try {
    const answer = await post(deps.guard, { target: url, headers, body, timeoutMs: deps.webhookTimeoutMs })
    const delivered = answer.status >= 200 && answer.status < 300
    return delivered ? { delivered, ...answer } : { delivered, code: 'WEBHOOK_STATUS', ...answer }
  } catch (error) {
    if (!(error instanceof DomainError)) throw error
    return { delivered: false, code: error.code }
  }
}
