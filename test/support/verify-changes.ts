import type { ApprovalDeps } from '../../src/approvals/governed.js'
import { changesCheck } from '../../src/approvals/queries/verify-changes.js'
import type { Finding } from '../../src/ledger/findings.js'
import { verify } from '../../src/ledger/verify.js'

/** What verification finds in a tenant's log: the chain, and every change decided again. */
export async function findingsIn(
  { database, kinds }: Pick<ApprovalDeps, 'database' | 'kinds'>,
  tenant: string,
): Promise<readonly Finding[]> {
  return (await verify(database, { tenant, checks: [changesCheck(kinds)] })).findings
}
