import type { AuditTrailRow } from './audit-trail.js'
import { subjectsText, targetsText, timeOf } from './audit-trail.js'
import type { Cell } from './csv.js'
import type { ZoneClock } from './zone.js'

/** The columns in order. A new one goes to the end. */
export const AUDIT_TRAIL_COLUMNS = [
  'seq',
  'recorded_at',
  'local_time',
  'type',
  'actor',
  'actor_type',
  'outcome',
  'reason',
  'targets',
  'occurred_at',
  'reported',
  'source',
  'event_id',
  'by',
  'via',
  'stream',
  'sealed',
  'data',
  'leaf_hash',
  'chain_hash',
] as const

/** @param by the time that `local_time` shows, in the clock's zone */
export function auditTrailRecord(
  row: AuditTrailRow,
  by: 'recorded' | 'occurred',
  clock: ZoneClock,
): Record<(typeof AUDIT_TRAIL_COLUMNS)[number], Cell> {
  const at = timeOf(row, by)
  return {
    seq: row.seq,
    recorded_at: row.recordedAt,
    local_time: Number.isNaN(at) ? undefined : clock.withOffset(at),
    type: row.type,
    actor: row.actor,
    actor_type: row.actorType,
    outcome: row.outcome,
    reason: row.reason,
    targets: targetsText(row),
    occurred_at: row.occurredAt,
    reported: row.source !== undefined,
    source: row.source,
    event_id: row.eventId,
    by: row.by,
    via: row.via,
    stream: row.stream,
    sealed: subjectsText(row),
    data: row.data,
    leaf_hash: row.leafHash,
    chain_hash: row.chainHash,
  }
}
