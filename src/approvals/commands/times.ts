import type { Json } from '../../ledger/event.js'
import { service } from '../../principal.js'
import { changeStream } from '../change.js'
import { governed, readGoverned, type ApprovalDeps } from '../governed.js'
import { loadChange } from '../queries/load.js'
import { couldApprove } from '../queries/waiting.js'
import { reminderTimes } from '../settings.js'
import { nextStep, type ChangeStep } from '../step.js'
import { DomainError } from '../../errors.js'
import { write } from './writing.js'

export interface ChangeRef {
  readonly tenant: string
  /** The change's id. */
  readonly change: string
}

/** What comes next for a change, by the ledger's clock. One that is not there is closed: its log was restored from a backup. */
export async function changeStep(deps: ApprovalDeps, { tenant, change: id }: ChangeRef): Promise<ChangeStep> {
  return readGoverned(deps, tenant, async (tx, { nowMs, governance }) => {
    try {
      const change = await loadChange(tx, tenant, id)
      const outside = deps.kinds.find(change.kind).outside?.(change.payload)
      return nextStep(change, outside, nowMs, deps.reminders ?? reminderTimes(governance))
    } catch (error) {
      if (error instanceof DomainError && error.code === 'CHANGE_UNKNOWN') return { closed: true }
      throw error
    }
  })
}

/** So many of the people whom a change waits for are named in a reminder. */
const MAX_NAMED = 64

/**
 * Records that the time of a change is up, or that people are reminded of it; a repeat records nothing.
 * @returns whether it was recorded now
 */
async function recordTime(
  deps: ApprovalDeps,
  { tenant, change: id }: ChangeRef,
  what: 'expire' | 'remind' | 'escalate',
): Promise<boolean> {
  const by = service(tenant)
  return governed(deps, by, async (tx, now) => {
    const change = await loadChange(tx, tenant, id)
    const outside = deps.kinds.find(change.kind).outside?.(change.payload)
    if (nextStep(change, outside, now.nowMs, deps.reminders).do !== what) return false
    const record = async (): Promise<{ type: string; data?: Record<string, Json> }> => {
      if (what === 'expire') return { type: 'change.expired' }
      const waitsFor = (await couldApprove(tx, tenant, deps.kinds, change, now)).slice(0, MAX_NAMED)
      return what === 'remind'
        ? { type: 'change.reminded', data: { n: change.reminders + 1, waitsFor } }
        : { type: 'change.escalated', data: { n: change.escalations + 1, waitsFor } }
    }
    const event = { ...(await record()), cause: change.requestedSeq }
    await write(tx, now, [{ by, stream: changeStream(id), version: change.version + 1, event }])
    return true
  })
}

export const expireChange = (deps: ApprovalDeps, ref: ChangeRef): Promise<boolean> => recordTime(deps, ref, 'expire')
export const remindChange = (deps: ApprovalDeps, ref: ChangeRef): Promise<boolean> => recordTime(deps, ref, 'remind')
export const escalateChange = (deps: ApprovalDeps, ref: ChangeRef): Promise<boolean> =>
  recordTime(deps, ref, 'escalate')
