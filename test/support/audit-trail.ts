import { createHash } from 'node:crypto'
import type { AuditTrailRow } from '../../reports/audit-trail.js'
import type { ReportParameters } from '../../reports/parameters.js'

const digest = (text: string) => createHash('sha256').update(text).digest('hex')

/** A row like those of a billing system. */
export function auditTrailRow(seq: number, more: Partial<AuditTrailRow> = {}): AuditTrailRow {
  return {
    seq,
    recordedAt: new Date(Date.UTC(2026, 10, 2, 8) + seq * 60_000).toISOString(),
    type: seq % 3 === 0 ? 'invoice.issued' : 'payment.settled',
    actor: `person:01J${seq % 7}`,
    actorType: 'user',
    outcome: seq % 5 === 0 ? 'denied' : 'success',
    targets: [{ id: `invoice:${seq}`, type: 'invoice' }],
    source: 'billing',
    by: 'service:billing',
    via: 'token:01J9',
    subjects: [],
    leafHash: digest(`leaf ${seq}`),
    chainHash: digest(`chain ${seq}`),
    data: `{"amount":${seq},"currency":"EUR"}`,
    ...more,
  }
}

export function auditTrailParameters(more: Partial<ReportParameters> = {}): ReportParameters {
  return {
    id: '01JREPORT',
    tenant: 'acme',
    log: '0f'.repeat(16),
    asOf: '2026-11-20T10:00:00.000Z',
    by: 'recorded',
    from: '2026-11-01T00:00:00Z',
    to: '2026-12-01T00:00:00Z',
    timeZone: 'Europe/Berlin',
    filter: {},
    range: { firstSeq: 0, lastSeq: 99, firstChainHash: digest('first'), lastChainHash: digest('last') },
    completeTo: 99,
    level: 'chained',
    rendererVersion: 'test',
    ...more,
  }
}

export async function* rowsOf(rows: Iterable<AuditTrailRow>): AsyncGenerator<AuditTrailRow> {
  yield* rows
}
