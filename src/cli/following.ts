import { entryIndex } from '../followers/entry-index.js'
import { reportsIndex } from '../followers/reports.js'
import { Follower } from '../ledger/subscribe.js'
import { lagOf } from '../ledger/subscriptions.js'
import type { Cli } from './cli.js'
import type { Host } from './host.js'
import { showProgress } from './progress.js'

const LOOK_MS = 250

/**
 * Keeps the tables that filters and lists are read from up with the log while `work` runs: there may be no server that
 * does. Where there is one, both share the work. Begins with everything that is there now.
 */
export async function following<T>(cli: Cli, host: Host, tenant: string, work: () => Promise<T>): Promise<T> {
  const { database } = host
  const consumers = [entryIndex(), reportsIndex()]
  const followers = consumers.map((consumer) => new Follower(database, consumer, { pollMs: 100 }))
  try {
    // However much there is: what is read later waits for a limited time only.
    const names = consumers.map(({ name }) => name)
    await showingLag(cli, host, { tenant, names }, async () => {
      for (const follower of followers) await follower.catchUp([tenant])
    })
    for (const follower of followers) follower.start()
    return await work()
  } finally {
    for (const follower of followers) await follower.stop()
  }
}

/** Says how far the followers are, once it takes longer than a moment. */
export async function showingLag(
  cli: Cli,
  { database }: Host,
  { tenant, names }: { tenant: string | undefined; names: readonly string[] },
  work: () => Promise<void>,
): Promise<void> {
  const progress = showProgress({ label: 'Indexing', output: cli.err, quiet: cli.json, unit: 'entries' })
  const began = performance.now()
  let total = 0
  const look = async () => {
    const lags = await lagOf(database.operator, names, tenant === undefined ? undefined : [tenant])
    const left = lags.reduce((sum, { entries }) => sum + entries, 0)
    total = Math.max(total, left)
    const done = total - left
    progress.update({ done, total, ratePerS: (done * 1000) / (performance.now() - began) })
  }
  // What cannot be asked now is asked again; the work itself meets whatever is wrong.
  const timer = setInterval(() => void look().catch(() => undefined), LOOK_MS)
  try {
    await work()
  } finally {
    clearInterval(timer)
    progress.end()
  }
}
