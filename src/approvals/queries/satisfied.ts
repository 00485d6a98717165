import { rolePermissions } from '../../auth/access.js'
import { allows } from '../../auth/permissions.js'
import type { Tx } from '../../db/database.js'
import { DomainError } from '../../errors.js'
import type { Governed } from '../governed.js'
import { policyOf, type Governance } from '../governance.js'
import { approvePermission, type Kinds } from '../kind.js'
import type { Policy } from '../policy.js'
import { unsatisfied, type Unsatisfied } from '../satisfiable.js'
import { readApproving } from './credentials.js'

/** The kinds whose policies have to be satisfiable: all built-in ones, and those outside that have a policy of their own. */
function kindsToSatisfy(kinds: Kinds, { policies }: Governance): string[] {
  const own = [...policies].filter(([, { policy }]) => policy !== undefined).map(([kind]) => kind)
  return [...new Set([...kinds.names().filter((name) => !name.endsWith('.*')), ...own])].sort()
}

/** Registered people who may approve changes of at least one of these kinds. */
function approvers({ access }: Governance, kinds: readonly string[]): string[] {
  const needed = kinds.map(approvePermission)
  return Object.entries(access.principals).flatMap(([principal, { kind, disabled }]) => {
    if (kind !== 'person' || disabled) return []
    const permissions = rolePermissions(access, principal)
    return needed.some((permission) => allows(permissions, permission)) ? [principal] : []
  })
}

/** Policies that could not be met for some requester, at most one finding a kind. */
export async function findUnsatisfied(
  tx: Tx,
  tenant: string,
  kinds: Kinds,
  { governance, nowMs }: Pick<Governed, 'governance' | 'nowMs'>,
): Promise<Unsatisfied[]> {
  const names = kindsToSatisfy(kinds, governance)
  const credentials = await readApproving(tx, tenant, approvers(governance, names), nowMs)
  return names.flatMap((kind) => {
    const policies: Policy[] = [policyOf(governance, kind)]
    return unsatisfied(governance.access, kind, policies, credentials) ?? []
  })
}

/** In words: which kind, whose requests, which group. */
export function describeUnsatisfied({ kind, requester, groups }: Unsatisfied): string {
  const lacks = groups.map(({ name, count, could }) => `group ${name} needs ${count} and ${could} could`).join(', ')
  return `${kind}${requester === undefined ? '' : ` requested by ${requester}`}: ${lacks}`
}

/** How many findings an error names. */
const NAMED = 5

export function policyUnsatisfiable(what: string, findings: readonly Unsatisfied[]): DomainError {
  const named = findings.slice(0, NAMED).map(describeUnsatisfied).join('; ')
  const more = findings.length > NAMED ? `; and ${findings.length - NAMED} more` : ''
  return new DomainError('POLICY_UNSATISFIABLE', `${what}: ${named}${more}`)
}

/**
 * Once approvals are enforced, nothing may leave a policy that nobody could satisfy.
 * @param before as it stands
 * @param after as it would be
 * @throws DomainError POLICY_UNSATISFIABLE for a kind whose policy could be met before
 */
export async function expectSatisfiable(
  tx: Tx,
  tenant: string,
  kinds: Kinds,
  { before, after, nowMs }: { readonly before: Governance; readonly after: Governance; readonly nowMs: number },
): Promise<void> {
  if (before.enforcedSeq === undefined) return
  // Nothing else decides who could approve what.
  if (after.access === before.access && after.policies === before.policies) return
  const findings = await findUnsatisfied(tx, tenant, kinds, { governance: after, nowMs })
  if (findings.length === 0) return
  const known = new Set(
    (await findUnsatisfied(tx, tenant, kinds, { governance: before, nowMs })).map(({ kind }) => kind),
  )
  const caused = findings.filter(({ kind }) => !known.has(kind))
  if (caused.length > 0) throw policyUnsatisfiable('after this nobody could approve some changes any more', caused)
}
