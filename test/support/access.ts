import type { LeafEvent } from '../../src/ledger/event.js'
import type { StreamEntry } from '../../src/ledger/streams.js'

/** Entries of commands as a log would hold them, one behind the other, from stream, type and data. */
export function accessEntries(
  given: readonly (readonly [stream: string, type: string, data: object])[],
): StreamEntry[] {
  const versions = new Map<string, number>()
  return given.map(([stream, type, data], seq) => {
    const version = (versions.get(stream) ?? 0) + 1
    versions.set(stream, version)
    const event: LeafEvent = { type, data: data as NonNullable<LeafEvent['data']> }
    return {
      at: '2026-11-21T09:00:00.000Z',
      by: 'service:host',
      log: '0'.repeat(32),
      seq,
      stream,
      tenant: 'acme',
      version,
      via: 'host',
      event,
    }
  })
}
