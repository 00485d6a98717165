import { isCancellation, proxyActivities } from '@temporalio/workflow'
import type { VerificationActivities } from '../src/activities/verification.js'
import { codeOf } from './failures.js'
import type { VerificationInput } from './messages.js'
import { scheduledStart } from './scheduled.js'

const { verifyLogs } = proxyActivities<VerificationActivities>({
  startToCloseTimeout: '1 day',
  heartbeatTimeout: '1 minute',
  retry: { maximumInterval: '10 minutes' },
})
const { untoldFindings, recordUntoldFinding, failVerification } = proxyActivities<VerificationActivities>({
  startToCloseTimeout: '5 minutes',
  retry: { maximumInterval: '1 minute' },
})
const { tellFinding } = proxyActivities<VerificationActivities>({
  startToCloseTimeout: '1 minute',
  retry: { initialInterval: '10 seconds', backoffCoefficient: 4, maximumInterval: '6 hours', maximumAttempts: 8 },
})

/**
 * Verifies all logs in one pass, or one log that somebody asked for, records the outcome in each, and tells whoever wants to know
 * of a finding.
 */
export async function verification({ tenant, scheduledAt: given }: VerificationInput): Promise<void> {
  const run = { scheduledAt: scheduledStart(given), ...(tenant !== undefined && { tenant }) }
  try {
    await verifyLogs(run)
  } catch (error) {
    // The pass over all logs has no entry before it is finished: what is not there is made up for.
    if (isCancellation(error) || tenant === undefined) throw error
    await failVerification({ tenant, scheduledAt: run.scheduledAt, code: codeOf(error) })
  }
  const untold = await untoldFindings(run)
  await Promise.all(
    untold.map(async (told) => {
      try {
        await tellFinding({ ...told, scheduledAt: run.scheduledAt })
      } catch (error) {
        if (isCancellation(error)) throw error
        await recordUntoldFinding({ ...told, scheduledAt: run.scheduledAt, code: codeOf(error) })
      }
    }),
  )
}
