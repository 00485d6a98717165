import { sql } from 'kysely'
import type { Db } from '../db/database.js'
import { ENTRIES_CHANNEL, MAX_PAYLOAD_BYTES } from './append-statement.js'

/** Between two notices of one process: one per transaction would cost commands two thirds of their rate. */
const PAUSE_MS = 20

/** Tenants to be named in the next notice, while the last one is recent. */
const waiting = new WeakMap<Db, Set<string>>()

/**
 * Tells followers that a tenant's log grew by the first door; call it after the commit. It never fails: followers also
 * poll, so a lost notice costs time and nothing else.
 */
export function wake(db: Db, tenant: string): void {
  const later = waiting.get(db)
  if (later) later.add(tenant)
  else tell(db, [tenant])
}

function tell(db: Db, tenants: readonly string[]): void {
  waiting.set(db, new Set())
  setTimeout(() => {
    const later = [...(waiting.get(db) ?? [])]
    waiting.delete(db)
    if (later.length > 0) tell(db, later)
  }, PAUSE_MS).unref()
  const names = tenants.join(' ')
  sql`select pg_notify(${ENTRIES_CHANNEL}, ${names.length < MAX_PAYLOAD_BYTES ? names : '*'})`
    .execute(db)
    .catch(() => undefined)
}
