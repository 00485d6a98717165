import { setTimeout as delay } from 'node:timers/promises'
import { sql } from 'kysely'
import { inTenant, type Database, type Tx } from '../src/db/database.js'
import { DomainError } from '../src/errors.js'
import { readLeaf } from '../src/ledger/entry.js'
import { tenantUnknown } from '../src/ledger/errors.js'
import { REPORTS } from '../src/ledger/subscriptions.js'
import { indexBehind } from './audit-trail-query.js'
import type { AuditTrailParameters } from './audit-trail.js'

export const REPORT_GENERATED = 'report.generated'

export type ReportFormat = 'csv' | 'pdf' | 'manifest'

/** A file as its report's entry records it. */
export interface RecordedFile {
  format: ReportFormat
  /** 64 hexadecimal digits. */
  sha256: string
  bytes: number
  rows?: number
  neutralised?: number
  shortened?: number
  pages?: number
}

/** `data` of a `report.generated` entry. */
export interface ReportGenerated {
  id: string
  kind: 'audit-trail'
  parameters: AuditTrailParameters
  rows: number
  files: RecordedFile[]
}

/** A report as the log tells of it. */
export interface RecordedReport extends ReportGenerated {
  /** Its entry, and when, by whom. */
  seq: number
  generatedAt: string
  generatedBy: string
}

/** @throws DomainError REPORT_UNKNOWN */
export async function findReport(
  database: Database,
  tenant: string,
  id: string,
  waitMs: number,
): Promise<RecordedReport> {
  const find = () => inTenant(database.reader, tenant, (tx) => select(tx, (query) => query.where('id', '=', id)))
  let [report] = await find()
  if (!report) {
    await waitFor(database, tenant, REPORTS, await headOf(database, tenant), waitMs)
    ;[report] = await find()
  }
  if (!report) throw new DomainError('REPORT_UNKNOWN', `there is no report ${id}`)
  return report
}

/** Newest first. @param before only reports whose entries come before this one */
export async function listReports(
  database: Database,
  tenant: string,
  { before, limit = 100 }: { before?: number; limit?: number } = {},
): Promise<RecordedReport[]> {
  return inTenant(database.reader, tenant, (tx) =>
    select(tx, (query) => {
      const page = query.orderBy('reports.seq', 'desc').limit(limit)
      return before === undefined ? page : page.where('reports.seq', '<', before)
    }),
  )
}

/** The report, and which of its files, that this log recorded under a digest; undefined when there is none. */
export async function findByDigest(
  database: Database,
  tenant: string,
  sha256: string,
  waitMs: number,
): Promise<{ report: RecordedReport; file: RecordedFile } | undefined> {
  await waitFor(database, tenant, REPORTS, await headOf(database, tenant), waitMs)
  const reports = await inTenant(database.reader, tenant, (tx) =>
    select(tx, (query) =>
      query.where(sql<boolean>`files @> ${JSON.stringify([{ sha256 }])}::jsonb`).orderBy('reports.seq'),
    ),
  )
  for (const report of reports) {
    const file = report.files.find((file) => file.sha256 === sha256)
    if (file) return { report, file }
  }
  return undefined
}

/** Entries in the log. @throws DomainError TENANT_UNKNOWN */
export async function headOf(database: Database, tenant: string): Promise<number> {
  const head = await inTenant(database.reader, tenant, (tx) =>
    tx.selectFrom('heads').select('next_seq').where('tenant', '=', tenant).executeTakeFirst(),
  )
  if (!head) throw tenantUnknown(tenant)
  return head.next_seq
}

/**
 * Waits until a follower has reached an entry.
 * @param nextSeq the first entry that it need not have reached
 * @throws DomainError INDEX_BEHIND after `waitMs`
 */
export async function waitFor(
  database: Database,
  tenant: string,
  consumer: string,
  nextSeq: number,
  waitMs: number,
): Promise<void> {
  const deadline = performance.now() + waitMs
  for (let pauseMs = 5; ; pauseMs = Math.min(pauseMs * 2, 250)) {
    const cursor = await inTenant(database.reader, tenant, (tx) =>
      tx
        .selectFrom('subscriptions')
        .select('next_seq')
        .where('tenant', '=', tenant)
        .where('consumer', '=', consumer)
        .executeTakeFirst(),
    )
    const reached = cursor?.next_seq ?? 0
    if (reached >= nextSeq) return
    if (performance.now() >= deadline) throw indexBehind(nextSeq, reached)
    await delay(pauseMs)
  }
}

type ReportQuery = ReturnType<typeof query>

const query = (tx: Tx) =>
  tx
    .selectFrom('reports')
    .innerJoin('entries', (join) =>
      join.onRef('entries.tenant', '=', 'reports.tenant').onRef('entries.seq', '=', 'reports.seq'),
    )
    .select(['reports.seq', 'entries.leaf'])

/** The table finds; what is told is what the entries say. */
async function select(tx: Tx, narrow: (query: ReportQuery) => ReportQuery): Promise<RecordedReport[]> {
  const rows = await narrow(query(tx)).execute()
  return rows.flatMap(({ seq, leaf }) => {
    const { entry, event } = readLeaf(leaf)
    if (event.type !== REPORT_GENERATED || event.source !== undefined || entry.stream !== undefined) return []
    const data = event.data as unknown as ReportGenerated
    return [{ ...data, seq, generatedAt: entry.at, generatedBy: entry.by }]
  })
}
