import type { Principal } from '../principal.js'
import type { PreparedEvent, SealedGroup } from './batch.js'
import { checkLeafSize, envelopeParts, MAX_STREAM_BYTES } from './envelope.js'
import { eventBytes, type LeafEvent } from './event.js'

const ANY_LOG = '0'.repeat(32)

/**
 * Writes an event's canonical bytes, and refuses what would not fit a leaf wherever in the log it came to stand.
 * @param index of the event in its batch, for the error
 * @throws DomainError EVENT_TOO_LARGE
 */
export function prepare(
  event: LeafEvent,
  { by, stream }: { by: Principal; stream?: string },
  index: number,
  sealed: readonly SealedGroup[] = [],
): PreparedEvent {
  const body = eventBytes(event)
  if (body.length > SURELY_FITS) {
    const place = { by: by.id, via: by.via, log: ANY_LOG, tenant: by.tenant }
    const parts = envelopeParts(stream === undefined ? place : { ...place, stream, version: Number.MAX_SAFE_INTEGER })
    checkLeafSize(parts.overhead, body.length, { pointer: '', index })
  }
  return { body, sealed }
}

/** The longest envelope is far from this much below the limit. */
const SURELY_FITS = 65_535 - 1024 - MAX_STREAM_BYTES
