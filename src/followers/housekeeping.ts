import type pg from 'pg'
import type { Database } from '../db/database.js'
import { REMEMBERED_DAYS } from '../ledger/appender-checks.js'

export interface HousekeepingOptions {
  readonly everyMs?: number
  readonly onTrouble?: (error: unknown) => void
}

const HOUR_MS = 3_600_000
/** Rows per statement, so that no lock is held for long. */
const BATCH = 1_000

/** Removes what has expired, now and every hour. @returns what ends it */
export function startHousekeeping(database: Database, options: HousekeepingOptions = {}): () => Promise<void> {
  const { everyMs = HOUR_MS, onTrouble = () => undefined } = options
  let current = Promise.resolve()
  const tidy = (): void => {
    current = current.then(() => forgetKeys(database)).then(() => undefined, onTrouble)
  }
  tidy()
  const timer = setInterval(tidy, everyMs)
  timer.unref()
  return async () => {
    clearInterval(timer)
    await current
  }
}

/** Deletes idempotency keys that are past their time. @returns how many */
export async function forgetKeys(database: Database): Promise<number> {
  const client = database.client('writer')
  // A connection that breaks is told by the query that meets it.
  client.on('error', () => undefined)
  await client.connect()
  try {
    let total = 0
    for (;;) {
      const count = await forgetSome(client)
      total += count
      if (count < BATCH) return total
    }
  } finally {
    await client.end()
  }
}

/** The appender may write a key anew while it is removed: whoever holds the row is left alone. */
async function forgetSome(client: pg.Client): Promise<number> {
  const { rowCount } = await client.query(
    `delete from idempotency where ctid = any(array(
       select ctid from idempotency where created_at < now() - interval '${REMEMBERED_DAYS} days'
       order by created_at limit ${BATCH} for update skip locked))`,
  )
  return rowCount ?? 0
}
