import { defaultGrpcRetryOptions, makeGrpcRetryInterceptor, type ConnectionOptions } from '@temporalio/client'
import { setTimeout as sleep } from 'node:timers/promises'

/** The SDK's own ten keep a caller waiting for 20 s when nobody listens. */
const ATTEMPTS = 3
/** Longest pause between two of them. */
const MOST_PAUSE_MS = 1_000
/** Timers that are due end before one that is due this much later. */
const SLACK_MS = 50

/**
 * Retries of one connection. A retry that comes due on a closed connection throws where nobody can catch it and ends the
 * process: so who closes calls `settle` first.
 */
export function retries(): {
  readonly interceptor: NonNullable<ConnectionOptions['interceptors']>[number]
  /** Retries nothing more, and returns when no retry is due. */
  settle(): Promise<void>
} {
  const standard = defaultGrpcRetryOptions({ maxAttempts: ATTEMPTS })
  let closing = false
  let dueAt = 0
  return {
    interceptor: makeGrpcRetryInterceptor({
      retryableDecider: (attempt, status) => !closing && standard.retryableDecider(attempt, status),
      delayFunction(attempt, status) {
        const pauseMs = Math.min(standard.delayFunction(attempt, status), MOST_PAUSE_MS)
        dueAt = Math.max(dueAt, performance.now() + pauseMs)
        return pauseMs
      },
    }),
    async settle() {
      closing = true
      const leftMs = dueAt - performance.now()
      if (leftMs + SLACK_MS > 0) await sleep(Math.max(leftMs, 0) + SLACK_MS)
    },
  }
}
