import { actorOf } from '../../keyring/reveal.js'
import type { Principal } from '../../principal.js'
import { governed, type ApprovalDeps } from '../governed.js'
import { ENFORCEMENT_STREAM } from '../governance.js'
import { findUnsatisfied, policyUnsatisfiable } from '../queries/satisfied.js'
import { write } from './writing.js'

/**
 * Ends a tenant's setup: from now on what is protected needs an approved change. There is no way back; repeating it changes
 * nothing.
 * @returns the entry since which it holds
 * @throws DomainError POLICY_UNSATISFIABLE, which says for which kind, whose requests and which group people are missing
 */
export async function enforceApprovals(deps: ApprovalDeps, by: Principal): Promise<{ readonly seq: number }> {
  return governed(deps, by, async (tx, now) => {
    const { enforcedSeq } = now.governance
    if (enforcedSeq !== undefined) return { seq: enforcedSeq }
    const findings = await findUnsatisfied(tx, by.tenant, deps.kinds, now)
    if (findings.length > 0) throw policyUnsatisfiable('nobody could approve some changes', findings)
    const event = { type: 'approvals.enforced', actor: actorOf(by) }
    const [placed] = await write(tx, now, [{ by, stream: ENFORCEMENT_STREAM, version: 1, event }])
    if (!placed) throw new Error('an entry without a place')
    return { seq: placed.seq }
  })
}
