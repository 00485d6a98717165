import { canonicalize } from '../ledger/jcs.js'

export type Decision = 'approve' | 'reject'

/** What a voter says. */
export interface VoteStatement {
  readonly tenant: string
  /** The change's id. */
  readonly change: string
  readonly kind: string
  /** 64 hex digits each: what was seen, and under which policy. */
  readonly payloadHash: string
  readonly policyHash: string
  /** `person:…` */
  readonly voter: string
  readonly decision: Decision
  /** Until when the change may be approved. */
  readonly expiresAt: string
}

/** The exact text that is recorded with a vote, canonical JSON: what a signature would be made over. */
export function voteText(statement: VoteStatement): string {
  const { tenant, change, kind, payloadHash, policyHash, voter, decision, expiresAt } = statement
  return canonicalize({
    v: 1,
    type: 'countersign-vote',
    tenant,
    change,
    kind,
    payloadHash,
    policyHash,
    voter,
    decision,
    expiresAt,
  })
}
