import type { Tx } from '../../db/database.js'
import type { DomainCheck } from '../../ledger/verify.js'
import { streamEntry, streamSeqs } from '../../ledger/streams.js'
import { AUDIT_PREFIXES, ChangeAudit, type AuditFinding } from '../audit.js'
import type { Kinds } from '../kind.js'

/** Entries read at once. */
const PAGE = 500

/**
 * For `verify`: decides every change of a log again, in one snapshot, and names what took effect and should not have.
 * @param kinds of changes, all there are
 */
export function changesCheck(kinds: Kinds): DomainCheck {
  return async ({ operator }, { tenant, report, signal }) => {
    const snapshot = operator.transaction().setIsolationLevel('repeatable read').setAccessMode('read only')
    await snapshot.execute(async (tx) => {
      const audit = new ChangeAudit(tenant, kinds)
      const tell = (findings: readonly AuditFinding[]) => {
        for (const { code, seq, message } of findings) report(code, tenant, seq, message)
      }
      for await (const leaves of pages(tx, tenant)) {
        signal?.throwIfAborted()
        for (const leaf of leaves) tell(audit.see(streamEntry(leaf)))
      }
      tell(audit.end())
    })
  }
}

/** Places first, which are small, then the leaves of each few hundred. */
async function* pages(tx: Tx, tenant: string): AsyncGenerator<readonly Buffer[]> {
  const seqs = await streamSeqs(tx, tenant, AUDIT_PREFIXES)
  for (let start = 0; start < seqs.length; start += PAGE) {
    const rows = await tx
      .selectFrom('entries')
      .select('leaf')
      .where('tenant', '=', tenant)
      .where('seq', 'in', seqs.slice(start, start + PAGE))
      .orderBy('seq')
      .execute()
    yield rows.map(({ leaf }) => leaf)
  }
}
