import type { Database } from '../src/db/database.js'
import type { Cell } from './csv.js'
import type { ReportParameters } from './parameters.js'
import type { ZoneClock } from './zone.js'

export const reportKindNames = ['audit-trail', 'change-approvals'] as const
export type ReportKindName = (typeof reportKindNames)[number]

/** Rows counted so far, and what they amount to. */
export interface Counter<Row, Summary> {
  add(row: Row): void
  end(): Summary
}

/** What one kind of report is made of, but for its pages: where its rows come from, its columns, and what it counts. */
export interface ReportKind<Row, Summary extends { readonly rows: number }> {
  readonly name: ReportKindName
  /** The rows of a fixed range, in the order in which they are to be listed. */
  readonly rows: (database: Database, parameters: ReportParameters) => AsyncIterable<Row>
  /** Of the CSV, in order; a new one goes to the end. */
  readonly columns: readonly string[]
  readonly record: (row: Row, parameters: ReportParameters, clock: ZoneClock) => Readonly<Record<string, Cell>>
  readonly counter: (parameters: ReportParameters, clock: ZoneClock) => Counter<Row, Summary>
  /** What the manifest says of the counts. */
  readonly counts: (summary: Summary) => Readonly<Record<string, number>>
}
