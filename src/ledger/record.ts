import type { Principal } from '../principal.js'
import type { Appender } from './appender.js'
import type { LeafEvent } from './event.js'
import { prepare } from './prepare.js'

/** Where a record of the service's own came to stand. */
export interface Recorded {
  readonly seq: number
  /** `2026-11-20T10:00:00.123Z` */
  readonly at: string
  readonly chainHash: Buffer
}

/** Appends one of the service's own records (neither source nor stream), and answers when it is durable. */
export async function record(appender: Appender, by: Principal, event: LeafEvent): Promise<Recorded> {
  const submission = { tenant: by.tenant, by: by.id, via: by.via, events: [prepare(event, { by }, 0)] }
  const receipt = await appender.submit(submission)
  const entry = receipt.repeated ? undefined : receipt.entries[0]
  if (entry === undefined || entry.duplicate) throw new Error('a record without a place')
  return entry
}
