import { setTimeout as delay } from 'node:timers/promises'
import { sql } from 'kysely'
import { inTenant, type Database, type Tx } from '../src/db/database.js'
import { DomainError } from '../src/errors.js'
import { readLeaf } from '../src/ledger/entry.js'
import { headOf } from '../src/ledger/query.js'
import { REPORTS } from '../src/ledger/subscriptions.js'
import type { ReportKindName } from './report-kind.js'
import type { ReportParameters } from './parameters.js'

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
  kind: ReportKindName
  parameters: ReportParameters
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
    await waitForReports(database, tenant, waitMs)
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
  await waitForReports(database, tenant, waitMs)
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

/** Waits until the list of reports has everything that the log has now. @throws DomainError INDEX_BEHIND after `waitMs` */
async function waitForReports(database: Database, tenant: string, waitMs: number): Promise<void> {
  const deadline = performance.now() + waitMs
  const { size } = await headOf(database, tenant)
  for (let pauseMs = 5; ; pauseMs = Math.min(2 * pauseMs, 100)) {
    const cursor = await inTenant(database.reader, tenant, (tx) =>
      tx
        .selectFrom('subscriptions')
        .select('next_seq')
        .where('tenant', '=', tenant)
        .where('consumer', '=', REPORTS)
        .executeTakeFirst(),
    )
    const reached = cursor?.next_seq ?? 0
    if (reached >= size) return
    if (performance.now() + pauseMs > deadline) throw indexBehind(size, reached)
    await delay(pauseMs)
  }
}

export function indexBehind(size: number, reached: number): DomainError {
  const message = `the index has reached ${reached} of ${size} entries: ask again in a moment`
  return new DomainError('INDEX_BEHIND', message, { retryAfterS: 1 })
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
