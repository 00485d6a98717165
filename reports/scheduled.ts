import { DomainError } from '../src/errors.js'
import type { Json } from '../src/ledger/event.js'
import { pointerTo } from '../src/ledger/pointer.js'
import type { Principal } from '../src/principal.js'
import type { ReportDeps } from './generate.js'
import type { ReportFilter } from './parameters.js'
import type { RecordedReport } from './recorded.js'
import { reportKindNames, type ReportKindName } from './report-kind.js'
import { checkRequest, type ReportRequest } from './request.js'

/** What a schedule says of its report beside period and time zone: by, filter, formats. */
export type ReportParameters = Readonly<Record<string, Json>>

/** A report that a schedule was due to make. */
export interface ReportOrder {
  /** The id it gets. */
  readonly id: string
  /** The period: days of the time zone, the end excluded. */
  readonly from: string
  readonly to: string
  /** IANA name. */
  readonly timeZone: string
  readonly parameters: ReportParameters
  /** Told now and then while it is made. */
  readonly onProgress?: (() => void) | undefined
}

/** A kind of report that schedules can name. */
export interface ScheduledReport {
  /** @throws DomainError where these are no parameters of it */
  readonly check: (parameters: ReportParameters) => void
  readonly make: (deps: ReportDeps, by: Principal, order: ReportOrder) => Promise<RecordedReport>
}

/** Every kind of report, by name. What makes them, fonts and page layout, is loaded when it is needed. */
export const scheduledReports: ReadonlyMap<string, ScheduledReport> = new Map(
  reportKindNames.map((kind) => [kind, scheduled(kind)]),
)

function scheduled(kind: ReportKindName): ScheduledReport {
  return {
    check: (parameters) => below('/parameters', () => checkRequest(kind, requestOf(parameters))),
    async make(deps, by, { id, from, to, timeZone, parameters, onProgress }) {
      const { generateReport } = await import('./generate.js')
      return generateReport(deps, by, kind, { ...requestOf(parameters), from, to, timeZone }, onProgress, id)
    },
  }
}

interface RequestParameters {
  by?: NonNullable<ReportRequest['by']>
  filter?: ReportFilter
  formats?: NonNullable<ReportRequest['formats']>
}

const TIMES = ['recorded', 'occurred']
const FORMATS = ['csv', 'pdf']
const FILTER = ['type', 'actor', 'target', 'subject', 'stream', 'outcome']

function requestOf(parameters: ReportParameters): RequestParameters {
  const { by, filter, formats, ...others } = parameters
  const [other] = Object.keys(others)
  if (other !== undefined) throw invalid(other, 'a report takes by, filter and formats, and no other parameter')
  if (by !== undefined && !isOneOf(TIMES, by)) throw invalid('by', `it is one of ${TIMES.join(', ')}`)
  if (
    formats !== undefined &&
    !(Array.isArray(formats) && formats.length > 0 && formats.every((format) => isOneOf(FORMATS, format)))
  ) {
    throw invalid('formats', `it lists some of ${FORMATS.join(', ')}`)
  }
  if (filter !== undefined && !isFilter(filter)) throw invalid('filter', `it has texts for ${FILTER.join(', ')}`)
  return parameters
}

function isOneOf(names: readonly string[], value: Json): boolean {
  return typeof value === 'string' && names.includes(value)
}

function isFilter(value: Json): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  return Object.entries(value).every(([name, text]) => FILTER.includes(name) && typeof text === 'string')
}

/** What was sent lies below another place than its checks know of. */
function below(base: string, check: () => unknown): void {
  try {
    check()
  } catch (error) {
    if (!(error instanceof DomainError) || error.pointer === undefined) throw error
    throw new DomainError(error.code, error.message, { pointer: base + error.pointer })
  }
}

function invalid(name: string, message: string): DomainError {
  const named = JSON.stringify(name.slice(0, 80))
  return new DomainError('REPORT_PARAMETERS_INVALID', `the parameter ${named} cannot be used: ${message}`, {
    pointer: pointerTo('', name),
  })
}
