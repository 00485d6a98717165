import type { Database, Tx } from '../../db/database.js'
import { Findings, type Finding } from '../../ledger/findings.js'
import { streamEntry, streamSeqs } from '../../ledger/streams.js'
import { AUDIT_PREFIXES, ChangeAudit } from '../audit.js'
import type { Kinds } from '../kind.js'

export interface ChangesOptions {
  /** Only this tenant; without it all of them. */
  readonly tenant?: string | undefined
  readonly onFinding?: ((finding: Finding) => void) | undefined
  /** Told after every few hundred entries. */
  readonly onProgress?: ((progress: { entries: number }) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

export interface ChangesVerification {
  /** Entries that were looked at: of changes, and of what decisions about them rest on. */
  readonly entries: number
  readonly findings: readonly Finding[]
  readonly findingCount: number
}

/** Entries read at once. */
const PAGE = 500

/**
 * Decides every change again from the log, in one snapshot a tenant, and names what took effect and should not have. The log
 * itself is taken as it stands: `verify` is for that.
 */
export async function verifyChanges(
  database: Database,
  kinds: Kinds,
  { tenant: only, onFinding, onProgress, signal }: ChangesOptions = {},
): Promise<ChangesVerification> {
  const findings = new Findings(onFinding)
  let entries = 0
  const tenants = only === undefined ? await tenantIds(database) : [only]
  for (const tenant of tenants) {
    const snapshot = database.operator.transaction().setIsolationLevel('repeatable read').setAccessMode('read only')
    await snapshot.execute(async (tx) => {
      const audit = new ChangeAudit(tenant, kinds)
      for await (const leaves of pages(tx, tenant)) {
        signal?.throwIfAborted()
        for (const leaf of leaves) {
          for (const { code, seq, message } of audit.see(streamEntry(leaf))) findings.report(code, tenant, seq, message)
        }
        entries += leaves.length
        onProgress?.({ entries })
      }
    })
  }
  return { entries, findings: findings.kept, findingCount: findings.count }
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

async function tenantIds({ operator }: Database): Promise<string[]> {
  const rows = await operator.selectFrom('tenants').select('id').orderBy('id').execute()
  return rows.map(({ id }) => id)
}
