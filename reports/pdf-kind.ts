import type { Content } from 'pdfmake'
import type { ReportParameters } from './parameters.js'
import type { SetRow } from './pdf-rows.js'
import type { Typefaces } from './typeface.js'
import type { ZoneClock } from './zone.js'

/** What the pages of one kind of report say and look like, beside what all of them share. */
export interface PdfKind<Row, Summary extends { readonly rows: number }> {
  /** `Audit trail` */
  readonly title: string
  /** Before the period: `Entries` */
  readonly subtitle: string
  /** What its rows are. */
  readonly words: readonly [one: string, many: string]
  /** The bookmark of the rows. */
  readonly outline: string
  /** Of the five columns. */
  readonly titles: (parameters: ReportParameters) => readonly string[]
  /** Facts for the title page, by label. */
  readonly facts: (
    parameters: ReportParameters,
    summary: Summary,
  ) => readonly (readonly [label: string, text: string])[]
  readonly notes: (parameters: ReportParameters) => readonly string[]
  /** Below the heading of the summary; not asked where there are no rows. */
  readonly summary: (summary: Summary, clock: ZoneClock, typefaces: Typefaces) => Content[]
  /** What stands in place of the rows where there are none. */
  readonly nothing: (parameters: ReportParameters) => string
  readonly setRow: (row: Row, parameters: ReportParameters, clock: ZoneClock, typefaces: Typefaces) => SetRow
}
