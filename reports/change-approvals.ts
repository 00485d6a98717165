import type { ChangeState, ChangeStatus } from '../src/approvals/change.js'
import { evolveChange, statusAt } from '../src/approvals/change.js'
import type { Authority } from '../src/approvals/kind.js'
import type { Json } from '../src/ledger/event.js'
import { instantMs } from '../src/ledger/rfc3339.js'
import type { StreamEntry } from '../src/ledger/streams.js'
import type { ReportParameters } from './parameters.js'
import { count, ranking, startTally, type Ranking } from './ranking.js'
import { countTime, startTimeline, timelineOf, type Timeline } from './timeline.js'
import type { ZoneClock } from './zone.js'

/** What a row of this report is about. */
export type ApprovalRowKind = 'change' | 'refused-vote' | 'setup' | 'override' | 'enforcement'

/** Who did something, when, and in which entry. */
export interface Deed {
  readonly by: string
  readonly at: string
  readonly seq: number
}

/** A change as it stood at the end of the period, or one entry that says something about how decisions were made. */
export interface ApprovalRow extends Deed {
  readonly row: ApprovalRowKind
  /** Kind of change; for what was done directly the type of the entry. */
  readonly what: string
  /** Id of the change; absent for what was done directly. */
  readonly change?: string
  readonly status?: ChangeStatus
  /** Of a refused vote, or of a change that failed. */
  readonly code?: string
  /** How often the same was tried, where one entry stands for several attempts. */
  readonly count?: number
  readonly onBehalfOf?: string
  /** Everybody whose last vote was to approve, and to reject. */
  readonly approvals: readonly Deed[]
  readonly rejections: readonly Deed[]
  readonly approved?: Deed
  /** What ended it: the entry that applied, rejected, withdrew, expired or failed it. */
  readonly closed?: Deed
  readonly expiresAt?: string
  readonly payloadHash?: string
  readonly policyHash?: string
  /** A use of break-glass and what its review came to; `review` is absent while it is due. */
  readonly emergency?: Deed & { readonly review?: Deed & { readonly verdict: string } }
  /** The stream of an entry that was made directly. */
  readonly stream?: string
}

/**
 * A change as a row: what its entries say, up to the end of the period.
 * @param entries of its stream, from the first on
 * @returns undefined for a stream that no request opens
 */
export function changeRow(entries: readonly StreamEntry[], parameters: ReportParameters): ApprovalRow | undefined {
  const change = entries.reduce<ChangeState | undefined>(evolveChange, undefined)
  if (change === undefined) return undefined
  const { id, kind, requester, requestedAt, requestedSeq, onBehalfOf, votes, failure } = change
  const deeds = (decision: string) =>
    votes.filter((vote) => vote.decision === decision).map(({ voter, at, seq }) => ({ by: voter, at, seq }))
  const approved = lastOf(entries, ['change.approved', 'change.emergency-used'])
  const closed = lastOf(entries, CLOSING)
  const emergency = emergencyOf(entries)
  return {
    row: 'change',
    what: kind,
    change: id,
    status: statusAt(change, instantMs(parameters.to ?? parameters.asOf)),
    by: requester,
    at: requestedAt,
    seq: requestedSeq,
    ...(onBehalfOf !== undefined && { onBehalfOf }),
    approvals: deeds('approve'),
    rejections: deeds('reject'),
    ...(change.approved && approved && { approved }),
    ...(closed && { closed }),
    expiresAt: change.expiresAt,
    payloadHash: change.payloadHash,
    policyHash: change.policyHash,
    ...(failure !== undefined && { code: failure }),
    ...(emergency && { emergency }),
  }
}

const CLOSING = ['change.applied', 'change.rejected', 'change.withdrawn', 'change.expired', 'change.failed']

function emergencyOf(entries: readonly StreamEntry[]): ApprovalRow['emergency'] {
  const used = lastOf(entries, ['change.emergency-used'])
  if (!used) return undefined
  const reviewed = entries.findLast(({ event }) => event.type === 'change.reviewed')
  if (!reviewed) return used
  const { verdict } = reviewed.event.data as { verdict: string }
  return { ...used, review: { ...deedOf(reviewed), verdict } }
}

function lastOf(entries: readonly StreamEntry[], types: readonly string[]): Deed | undefined {
  const found = entries.findLast(({ event }) => types.includes(event.type))
  return found && deedOf(found)
}

function deedOf({ by, at, seq }: Deed): Deed {
  return { by, at, seq }
}

/** An entry that was made without two people: during setup, by the host, or the one that ended setup. */
export function directRow(entry: StreamEntry): ApprovalRow | undefined {
  const { event, stream } = entry
  const authority = event.data?.['authority'] as Partial<Record<'setup' | 'override', boolean>> & Partial<Authority>
  const row = directKind(event.type, authority)
  return row && { ...deedOf(entry), row, what: event.type, stream, approvals: [], rejections: [] }
}

function directKind(type: string, authority: { setup?: boolean; override?: boolean } | undefined) {
  if (type === 'approvals.enforced') return 'enforcement'
  if (authority?.setup === true) return 'setup'
  return authority?.override === true ? 'override' : undefined
}

/** What was tried where it was no vote. */
const TRIED: Readonly<Record<string, string>> = { emergency: 'break-glass', review: 'review of break-glass' }

/** A vote that was not taken, or a use of break-glass, or its review: `vote.refused`. */
export function refusedRow(
  entry: Deed & { readonly event: { readonly reason?: string; readonly data?: Record<string, Json> } },
): ApprovalRow {
  const { event } = entry
  const { change, decision, count } = (event.data ?? {}) as { change?: string; decision?: string; count?: number }
  return {
    ...deedOf(entry),
    row: 'refused-vote',
    what: TRIED[decision ?? ''] ?? `vote to ${decision ?? 'decide'}`,
    ...(change !== undefined && { change }),
    ...(event.reason !== undefined && { code: event.reason }),
    ...(count !== undefined && { count }),
    approvals: [],
    rejections: [],
  }
}

export interface ApprovalsSummary {
  readonly rows: number
  readonly changes: number
  /** Votes by who had asked for the change, or whom it favours. */
  readonly selfApprovals: number
  readonly emergencies: number
  readonly reviewsDue: number
  readonly statuses: Ranking
  readonly kinds: Ranking
  readonly refusals: Ranking
  readonly direct: Ranking
  /** Of the requests, by when they were made. */
  readonly timeline: Timeline
}

/** Votes on one's own account. */
const SELF = new Set(['VOTE_BY_REQUESTER', 'VOTE_BY_PRINCIPAL', 'VOTE_BY_BENEFICIARY', 'VOTE_BY_OWNER'])
/** Ends that somebody may have to explain. */
const ADVERSE = new Set<ChangeStatus | undefined>(['rejected', 'expired', 'failed'])

/** Counts rows, in any order. */
export function approvalsCounter({ from, to }: ReportParameters, clock: ZoneClock) {
  const tallies = { statuses: startTally(), kinds: startTally(), refusals: startTally(), direct: startTally() }
  const timeline = startTimeline()
  const totals = { rows: 0, changes: 0, selfApprovals: 0, emergencies: 0, reviewsDue: 0 }
  return {
    add({ row, what, status, code, emergency, at, count: times = 1 }: ApprovalRow): void {
      totals.rows += 1
      if (row === 'change') {
        totals.changes += 1
        count(tallies.statuses, status)
        count(tallies.kinds, what)
        countTime(timeline, clock.localMs(instantMs(at)), ADVERSE.has(status))
        if (emergency) totals.emergencies += 1
        if (emergency && !emergency.review) totals.reviewsDue += 1
      } else if (row === 'refused-vote') {
        count(tallies.refusals, code)
        if (code !== undefined && SELF.has(code)) totals.selfApprovals += times
      } else {
        count(tallies.direct, row === 'enforcement' ? what : `${row}: ${what}`)
      }
    },
    end(): ApprovalsSummary {
      const local = (at: string | undefined) => (at === undefined ? undefined : clock.localMs(instantMs(at)))
      return {
        ...totals,
        statuses: ranking(tallies.statuses, 10),
        kinds: ranking(tallies.kinds, 10),
        refusals: ranking(tallies.refusals, 10),
        direct: ranking(tallies.direct, 10),
        timeline: timelineOf(timeline, local(from), local(to)),
      }
    },
  }
}
