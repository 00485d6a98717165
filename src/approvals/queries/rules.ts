import { policyHash, type Policy } from '../policy.js'
import { readGoverned, type ApprovalDeps } from '../governed.js'
import { policyOf } from '../governance.js'
import type { Unsatisfied } from '../satisfiable.js'
import { openEmergencies } from './emergencies.js'
import { findUnsatisfied } from './satisfied.js'

export interface PolicyView {
  readonly kind: string
  /** One line of what changes of the kind do. */
  readonly what: string
  /** It was set for this kind; else it is the default. */
  readonly own: boolean
  readonly policy: Policy
  readonly policyHash: string
}

/** What each kind of change asks for now, by name; a kind such as `external.*` stands for those without a policy of their own. */
export async function listPolicies({ kinds, ...deps }: ApprovalDeps, tenant: string): Promise<PolicyView[]> {
  return readGoverned(deps, tenant, async (_, { governance }) => {
    const own = [...governance.policies].filter(([, { policy }]) => policy !== undefined).map(([kind]) => kind)
    return [...new Set([...kinds.names(), ...own])].sort().map((kind) => {
      const policy = policyOf(governance, kind)
      const { what } = kinds.find(kind.replace(/\.\*$/, '.any'))
      return { kind, what, own: own.includes(kind), policy, policyHash: policyHash(policy) }
    })
  })
}

export interface ApprovalsStatus {
  /** What is protected needs an approved change. */
  readonly enforced: boolean
  /** The entry since which it does. */
  readonly enforcedSeq?: number
  /** Kinds whose policies could not be met for some requester: in the way of enforcing. */
  readonly unsatisfied: readonly Unsatisfied[]
  /** Who may break glass; undefined where nobody has said. */
  readonly emergency?: { readonly people: readonly string[]; readonly kinds: readonly string[] }
  /** Changes that somebody broke glass for and nobody has reviewed. */
  readonly reviewsDue: readonly string[]
}

/** Where a tenant stands with approvals. */
export async function approvalsStatus(deps: ApprovalDeps, tenant: string): Promise<ApprovalsStatus> {
  return readGoverned(deps, tenant, async (tx, now) => {
    const { enforcedSeq, emergency } = now.governance
    return {
      enforced: enforcedSeq !== undefined,
      ...(enforcedSeq !== undefined && { enforcedSeq }),
      unsatisfied: await findUnsatisfied(tx, tenant, deps.kinds, now),
      ...(emergency && { emergency }),
      reviewsDue: await openEmergencies(tx, tenant),
    }
  })
}
