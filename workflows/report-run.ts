import { isCancellation, proxyActivities } from '@temporalio/workflow'
import type { ReportRunActivities } from '../src/activities/report-run.js'
import { codeOf } from './failures.js'
import type { ReportRunInput } from './messages.js'
import { scheduledStart } from './scheduled.js'

const { beginReportRun, failRun, recordUntold } = proxyActivities<ReportRunActivities>({
  startToCloseTimeout: '1 minute',
  retry: { maximumInterval: '1 minute' },
})
const { makeReport } = proxyActivities<ReportRunActivities>({
  startToCloseTimeout: '6 hours',
  scheduleToCloseTimeout: '1 day',
  heartbeatTimeout: '1 minute',
  retry: { maximumInterval: '10 minutes' },
})
const { tellRecipient } = proxyActivities<ReportRunActivities>({
  startToCloseTimeout: '1 minute',
  // Seven tries in about half a day.
  retry: { initialInterval: '30 seconds', backoffCoefficient: 4, maximumInterval: '6 hours', maximumAttempts: 7 },
})

/**
 * Makes the report that a schedule was due to make, and tells its recipients. The log knows how far the run is: started again, it
 * goes on from there, and one that has ended ends at once.
 */
export async function reportRun({ tenant, schedule, scheduledAt: given }: ReportRunInput): Promise<void> {
  const run = { tenant, schedule, scheduledAt: scheduledStart(given) }
  const { state, untold } = await beginReportRun(run)
  if (state === 'nothing') return
  if (state === 'open') {
    try {
      await makeReport(run)
    } catch (error) {
      if (isCancellation(error)) throw error
      await failRun({ ...run, code: codeOf(error) })
    }
  }
  await Promise.all(
    untold.map(async (webhook) => {
      try {
        await tellRecipient({ ...run, webhook })
      } catch (error) {
        if (isCancellation(error)) throw error
        await recordUntold({ ...run, webhook, code: codeOf(error) })
      }
    }),
  )
}
