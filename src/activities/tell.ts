import { ApplicationFailure } from '@temporalio/common'
import type { Notification } from '../sinks/notification.js'
import { notifyWebhook, type NotifyDeps } from '../sinks/notify.js'

/**
 * Tells one webhook of a tenant.
 * @param attempt from 1
 * @throws DomainError WEBHOOK_UNKNOWN where it has been removed since; ApplicationFailure with a code where it was not delivered,
 * and may be another time
 */
export type Tell = (webhook: string, notice: Notification, attempt: number) => Promise<void>

export function tellWebhooks(deps: Omit<NotifyDeps, 'log'>): Tell {
  return async (webhook, notice, attempt) => {
    const { delivered, code = 'WEBHOOK_STATUS', retryAfterS } = await notifyWebhook(deps, webhook, notice, attempt)
    if (delivered) return
    const again = retryAfterS === undefined ? {} : { nextRetryDelay: retryAfterS * 1_000 }
    throw ApplicationFailure.create({ message: code, type: code, ...again })
  }
}

/** Where the files of a report are downloaded, by format: absolute where the public address is known. */
export function linksOf(
  publicUrl: string | undefined,
  report: string,
  formats: readonly string[],
): Record<string, string> {
  return Object.fromEntries(formats.map((format) => [format, `${publicUrl ?? ''}/v1/reports/${report}/${format}`]))
}
