import { applyDirectly, type AppliedDirectly } from '../approvals/commands/direct.js'
import { expectSatisfiable } from '../approvals/queries/satisfied.js'
import type { StillSatisfiable } from '../auth/removal.js'
import type { Json } from '../ledger/event.js'
import { CountedRecords } from '../ledger/counted-records.js'
import { host as hostPrincipal } from '../principal.js'
import { changeKinds } from '../registry.js'
import { openOutside, type Outside } from '../sinks/outside.js'
import type { Host } from './host.js'
import { packageVersion } from './version.js'

export const OVERRIDE = [
  '--override <reason>',
  'do it although approvals are enforced; on record in the log of the tenant and in that of the operator',
] as const

/** What commands about changes work with, for as long as `work` takes. */
export async function withApprovals<T>(host: Host, work: (deps: Outside) => Promise<T>): Promise<T> {
  const refusals = new CountedRecords(host.deps.appender)
  try {
    const approvals = { ...host.deps, kinds: changeKinds, refusals }
    return await work(openOutside(host.config, approvals, { version: packageVersion(), log: () => undefined }))
  } finally {
    await refusals.close()
  }
}

/** Does at once, as the operator, what otherwise is a change. */
export function directly(
  host: Host,
  tenant: string,
  kind: string,
  payload: Json,
  { override }: { readonly override?: string },
): Promise<AppliedDirectly> {
  return withApprovals(host, (deps) =>
    applyDirectly(
      deps,
      hostPrincipal(tenant),
      kind,
      payload,
      override === undefined ? {} : { override: { reason: override } },
    ),
  )
}

export const stillSatisfiable: StillSatisfiable = (tx, tenant, change) =>
  expectSatisfiable(tx, tenant, changeKinds, change)
