import { DomainError } from '../errors.js'

/**
 * What each part of the API needs. `personal/<group>:reveal` comes once per group of personal data, `changes/<kind>:approve`
 * once per kind of change.
 */
export const permissions = {
  writeEvents: 'ledger/events:write',
  readEntries: 'ledger/entries:read',
  readLog: 'ledger/log:read',
  findSubjects: 'personal/subjects:find',
  readTokens: 'access/tokens:read',
  writeTokens: 'access/tokens:write',
  readRoles: 'access/roles:read',
  writeRoles: 'access/roles:write',
  readPrincipals: 'access/principals:read',
  writePrincipals: 'access/principals:write',
  readReports: 'reports/reports:read',
  writeReports: 'reports/reports:write',
  readChanges: 'changes/changes:read',
  requestChanges: 'changes/changes:request',
  readPolicies: 'changes/policies:read',
  writePolicies: 'changes/policies:write',
  enforceApprovals: 'changes/enforcement:write',
  readSchedules: 'schedules/schedules:read',
  writeSchedules: 'schedules/schedules:write',
  requestRuns: 'schedules/runs:request',
  readSettings: 'settings/settings:read',
  writeSettings: 'settings/settings:write',
  redeemGrants: 'grants/grants:redeem',
  readWebhooks: 'webhooks/webhooks:read',
  writeWebhooks: 'webhooks/webhooks:write',
} as const

/** Everything. */
export const ADMIN: readonly string[] = ['*/*:*']
/** Reads the log, who may do what, and what was decided; makes and downloads reports; sees nobody's personal data. */
export const AUDITOR: readonly string[] = [
  'ledger/*:read',
  'reports/*:read',
  'reports/*:write',
  'access/*:read',
  'changes/*:read',
  'schedules/*:read',
]

const WORD = '[a-z][a-z0-9-]{0,63}'
const SEGMENT = `(?:${WORD}(?:\\.${WORD}){0,3}|\\*)`
/** `area/resource:verb`, where a segment may have dots; `*` stands for a whole segment and nothing less. */
export const PERMISSION = new RegExp(`^${SEGMENT}/${SEGMENT}:${SEGMENT}$`)

/** @throws DomainError PERMISSION_INVALID */
export function checkPermission(text: string, pointer?: string): void {
  if (PERMISSION.test(text)) return
  throw new DomainError(
    'PERMISSION_INVALID',
    `${JSON.stringify(text.slice(0, 80))} is no permission: write area/resource:verb in lower case, with * for a whole segment only`,
    pointer === undefined ? {} : { pointer },
  )
}

/**
 * Whether what was granted covers what is needed, segment by segment. A `*` that is needed is covered by a `*` alone, so
 * the same question tells whether one grant may be passed on by another.
 */
export function allows(granted: readonly string[], needed: string): boolean {
  for (const grant of granted) if (grant === needed || grant === '*/*:*') return true
  const wanted = segments(needed)
  return granted.some((grant) => segments(grant).every((segment, n) => segment === '*' || segment === wanted[n]))
}

/**
 * What both allow, segment by segment: `allows(intersect(a, b), needed)` holds exactly where both `a` and `b` allow what is
 * needed.
 */
export function intersect(a: readonly string[], b: readonly string[]): string[] {
  const others = b.map((permission) => ({ permission, parts: segments(permission) }))
  const met = a.flatMap((permission) => {
    if (permission === '*/*:*') return b
    const parts = segments(permission)
    return others.flatMap((other) => meet(parts, other.parts) ?? [])
  })
  return withoutCovered(met)
}

/** Whether changes of any kind at all may be approved with these. */
export function approveSomething(granted: readonly string[]): boolean {
  return granted.some((permission) => /^(?:\*|changes)\/.*:(?:\*|approve)$/.test(permission))
}

/** The same permissions without those that others of them cover, in their order. */
export function withoutCovered(permissions: readonly string[]): string[] {
  const once = [...new Set(permissions)]
  return once.filter((permission) => !once.some((other) => other !== permission && allows([other], permission)))
}

/** What two permissions have in common; undefined where that is nothing. */
function meet(a: readonly string[], b: readonly string[]): string | undefined {
  const [area, resource, verb] = a.map((segment, n) => {
    const other = b[n]
    return segment === '*' || segment === other ? other : other === '*' ? segment : undefined
  })
  if (area === undefined || resource === undefined || verb === undefined) return undefined
  return `${area}/${resource}:${verb}`
}

function segments(permission: string): string[] {
  return permission.split(/[/:]/)
}
