import { DomainError } from '../src/errors.js'
import { TYPE } from '../src/ledger/check-event.js'
import { instantMs, timeFault } from '../src/ledger/rfc3339.js'
import type { ReportFilter } from './parameters.js'
import type { ReportKindName } from './report-kind.js'
import type { ZoneClock } from './zone.js'
import { zoneClock } from './zone.js'

/** What a caller asks for. All of it may be left out. */
export interface ReportRequest {
  by?: 'recorded' | 'occurred'
  /** First instant of the period: RFC 3339, or a day, `2026-11-01`, for its start in the time zone. */
  from?: string
  /** First instant after the period, in the same forms. */
  to?: string
  /** IANA name; UTC unless given. */
  timeZone?: string
  filter?: ReportFilter
  formats?: readonly ('csv' | 'pdf')[]
}

export interface CheckedRequest {
  by: 'recorded' | 'occurred'
  from?: string
  to?: string
  timeZone: string
  filter: ReportFilter
  formats: readonly ('csv' | 'pdf')[]
}

const OUTCOMES = ['success', 'failure', 'denied']
const DAY = /^\d{4}-\d\d-\d\d$/
// Ids as leaves hold them: at most 255 bytes, no control characters.
const REFERENCE = /^[^\p{Cc}\p{Cs}]{1,255}$/u

/** @throws DomainError REPORT_PERIOD_INVALID, REPORT_TIME_ZONE_UNKNOWN, REPORT_FILTER_INVALID */
export function checkRequest(kind: ReportKindName, request: ReportRequest): CheckedRequest {
  const { by = 'recorded', timeZone = 'UTC', filter = {}, formats = ['csv', 'pdf'] } = request
  if (kind !== 'audit-trail') refuseNarrowing(kind, request)
  const clock = zoneClock(timeZone)
  const from = instant(request.from, '/from', clock)
  const to = instant(request.to, '/to', clock)
  if (from !== undefined && to !== undefined && instantMs(from) >= instantMs(to)) {
    throw new DomainError('REPORT_PERIOD_INVALID', 'the period ends before it begins: "to" must be later than "from"', {
      pointer: '/to',
    })
  }
  checkFilter(filter)
  return {
    by,
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    timeZone,
    filter,
    formats: [...new Set(formats)].sort(),
  }
}

/** Reports of decisions leave none out, and claimed times decide nothing. */
function refuseNarrowing(kind: ReportKindName, { by, filter = {} }: ReportRequest): void {
  if (by === 'occurred') {
    throw new DomainError('REPORT_PERIOD_INVALID', `the period of ${kind} is one of recorded time`, { pointer: '/by' })
  }
  const [name] = Object.keys(filter)
  if (name !== undefined) {
    throw new DomainError('REPORT_FILTER_INVALID', `${kind} takes no filter: it leaves no decision out`, {
      pointer: `/filter/${name}`,
    })
  }
}

function instant(text: string | undefined, pointer: string, clock: ZoneClock): string | undefined {
  if (text === undefined) return undefined
  const time = DAY.test(text) ? `${text}T00:00:00Z` : text
  const fault = timeFault(time)
  if (fault !== undefined)
    throw new DomainError('REPORT_PERIOD_INVALID', `${JSON.stringify(text)} ${fault}`, { pointer })
  return DAY.test(text) ? new Date(clock.instantOf(instantMs(time))).toISOString() : text.toUpperCase()
}

function checkFilter(filter: ReportFilter): void {
  const refuse = (name: string, what: string) => {
    throw new DomainError('REPORT_FILTER_INVALID', what, { pointer: `/filter/${name}` })
  }
  const { type, outcome, ...references } = filter
  if (type !== undefined && !TYPE.test(type.replace(/\.\*$/, '.x'))) {
    refuse('type', `${JSON.stringify(type)} is no event type, nor the beginning of one followed by .*`)
  }
  if (outcome !== undefined && !OUTCOMES.includes(outcome)) {
    refuse('outcome', `an outcome is one of ${OUTCOMES.join(', ')}`)
  }
  for (const [name, reference] of Object.entries(references)) {
    if (reference !== undefined && !REFERENCE.test(reference)) {
      refuse(name, `${name} must be 1 to 255 characters, none of them a control character`)
    }
  }
}
