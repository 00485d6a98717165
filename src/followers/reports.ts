import { readLeaf } from '../ledger/entry.js'
import type { Consumer } from '../ledger/subscribe.js'
import { REPORTS } from '../ledger/subscriptions.js'

/** Lists the reports that were made. Only our own records count: what a source reports under that name moves nothing. */
export function reportsIndex(): Consumer {
  return {
    name: REPORTS,
    types: ['report.generated'],
    async write(tx, slices) {
      for (const { tenant, entries } of slices) {
        for (const { seq, leaf } of entries) {
          const { entry, event } = readLeaf(leaf)
          const { id, kind, parameters, files } = event.data ?? {}
          if (event.source !== undefined || entry.stream !== undefined) continue
          if (typeof id !== 'string' || typeof kind !== 'string') continue
          await tx
            .insertInto('reports')
            .values({
              tenant,
              id,
              seq,
              kind,
              generated_at: entry.at,
              generated_by: entry.by,
              parameters: JSON.stringify(parameters),
              files: JSON.stringify(files),
            })
            // The follower may see an entry again after its cursor was reset.
            .onConflict((conflict) => conflict.columns(['tenant', 'id']).doUpdateSet({ seq }))
            .execute()
        }
      }
    },
  }
}
