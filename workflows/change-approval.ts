import {
  ActivityFailure,
  ApplicationFailure,
  condition,
  continueAsNew,
  defineSignal,
  proxyActivities,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow'
import type { ChangeApprovalActivities } from '../src/activities/change-approval.js'
import type { ChangeStep } from '../src/approvals/step.js'
import { NUDGE } from './messages.js'
import type { ChangeApprovalInput } from './messages.js'

// An outage ends some time, and a worker that died is missed after startToCloseTimeout: none is given up.
const retry = { initialInterval: '1 second', maximumInterval: '1 minute' } as const
const { changeStep, applyChange, expireChange, remindChange, escalateChange } =
  proxyActivities<ChangeApprovalActivities>({
    startToCloseTimeout: '20 seconds',
    retry,
  })
const { tellOfChange, deliverChange } = proxyActivities<ChangeApprovalActivities>({
  startToCloseTimeout: '3 minutes',
  retry,
})

/** What is refused for good, or comes to nothing again and again, is looked at again after so long, or at a nudge. */
const PAUSE_MS = 5 * 60_000
/** How often the same may be due with nothing coming of it, before a pause. */
const REPEATS = 3
/** Events of a history; then the workflow starts over as itself, which loses nothing: it looks at the log. */
const LONG_HISTORY = 1_000

/**
 * Sees a change through: waits by the log's clock, reminds, escalates, and has it applied, delivered or expired. It decides
 * nothing. What comes next is asked of the log each time, so that a lost nudge, a doubled one, a clock of Temporal's that
 * runs differently, or a second workflow of the same change, do nothing.
 */
export async function changeApproval(ref: ChangeApprovalInput): Promise<void> {
  let nudged = false
  setHandler(defineSignal(NUDGE), () => {
    nudged = true
  })
  const rest = async (ms: number | undefined): Promise<void> => {
    if (ms === undefined) await condition(() => nudged)
    else await condition(() => nudged, Math.max(ms, 1))
  }

  let step: ChangeStep | undefined
  let last: string | undefined
  let repeats = 0
  for (;;) {
    try {
      if (step === undefined) {
        nudged = false
        step = await changeStep(ref)
      }
      const { closed, do: due, waitMs } = step
      if (closed) return
      repeats = due !== undefined && due === last ? repeats + 1 : 0
      last = due
      step = undefined
      if (due === undefined) await rest(waitMs)
      else if (due === 'deliver') {
        const delivery = await deliverChange(ref)
        if (!delivery.closed) await rest(delivery.waitMs)
      } else if (repeats >= REPEATS) await rest(PAUSE_MS)
      else {
        nudged = false
        step = await take(due, ref)
        // People are told of what is on record; nothing waits for who cannot be reached.
        if (due === 'remind' || due === 'escalate') {
          await Promise.race([tellOfChange(ref).catch(() => undefined), rest(undefined)])
        }
        if (nudged && !step.closed) step = undefined
      }
    } catch (error) {
      if (!isRefusal(error)) throw error
      step = undefined
      await rest(PAUSE_MS)
    }
    const { historyLength, continueAsNewSuggested } = workflowInfo()
    if (historyLength > LONG_HISTORY || continueAsNewSuggested) await continueAsNew<typeof changeApproval>(ref)
  }
}

function take(due: 'apply' | 'expire' | 'remind' | 'escalate', ref: ChangeApprovalInput): Promise<ChangeStep> {
  if (due === 'apply') return applyChange(ref)
  if (due === 'expire') return expireChange(ref)
  return due === 'remind' ? remindChange(ref) : escalateChange(ref)
}

/** An activity said no, and would say it again. */
function isRefusal(error: unknown): boolean {
  return error instanceof ActivityFailure && error.cause instanceof ApplicationFailure
}
