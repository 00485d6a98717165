export type AssuranceLevel = 'chained' | 'sealed' | 'witnessed'

/** What fixes a report: the same parameters and the same log give the same bytes. All of it is recorded with the report. */
export interface ReportParameters {
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
  filter: ReportFilter
  /** The entries looked at, both ends included; null when the period holds no entry of the log. */
  range: { firstSeq: number; lastSeq: number; firstChainHash: string; lastChainHash: string } | null
  /** The report is complete up to and including this entry; -1 for an empty log. */
  completeTo: number
  level: AssuranceLevel
  rendererVersion: string
}

/** Absent members do not narrow. */
export interface ReportFilter {
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
