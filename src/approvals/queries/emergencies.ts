import type { Tx } from '../../db/database.js'
import { readStream } from '../../ledger/streams.js'

/** Uses of break-glass and their reviews, all of a tenant's in order. */
export const EMERGENCY_USES_STREAM = 'approvals/emergency-uses'

/** Changes that somebody broke glass for and nobody has reviewed yet. */
export async function openEmergencies(tx: Tx, tenant: string): Promise<string[]> {
  const open = new Set<string>()
  for (const { event } of await readStream(tx, tenant, EMERGENCY_USES_STREAM)) {
    const { change } = (event.data ?? {}) as { change?: string }
    if (change === undefined) continue
    if (event.type === 'emergency.used') open.add(change)
    else if (event.type === 'emergency.reviewed') open.delete(change)
  }
  return [...open]
}
