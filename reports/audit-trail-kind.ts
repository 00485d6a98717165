import { auditTrailRecord, AUDIT_TRAIL_COLUMNS } from './audit-trail-csv.js'
import { auditTrailRows } from './audit-trail-query.js'
import { countRow, startSummary, summaryOf, type AuditTrailRow, type AuditTrailSummary } from './audit-trail.js'
import type { ReportKind } from './report-kind.js'

/** Every entry of a period. */
export const auditTrail: ReportKind<AuditTrailRow, AuditTrailSummary> = {
  name: 'audit-trail',
  rows: auditTrailRows,
  columns: AUDIT_TRAIL_COLUMNS,
  record: (row, { by }, clock) => auditTrailRecord(row, by, clock),
  counter(parameters, clock) {
    const counts = startSummary()
    return {
      add: (row) => countRow(counts, row, parameters, clock),
      end: () => summaryOf(counts, parameters, clock),
    }
  },
  counts: ({ rows, reported, timeline: { undated } }) => ({ rows, reported, ...(undated > 0 ? { undated } : {}) }),
}
