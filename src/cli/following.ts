import { entryIndex } from '../followers/entry-index.js'
import { reportsIndex } from '../followers/reports.js'
import { Follower } from '../ledger/subscribe.js'
import type { Host } from './host.js'

/**
 * Keeps the tables that filters and lists are read from up with the log while `work` runs: there may be no server that
 * does. Where there is one, both share the work. Begins with everything that is there now.
 */
export async function following<T>({ database }: Host, tenant: string, work: () => Promise<T>): Promise<T> {
  const followers = [entryIndex(), reportsIndex()].map((consumer) => new Follower(database, consumer, { pollMs: 100 }))
  try {
    // However much there is: what is read later waits for a limited time only.
    for (const follower of followers) await follower.catchUp([tenant])
    for (const follower of followers) follower.start()
    return await work()
  } finally {
    for (const follower of followers) await follower.stop()
  }
}
