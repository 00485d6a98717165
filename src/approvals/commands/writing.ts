import type { Tx } from '../../db/database.js'
import { appendAll, streamVersion } from '../../ledger/append.js'
import type { Placed, SealedGroup } from '../../ledger/batch.js'
import { KeyEpochMoved } from '../../ledger/errors.js'
import type { LeafEvent } from '../../ledger/event.js'
import { prepare } from '../../ledger/prepare.js'
import type { StreamEntry } from '../../ledger/streams.js'
import type { Principal } from '../../principal.js'
import type { Governed } from '../governed.js'

/** One event to append. */
export interface Recording {
  readonly by: Principal
  /** Absent for the service's own records, which are on no stream. */
  readonly stream?: string
  /** Its number in the stream. */
  readonly version?: number
  readonly event: LeafEvent
  /** What belongs to the event's commitments, and the key epoch they were made under. */
  readonly sealed?: { readonly groups: readonly SealedGroup[]; readonly epoch: number }
}

/** One event for one stream. */
export interface Writing extends Recording {
  readonly stream: string
  readonly version: number
}

/**
 * Appends behind the locked head, in one statement.
 * @returns where each came to stand
 * @throws KeyEpochMoved when keys changed since something was sealed: abandon the transaction, seal again, start over
 */
export async function write(
  tx: Tx,
  { head, nowMs }: Pick<Governed, 'head' | 'nowMs'>,
  writings: readonly Recording[],
): Promise<readonly Placed[]> {
  for (const { sealed } of writings) {
    if (sealed && sealed.groups.length > 0 && sealed.epoch !== head.keyEpoch) {
      throw new KeyEpochMoved(head.tenant, sealed.epoch, head.keyEpoch)
    }
  }
  const additions = writings.map(({ by, stream, version, event, sealed }, n) => ({
    by: by.id,
    via: by.via,
    events: [prepare(event, stream === undefined ? { by } : { by, stream }, n, sealed?.groups)],
    ...(stream !== undefined && version !== undefined && { stream: { name: stream, version } }),
  }))
  return appendAll(tx, head, additions, nowMs)
}

/** Numbers events for streams whose versions are not known yet, on from where each stands. */
export async function numbered(
  tx: Tx,
  by: Principal,
  effects: readonly { readonly stream: string; readonly events: readonly LeafEvent[] }[],
): Promise<Writing[]> {
  const versions = new Map<string, number>()
  const writings: Writing[] = []
  for (const { stream, events } of effects) {
    let version = versions.get(stream) ?? (await streamVersion(tx, by.tenant, stream)).version
    for (const event of events) writings.push({ by, stream, version: ++version, event })
    versions.set(stream, version)
  }
  return writings
}

/** Writings as the entries that they would become next: what a fold makes of them can be looked at before they are written. */
export function asEntries(
  { head, nowMs }: Pick<Governed, 'head' | 'nowMs'>,
  writings: readonly Writing[],
): StreamEntry[] {
  const { tenant, log, nextSeq } = head
  const at = new Date(nowMs).toISOString()
  return writings.map(({ by, stream, version, event }, n) => ({
    at,
    by: by.id,
    log,
    seq: nextSeq + n,
    stream,
    tenant,
    version,
    via: by.via,
    event,
  }))
}
