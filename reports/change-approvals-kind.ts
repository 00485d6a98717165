import { approvalsCounter, type ApprovalRow, type ApprovalsSummary, type Deed } from './change-approvals.js'
import { changeApprovalRows } from './change-approvals-query.js'
import type { Cell } from './csv.js'
import type { ReportKind } from './report-kind.js'

/** The columns in order. A new one goes to the end. */
export const CHANGE_APPROVALS_COLUMNS = [
  'seq',
  'recorded_at',
  'row',
  'what',
  'change',
  'status',
  'by',
  'on_behalf_of',
  'approvals',
  'rejections',
  'approved_at',
  'approved_seq',
  'closed_at',
  'closed_seq',
  'expires_at',
  'code',
  'count',
  'emergency_by',
  'emergency_seq',
  'review',
  'stream',
  'payload_hash',
  'policy_hash',
] as const

/** Who decided what: changes and their votes, and everything that was done without them. */
export const changeApprovals: ReportKind<ApprovalRow, ApprovalsSummary> = {
  name: 'change-approvals',
  rows: changeApprovalRows,
  columns: CHANGE_APPROVALS_COLUMNS,
  record,
  counter: approvalsCounter,
  counts: ({ rows, changes, selfApprovals, emergencies, reviewsDue }) => ({
    rows,
    changes,
    selfApprovals,
    emergencies,
    reviewsDue,
  }),
}

function record(row: ApprovalRow): Record<(typeof CHANGE_APPROVALS_COLUMNS)[number], Cell> {
  const { approved, closed, emergency } = row
  const review = emergency?.review
  return {
    seq: row.seq,
    recorded_at: row.at,
    row: row.row,
    what: row.what,
    change: row.change,
    status: row.status,
    by: row.by,
    on_behalf_of: row.onBehalfOf,
    approvals: deedsText(row.approvals),
    rejections: deedsText(row.rejections),
    approved_at: approved?.at,
    approved_seq: approved?.seq,
    closed_at: closed?.at,
    closed_seq: closed?.seq,
    expires_at: row.expiresAt,
    code: row.code,
    count: row.count,
    emergency_by: emergency?.by,
    emergency_seq: emergency?.seq,
    review: review && `${review.verdict} by ${deedText(review)}`,
    stream: row.stream,
    payload_hash: row.payloadHash,
    policy_hash: row.policyHash,
  }
}

/** `person:… at 2026-… (seq 12)` */
export function deedText({ by, at, seq }: Deed): string {
  return `${by} at ${at} (seq ${seq})`
}

const deedsText = (deeds: readonly Deed[]): string => deeds.map(deedText).join('; ')
