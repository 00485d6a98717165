import { isClosed, statusAt, type ChangeState } from './change.js'
import { DAY_MS, HOUR_MS } from './policy.js'

/** When people are told about a change that waits for them. */
export interface ReminderTimes {
  /** From the request, and from each reminder to the next, in ms. */
  readonly reminderMs: number
  /** Before the end, once, in ms. */
  readonly escalateMs: number
}

export const REMINDER_TIMES: ReminderTimes = { reminderMs: DAY_MS, escalateMs: 6 * HOUR_MS }
/** How long after each failed delivery the next is tried: then a change has failed. */
export const DELIVERY_BACKOFF_MS = [5_000, 60_000, 5 * 60_000, 30 * 60_000, 2 * HOUR_MS, 8 * HOUR_MS] as const

/** What a change's workflow does next; without `do` it waits for `waitMs`, or for a nudge. */
export interface ChangeStep {
  /** Nothing is left to do, ever. */
  readonly closed: boolean
  readonly do?: 'apply' | 'deliver' | 'expire' | 'remind' | 'escalate'
  readonly waitMs?: number
}

/**
 * What comes next for a change, by the ledger's clock: repeating it changes nothing.
 * @param outside how what lies outside the database is done, see `ChangeKind`
 */
export function nextStep(
  change: ChangeState,
  outside: 'taken' | 'ordered' | undefined,
  nowMs: number,
  times: ReminderTimes = REMINDER_TIMES,
): ChangeStep {
  const { recorded } = change
  if (isClosed(recorded)) return { closed: true }
  if (statusAt(change, nowMs) === 'expired') return { closed: false, do: 'expire' }
  if (recorded === 'requested') return whileRequested(change, nowMs, times)
  if (recorded === 'approved') return whileApproved(change, outside, nowMs)
  return { closed: false, do: 'deliver' }
}

function whileRequested(change: ChangeState, nowMs: number, times: ReminderTimes): ChangeStep {
  const remindAtMs = Date.parse(change.nudgedAt ?? change.requestedAt) + times.reminderMs
  const escalateAtMs = change.escalations === 0 ? escalationMs(change, times) : Infinity
  if (nowMs >= escalateAtMs) return { closed: false, do: 'escalate' }
  if (nowMs >= remindAtMs) return { closed: false, do: 'remind' }
  return { closed: false, waitMs: Math.min(remindAtMs, escalateAtMs, Date.parse(change.expiresAt)) - nowMs }
}

/** When a change is escalated: so long before its end, half-way where it does not live as long. */
function escalationMs({ requestedAt, expiresAt }: ChangeState, { escalateMs }: ReminderTimes): number {
  const [from, to] = [Date.parse(requestedAt), Date.parse(expiresAt)]
  return to - Math.min(escalateMs, Math.floor((to - from) / 2))
}

function whileApproved(change: ChangeState, outside: 'taken' | 'ordered' | undefined, nowMs: number): ChangeStep {
  const notBeforeMs = Date.parse(change.approved?.notBefore ?? change.expiresAt)
  const applyByMs = Date.parse(change.applyBy)
  // Whoever was passed over is told before anything happens.
  if (change.emergency && (change.nudgedAt ?? '') < change.emergency.at) return { closed: false, do: 'remind' }
  if (nowMs < notBeforeMs) return { closed: false, waitMs: Math.min(notBeforeMs, applyByMs) - nowMs }
  return outside === 'taken' ? { closed: false, waitMs: applyByMs - nowMs } : { closed: false, do: 'apply' }
}
