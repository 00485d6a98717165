import type { Governed } from '../approvals/governed.js'
import type { Effect } from '../approvals/kind.js'
import type { Tx } from '../db/database.js'
import { appendAll, streamVersion } from '../ledger/append.js'
import { prepare } from '../ledger/prepare.js'
import type { Principal } from '../principal.js'

/** Appends effects to their streams, on from where each stands, in one statement behind the locked head. */
export async function appendEffects(
  tx: Tx,
  { head, nowMs }: Pick<Governed, 'head' | 'nowMs'>,
  by: Principal,
  effects: readonly Effect[],
): Promise<void> {
  const versions = new Map<string, number>()
  const additions = []
  for (const { stream, events } of effects) {
    const version = versions.get(stream) ?? (await streamVersion(tx, by.tenant, stream)).version
    versions.set(stream, version + events.length)
    additions.push({
      by: by.id,
      via: by.via,
      events: events.map((event, n) => prepare(event, { by, stream }, n)),
      stream: { name: stream, version: version + 1 },
    })
  }
  await appendAll(tx, head, additions, nowMs)
}
