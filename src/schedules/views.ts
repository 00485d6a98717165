import { readGoverned } from '../approvals/governed.js'
import { verificationSetting } from '../approvals/settings.js'
import { inTenant, type Database } from '../db/database.js'
import { zoneClock } from '../../reports/zone.js'
import { patternsOfCron } from './calendar.js'
import { fires } from './fires.js'
import { listRuns, readSchedules } from './queries.js'
import { runTime, type RunState } from './run.js'
import { expectSchedule, patternsOf, VERIFICATION, type ReportSchedule, type ScheduleState } from './schedule.js'

/** When a schedule is due next, at most. */
const NEXT = 3

interface Common {
  readonly id: string
  readonly paused: boolean
  readonly recipients: readonly string[]
  /** Of the stream that it is kept in; 0 where nobody set anything. */
  readonly version: number
  /** When it is due next, UTC; none while it is paused. */
  readonly next: readonly string[]
}

export type ScheduleView =
  | (Common &
      Omit<ReportSchedule, 'cron' | 'calendar'> &
      Pick<ReportSchedule, 'cron' | 'calendar'> & { readonly changedAt: string })
  | (Common & { readonly kind: 'verification'; readonly cron: string; readonly timeZone: 'UTC' })

export interface ViewDeps {
  readonly database: Database
  /** Hour of the nightly verification, UTC. */
  readonly verificationHour: number
}

/** All schedules of a tenant, that of the verification first. */
export async function listSchedules(deps: ViewDeps, tenant: string): Promise<ScheduleView[]> {
  return readGoverned(deps, tenant, async (tx, { governance, nowMs }) => {
    const { enabled, recipients } = verificationSetting(governance)
    const cron = `0 ${deps.verificationHour} * * *`
    const verification = {
      id: VERIFICATION,
      kind: VERIFICATION,
      cron,
      timeZone: 'UTC' as const,
      paused: !enabled,
      recipients,
      version: governance.settings.get(VERIFICATION)?.version ?? 0,
      next: enabled ? nextOf(patternsOfCron(cron), 'UTC', nowMs) : [],
    } as const
    const states = [...(await readSchedules(tx, tenant)).values()].sort((a, b) => (a.id < b.id ? -1 : 1))
    return [verification, ...states.flatMap((state) => viewOf(state, nowMs))]
  })
}

/** @throws DomainError SCHEDULE_UNKNOWN */
export async function findSchedule(deps: ViewDeps, tenant: string, id: string): Promise<ScheduleView> {
  const found = (await listSchedules(deps, tenant)).find((schedule) => schedule.id === id)
  return found ?? (expectSchedule(undefined, id) as never)
}

/**
 * The runs of a schedule, also of one that was removed, by when they were due, the latest first.
 * @param page.before only those due before, as `RunState.scheduledAt`
 * @throws DomainError SCHEDULE_UNKNOWN
 */
export async function runsOf(
  { database }: Pick<ViewDeps, 'database'>,
  tenant: string,
  id: string,
  page: { readonly limit: number; readonly before?: string | undefined },
): Promise<RunState[]> {
  return inTenant(database.reader, tenant, async (tx) => {
    if (id !== VERIFICATION && !(await readSchedules(tx, tenant)).has(id)) expectSchedule(undefined, id)
    return listRuns(tx, tenant, id, page)
  })
}

function viewOf({ id, schedule, version, at }: ScheduleState, nowMs: number): ScheduleView[] {
  if (!schedule) return []
  const next = schedule.paused ? [] : nextOf(patternsOf(schedule), schedule.timeZone, nowMs)
  return [{ id, ...schedule, version, changedAt: at, next }]
}

function nextOf(patterns: Parameters<typeof fires>[0], timeZone: string, nowMs: number): string[] {
  const next: string[] = []
  for (const fire of fires(patterns, zoneClock(timeZone), nowMs)) {
    next.push(runTime(fire))
    if (next.length === NEXT) break
  }
  return next
}
