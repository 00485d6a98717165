import type { Context } from '@temporalio/activity'

const EVERY_MS = 5_000

/**
 * Tells Temporal every few seconds that an activity lives, with the last progress it reported, until it ends. Work that stalls this
 * process stalls the heartbeat too, and is tried again elsewhere.
 */
export async function withHeartbeat<T>(
  context: Context,
  work: (onProgress: (about?: unknown) => void) => Promise<T>,
): Promise<T> {
  let latest: unknown
  const timer = setInterval(() => context.heartbeat(latest), EVERY_MS)
  try {
    return await work((about) => {
      latest = about
    })
  } finally {
    clearInterval(timer)
  }
}
