import { applyChange } from '../approvals/commands/apply.js'
import { deliverChange, type Delivery } from '../approvals/commands/deliver.js'
import { changeStep, escalateChange, expireChange, remindChange, type ChangeRef } from '../approvals/commands/times.js'
import { changeStream } from '../approvals/change.js'
import { readGoverned, type ApprovalDeps } from '../approvals/governed.js'
import type { ChangeStep } from '../approvals/step.js'
import { readStream } from '../ledger/streams.js'
import { changeDelivery } from '../sinks/change-delivery.js'
import { entryId } from '../sinks/notification.js'
import { notify, type NotifyDeps } from '../sinks/notify.js'

export type ChangeApprovalDeps = ApprovalDeps & NotifyDeps

export type ChangeApprovalActivities = ReturnType<typeof changeApprovalActivities>

/** What the workflow of a change may do. All of it may be repeated: commands look at the log before they write. */
export function changeApprovalActivities(deps: ChangeApprovalDeps) {
  /** What comes next is told with what was done: a workflow's every question is a round trip through Temporal. */
  const then = async (done: Promise<unknown>, ref: ChangeRef): Promise<ChangeStep> => {
    await done
    return changeStep(deps, ref)
  }
  return {
    changeStep: (ref: ChangeRef): Promise<ChangeStep> => changeStep(deps, ref),
    applyChange: (ref: ChangeRef): Promise<ChangeStep> => then(applyChange(deps, ref), ref),
    expireChange: (ref: ChangeRef): Promise<ChangeStep> => then(expireChange(deps, ref), ref),
    remindChange: (ref: ChangeRef): Promise<ChangeStep> => then(remindChange(deps, ref), ref),
    escalateChange: (ref: ChangeRef): Promise<ChangeStep> => then(escalateChange(deps, ref), ref),

    /** Tells people of the last reminder or escalation that the log has of a change; of a break-glass use by its own entry. */
    async tellOfChange({ tenant, change }: ChangeRef): Promise<void> {
      const entries = await readGoverned(deps, tenant, (tx) => readStream(tx, tenant, changeStream(change)))
      const last = entries.findLastIndex(({ event }) => TOLD.has(event.type))
      const used = entries.findLastIndex(({ event }) => event.type === 'change.emergency-used')
      const isOfUse = used >= 0 && last === entries.findIndex(({ event }, n) => n > used && TOLD.has(event.type))
      const told = entries[isOfUse ? used : last]
      if (!told) return
      const kind = entries[0]?.event.data?.['kind'] ?? ''
      const { seq, at, event } = told
      const data = { change, kind, ...event.data }
      await notify(deps, { tenant, id: entryId(tenant, seq), type: event.type, at, data })
    },

    deliverChange: (ref: ChangeRef): Promise<Delivery> => deliverChange(deps, changeDelivery(deps), ref),
  }
}

const TOLD: ReadonlySet<string> = new Set(['change.reminded', 'change.escalated'])
