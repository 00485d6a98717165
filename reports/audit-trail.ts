import type { ReportFilter, ReportParameters } from './parameters.js'
import { instantMs } from '../src/ledger/rfc3339.js'
import { count, ranking, startTally, type Ranking, type Tally } from './ranking.js'
import type { Timeline, TimelineCounts } from './timeline.js'
import { countTime, startTimeline, timelineOf } from './timeline.js'
import type { ZoneClock } from './zone.js'

/** One entry as this report shows it: what the leaf says, and the two hashes that place it in the chain. */
export interface AuditTrailRow {
  seq: number
  /** `entry.at` of the leaf: UTC, three fractional digits. */
  recordedAt: string
  /** The caller's claim, as written: RFC 3339 with any offset and 0 to 9 fractional digits. */
  occurredAt?: string
  type: string
  actor?: string
  actorType?: string
  outcome?: 'success' | 'failure' | 'denied'
  reason?: string
  targets: readonly { id: string; type?: string }[]
  /** Name of the source. Present exactly for what somebody reported; our own records and entries of commands have none. */
  source?: string
  /** The caller's own id of the event. */
  eventId?: string
  /** The principal that submitted it, and the credential it used. */
  by: string
  via: string
  stream?: string
  /** Sealed groups by pseudonym. The report never opens one. */
  subjects: readonly { subject: string; groups: readonly string[] }[]
  /** 64 hexadecimal digits each. */
  leafHash: string
  chainHash: string
  /** `event.data` as canonical JSON; empty when the event has none. */
  data: string
}

/** Rows counted so far. Changed in place by `countRow`. */
export interface SummaryCounts {
  rows: number
  reported: number
  types: Tally
  actors: Tally
  outcomes: Tally
  sources: Tally
  timeline: TimelineCounts
}

export interface AuditTrailSummary {
  rows: number
  /** Rows that somebody reported, as against those that this service recorded itself. */
  reported: number
  types: Ranking
  actors: Ranking
  outcomes: Ranking
  sources: Ranking
  timeline: Timeline
}

export function startSummary(): SummaryCounts {
  return {
    rows: 0,
    reported: 0,
    types: startTally(),
    actors: startTally(),
    outcomes: startTally(),
    sources: startTally(),
    timeline: startTimeline(),
  }
}

/** Counts one row. Rows may come in any order. */
export function countRow(
  summary: SummaryCounts,
  row: AuditTrailRow,
  parameters: ReportParameters,
  clock: ZoneClock,
): void {
  summary.rows += 1
  if (row.source !== undefined) summary.reported += 1
  count(summary.types, row.type)
  count(summary.actors, row.actor)
  count(summary.outcomes, row.outcome)
  count(summary.sources, row.source)
  const adverse = row.outcome === 'failure' || row.outcome === 'denied'
  countTime(summary.timeline, clock.localMs(timeOf(row, parameters.by)), adverse)
}

/** @param limit how many names of each ranking are shown */
export function summaryOf(
  counts: SummaryCounts,
  parameters: ReportParameters,
  clock: ZoneClock,
  limit = 10,
): AuditTrailSummary {
  const local = (at: string | undefined) => (at === undefined ? undefined : clock.localMs(instantMs(at)))
  return {
    rows: counts.rows,
    reported: counts.reported,
    types: ranking(counts.types, limit),
    actors: ranking(counts.actors, limit),
    outcomes: ranking(counts.outcomes, limit),
    sources: ranking(counts.sources, limit),
    timeline: timelineOf(counts.timeline, local(parameters.from), local(parameters.to)),
  }
}

/** The time that a row is chosen and counted by, in ms since 1970; NaN where nobody claimed one. */
export function timeOf(row: AuditTrailRow, by: 'recorded' | 'occurred'): number {
  const at = by === 'recorded' ? row.recordedAt : row.occurredAt
  return at === undefined ? Number.NaN : instantMs(at)
}

/** `id (type)`, one after the other. For people: an id may itself hold `; `, the entry's leaf is the exact form. */
export function targetsText(row: AuditTrailRow): string {
  return row.targets.map(({ id, type }) => (type === undefined ? id : `${id} (${type})`)).join('; ')
}

/** `pseudonym [group, group]`, one after the other. */
export function subjectsText(row: AuditTrailRow): string {
  return row.subjects.map(({ subject, groups }) => `${subject} [${groups.join(', ')}]`).join('; ')
}

/** The filter in words, one condition each; empty when nothing is left out. */
export function filterText(filter: ReportFilter): string[] {
  const text: string[] = []
  if (filter.type !== undefined) text.push(`type is ${filter.type}`)
  if (filter.actor !== undefined) text.push(`actor is ${filter.actor}`)
  if (filter.target !== undefined) text.push(`a target is ${filter.target}`)
  if (filter.subject !== undefined) text.push(`holds sealed data about ${filter.subject}`)
  if (filter.stream !== undefined) text.push(`stream is ${filter.stream}`)
  if (filter.outcome !== undefined) text.push(`outcome is ${filter.outcome}`)
  return text
}
