import { Context } from '@temporalio/activity'
import type { ReportDeps } from '../../reports/generate.js'
import type { ScheduledReport } from '../../reports/scheduled.js'
import { findReport, type RecordedReport } from '../../reports/recorded.js'
import { DomainError } from '../errors.js'
import { ulid } from '../ledger/ulid.js'
import { service } from '../principal.js'
import { beginRun, completeRun, failRun, recordAnnouncement, type RunRef } from '../schedules/commands.js'
import { entryId } from '../sinks/notification.js'
import { findRun } from '../schedules/queries.js'
import { isEnded, type RunState } from '../schedules/run.js'
import { untoldOf } from '../schedules/verified.js'
import { withHeartbeat } from './heartbeat.js'
import { linksOf, type Tell } from './tell.js'

export interface ReportRunDeps {
  readonly reports: ReportDeps
  readonly kinds: ReadonlyMap<string, ScheduledReport>
  readonly tell: Tell
  /** Where callers reach the API. */
  readonly publicUrl: string | undefined
}

export type ReportRunActivities = ReturnType<typeof reportRunActivities>

/** What the workflow `reportRun` does. Each step looks into the log first, so that none is done twice. */
export function reportRunActivities({ reports, kinds, tell, publicUrl }: ReportRunDeps) {
  const { database } = reports
  return {
    /** Begins a run, or finds out how far it is. */
    async beginReportRun(run: RunRef): Promise<{ state: 'nothing' | 'open' | 'ended'; untold: string[] }> {
      const begun = await beginRun(database, run, ulid())
      if (!begun) return { state: 'nothing', untold: [] }
      return { state: isEnded(begun) ? 'ended' : 'open', untold: untoldOf(begun) }
    },

    /** The report's id stands in the entry that began the run: what was made by an attempt before is found by it. */
    async makeReport(run: RunRef): Promise<void> {
      const { order } = await expectRun(run)
      if (!order) throw new DomainError('RUN_UNKNOWN', `the run of ${run.schedule} has not begun`)
      const kind = kinds.get(order.report)
      if (!kind) throw new DomainError('REPORT_KIND_UNKNOWN', `there is no report ${order.report}`)
      const by = service(run.tenant)
      const { reportId: id, period, timeZone, parameters } = order
      const made = await withHeartbeat(
        Context.current(),
        async (onProgress) =>
          (await found(run.tenant, id)) ?? kind.make(reports, by, { id, ...period, timeZone, parameters, onProgress }),
      )
      const { seq, rows, files } = made
      await completeRun(database, run, { report: id, seq, rows, formats: files.map(({ format }) => format) })
    },

    async failRun({ code, ...run }: RunRef & { code: string }): Promise<void> {
      await failRun(database, run, code)
    },

    /** Tells one recipient how the run ended: with links, never with what the report says. */
    async tellRecipient({ webhook, ...run }: RunRef & { webhook: string }): Promise<void> {
      const { tenant, schedule, scheduledAt } = run
      const { status, order, result, code, announced, endedAt, endedSeq } = await expectRun(run)
      if (announced.some((each) => each.webhook === webhook) || endedAt === undefined || endedSeq === undefined) return
      const about = { schedule, scheduledAt, ...(order && { report: order.report, period: { ...order.period } }) }
      const formats = (result?.['formats'] ?? []) as string[]
      const good = {
        type: 'run.completed',
        data: { ...about, links: linksOf(publicUrl, result?.['report'] as string, formats) },
      }
      const bad = { type: 'run.failed', data: { ...about, code: code ?? '' } }
      const notice = { tenant, id: entryId(tenant, endedSeq), at: endedAt, ...(status === 'completed' ? good : bad) }
      await tell(webhook, notice, Context.current().info.attempt)
      await recordAnnouncement(database, run, webhook)
    },

    async recordUntold({ webhook, code, ...run }: RunRef & { webhook: string; code: string }): Promise<void> {
      await recordAnnouncement(database, run, webhook, code)
    },
  }

  async function expectRun(run: RunRef): Promise<RunState> {
    const state = await findRun(database, run.tenant, run)
    if (state) return state
    throw new DomainError('RUN_UNKNOWN', `there is no run of ${run.schedule} at ${run.scheduledAt}`)
  }

  async function found(tenant: string, id: string): Promise<RecordedReport | undefined> {
    try {
      return await findReport(database, tenant, id, reports.waitMs ?? WAIT_MS)
    } catch (error) {
      if (error instanceof DomainError && error.code === 'REPORT_UNKNOWN') return undefined
      throw error
    }
  }
}

const WAIT_MS = 30_000
