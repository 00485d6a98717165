import { instantMs } from '../src/ledger/rfc3339.js'
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

export type AssuranceLevel = 'chained' | 'sealed' | 'witnessed'

/** What fixes a report: the same parameters and the same log give the same bytes. All of it is recorded with the report. */
export interface AuditTrailParameters {
  /** Id of the report. */
  id: string
  tenant: string
  /** Identity of the log, 32 hexadecimal digits. */
  log: string
  /** When the range below was fixed: UTC, RFC 3339. Also the creation date inside the PDF. */
  asOf: string
  /** Which time the period is one of. */
  by: 'recorded' | 'occurred'
  /** First instant of the period, RFC 3339; absent = from the beginning. */
  from?: string
  /** First instant after the period, RFC 3339; absent = up to `asOf`. */
  to?: string
  /** IANA name of the zone that times are printed and counted in. */
  timeZone: string
  filter: AuditTrailFilter
  /** The entries looked at, both ends included; null when the period holds no entry of the log. */
  range: { firstSeq: number; lastSeq: number; firstChainHash: string; lastChainHash: string } | null
  /** The report is complete up to and including this entry; -1 for an empty log. */
  completeTo: number
  level: AssuranceLevel
  rendererVersion: string
}

/** Absent members do not narrow. */
export interface AuditTrailFilter {
  /** An event type, or a prefix that ends in `.*`. */
  type?: string
  actor?: string
  /** Any target of the entry. */
  target?: string
  /** Pseudonym of a person with personal data sealed in the entry. */
  subject?: string
  stream?: string
  outcome?: string
}

/**
 * How many different types, actors, outcomes or sources are counted one by one. A name that first appears after that many
 * others is counted only as one of the rest, so every number shown is exact and memory stays bounded.
 */
export const DISTINCT_LIMIT = 20_000

interface Tally {
  counts: Map<string, number>
  /** Rows whose name came after DISTINCT_LIMIT others. */
  rest: number
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

/** The names with the highest counts, highest first; equal counts by code unit order of the name. */
export interface Ranking {
  /** `name` is null for the rows that give none. */
  shown: { name: string | null; rows: number }[]
  /** What is not shown: so many other names (at least, when `atLeast`) with so many rows together. */
  more: { names: number; atLeast: boolean; rows: number } | null
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

// A tally's key for "not given". No type, actor, outcome or source is empty.
const NOT_GIVEN = ''

export function startSummary(): SummaryCounts {
  return {
    rows: 0,
    reported: 0,
    types: { counts: new Map(), rest: 0 },
    actors: { counts: new Map(), rest: 0 },
    outcomes: { counts: new Map(), rest: 0 },
    sources: { counts: new Map(), rest: 0 },
    timeline: startTimeline(),
  }
}

/** Counts one row. Rows may come in any order. */
export function countRow(
  summary: SummaryCounts,
  row: AuditTrailRow,
  parameters: AuditTrailParameters,
  clock: ZoneClock,
): void {
  summary.rows += 1
  if (row.source !== undefined) summary.reported += 1
  count(summary.types, row.type)
  count(summary.actors, row.actor ?? NOT_GIVEN)
  count(summary.outcomes, row.outcome ?? NOT_GIVEN)
  count(summary.sources, row.source ?? NOT_GIVEN)
  const adverse = row.outcome === 'failure' || row.outcome === 'denied'
  countTime(summary.timeline, clock.localMs(timeOf(row, parameters.by)), adverse)
}

/** @param limit how many names of each ranking are shown */
export function summaryOf(
  counts: SummaryCounts,
  parameters: AuditTrailParameters,
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
export function filterText(filter: AuditTrailFilter): string[] {
  const text: string[] = []
  if (filter.type !== undefined) text.push(`type is ${filter.type}`)
  if (filter.actor !== undefined) text.push(`actor is ${filter.actor}`)
  if (filter.target !== undefined) text.push(`a target is ${filter.target}`)
  if (filter.subject !== undefined) text.push(`holds sealed data about ${filter.subject}`)
  if (filter.stream !== undefined) text.push(`stream is ${filter.stream}`)
  if (filter.outcome !== undefined) text.push(`outcome is ${filter.outcome}`)
  return text
}

function count(tally: Tally, name: string): void {
  const before = tally.counts.get(name)
  if (before !== undefined) tally.counts.set(name, before + 1)
  else if (tally.counts.size < DISTINCT_LIMIT) tally.counts.set(name, 1)
  else tally.rest += 1
}

function ranking(tally: Tally, limit: number): Ranking {
  const sorted = [...tally.counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
  // Showing a single name takes no more room than saying that there is one more.
  const shown = sorted.length === limit + 1 && tally.rest === 0 ? sorted : sorted.slice(0, limit)
  const left = sorted.slice(shown.length)
  const rows = left.reduce((sum, [, n]) => sum + n, tally.rest)
  return {
    shown: shown.map(([name, rows]) => ({ name: name === NOT_GIVEN ? null : name, rows })),
    more: rows === 0 ? null : { names: left.length + (tally.rest > 0 ? 1 : 0), atLeast: tally.rest > 0, rows },
  }
}
