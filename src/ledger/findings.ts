/**
 * What verification can find, by rule. The codes are a contract; `docs/verification.md` explains each, and a test holds
 * the two together.
 */
export const findingCodes = {
  ROW_MALFORMED: 'a column holds what the schema refuses',
  LEAF_FORMAT: 'the leaf does not open and close as a leaf of version 1 does',
  ENVELOPE_MISMATCH: 'the leaf attests another place or time than its row',
  LOG_MISMATCH: 'the leaf belongs to another log',
  FIRST_ENTRY: 'the log does not open with a log.created that names it',
  LINK_BROKEN: 'the chain hash does not follow from the entry before and this leaf',
  HASH_CHANGED: 'the chain hash alone was changed: the entries around it agree on another',
  SEQ_GAP: 'entries are missing',
  SEQ_DUPLICATE: 'a place is taken twice',
  TIME_BACKWARDS: 'the recorded time is earlier than that of the entry before',
  TAIL_MISSING: 'the log ends before its head says',
  HEAD_MISMATCH: 'the head is not what the last entry makes it',
  HEAD_MISSING: 'there is no head',
  TENANT_UNKNOWN: 'there are entries or a head of a tenant that is not there',
  LOG_SHARED: 'two tenants claim the same log',
  STREAM_ROW_MISSING: 'an entry of a stream is not in the table of streams',
  STREAM_ROW_MISMATCH: 'the table of streams names an entry that is not that of this stream and version',
  STREAM_VERSION: "a stream's versions are not 1, 2, 3, … in the order of its entries",
  EXPECTED_HEAD: 'the log does not hold the entry that somebody kept the hash of',
  COMMITMENT_MISMATCH: 'a sealed group is not what the leaf committed to',
  CHANGE_REQUEST_DIFFERS: 'a change was requested with a payload or a policy that is not what its hash says',
  CHANGE_NOT_APPROVED: 'a change took effect that should not have',
  CHANGE_EFFECTS_DIFFER: 'what a change brought about is not what was approved',
  PROTECTED_WITHOUT_CHANGE: 'a protected entry rests on no approved change',
} as const

export type FindingCode = keyof typeof findingCodes

/** One thing that is not as it must be, and where. */
export interface Finding {
  readonly tenant: string
  readonly seq: number
  readonly code: FindingCode
  /** Prose for people; may change. */
  readonly message: string
}

export type Report = (code: FindingCode, tenant: string, seq: number, message: string) => void

/** Counts all findings, by tenant too, and keeps the first of them: a log may be broken in a million places. */
export class Findings {
  readonly kept: Finding[] = []
  count = 0
  private readonly byTenant = new Map<string, number>()
  private readonly onFinding: ((finding: Finding) => void) | undefined

  constructor(onFinding?: (finding: Finding) => void) {
    this.onFinding = onFinding
  }

  readonly report: Report = (code, tenant, seq, message) => {
    const finding = { tenant, seq, code, message }
    this.count++
    this.byTenant.set(tenant, this.of(tenant) + 1)
    if (this.kept.length < MOST_KEPT) this.kept.push(finding)
    this.onFinding?.(finding)
  }

  /** Counts findings that nobody named one by one. */
  more(tenant: string, count: number): void {
    this.count += count
    this.byTenant.set(tenant, this.of(tenant) + count)
  }

  of(tenant: string): number {
    return this.byTenant.get(tenant) ?? 0
  }
}

/** Findings kept in a result at most; `onFinding` is told all. */
export const MOST_KEPT = 1000
