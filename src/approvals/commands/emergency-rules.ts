import type { ChangeState } from '../change.js'
import type { Governed } from '../governed.js'
import { covers } from '../governance.js'
import { HOUR_MS } from '../policy.js'

/** What was let through by breaking glass is applied within this time, or needs votes again. */
export const EMERGENCY_TTL_MS = HOUR_MS

/** Whether the approval in force is one that somebody gave alone. */
export function isEmergency({ approved, emergency }: ChangeState): boolean {
  return emergency !== undefined && approved?.seq === emergency.seq
}

/** Whether who broke glass still may, and it was a moment ago. */
export function mayStillUse(
  { emergency, kind }: ChangeState,
  { governance, nowMs }: Pick<Governed, 'governance' | 'nowMs'>,
): boolean {
  if (!emergency) return false
  const { access, emergency: list } = governance
  return (
    nowMs < Date.parse(emergency.at) + EMERGENCY_TTL_MS &&
    access.principals[emergency.by]?.disabled !== true &&
    list !== undefined &&
    list.people.includes(emergency.by) &&
    covers(list.kinds, kind)
  )
}
