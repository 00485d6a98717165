import { evolveAccess, foldAccess, NO_ACCESS, type Access } from '../auth/access.js'
import type { Json } from '../ledger/event.js'
import type { StreamEntry } from '../ledger/streams.js'
import { DEFAULT_POLICY, type Policy } from './policy.js'

/** Everything about a tenant that decisions rest on: a fold of its log. */
export interface Governance {
  readonly access: Access
  /** By kind of change; the others have `DEFAULT_POLICY`. `version` is that of the stream, also where the policy is gone. */
  readonly policies: ReadonlyMap<string, { readonly policy?: Policy; readonly version: number }>
  /** Where approvals began to be enforced; undefined during setup. There is no way back. */
  readonly enforcedSeq?: number
  /** Who may break glass, for which kinds; undefined: break-glass is off. */
  readonly emergency?: { readonly people: readonly string[]; readonly kinds: readonly string[] }
  /** Of the stream of that list. */
  readonly emergencyVersion: number
  readonly webhooks: ReadonlyMap<string, Webhook>
  readonly settings: ReadonlyMap<string, { readonly value: Json; readonly version: number }>
}

export interface Webhook {
  /** Undefined once it is removed. */
  readonly target?: { readonly url: string; readonly events: readonly string[] }
  readonly version: number
}

export const NO_GOVERNANCE: Governance = {
  access: NO_ACCESS,
  policies: new Map(),
  emergencyVersion: 0,
  webhooks: new Map(),
  settings: new Map(),
}

/** The streams that it is folded from. */
export const GOVERNANCE_PREFIXES = ['approvals/', 'policy/', 'principal/', 'role/', 'setting/', 'webhook/'] as const

export const ENFORCEMENT_STREAM = 'approvals/enforcement'
export const EMERGENCY_STREAM = 'approvals/emergency'
export const policyStream = (kind: string): string => `policy/${kind}`

/** Entries come in the order of the log; what is on other streams changes nothing. */
export function evolveGovernance(governance: Governance, entry: StreamEntry): Governance {
  const [area = '', ...rest] = entry.stream.split('/')
  const name = rest.join('/')
  const { version, event } = entry
  const data = event.data ?? {}
  switch (area) {
    case 'role':
    case 'principal':
      return { ...governance, access: evolveAccess(governance.access, entry) }
    case 'policy': {
      const policy = event.type === 'policy.set' ? (data['policy'] as unknown as Policy) : undefined
      return { ...governance, policies: having(governance.policies, name, { ...(policy && { policy }), version }) }
    }
    case 'approvals':
      return evolveApprovals(governance, entry)
    case 'webhook': {
      const { url, events } = data as { url: string; events: string[] }
      const target = event.type === 'webhook.set' ? { url, events } : undefined
      return { ...governance, webhooks: having(governance.webhooks, name, { ...(target && { target }), version }) }
    }
    case 'setting':
      return { ...governance, settings: having(governance.settings, name, { value: data['value'] ?? null, version }) }
    default:
      return governance
  }
}

/** The same for many entries at once: who may do what is copied once, not once an entry. */
export function evolveGovernanceBy(governance: Governance, entries: readonly StreamEntry[]): Governance {
  const ofAccess = (entry: StreamEntry) => entry.stream.startsWith('role/') || entry.stream.startsWith('principal/')
  const others = entries.filter((entry) => !ofAccess(entry)).reduce(evolveGovernance, governance)
  const access = foldAccess(governance.access, entries)
  return access === others.access ? others : { ...others, access }
}

function evolveApprovals(governance: Governance, { event, seq, stream, version }: StreamEntry): Governance {
  if (stream === ENFORCEMENT_STREAM && event.type === 'approvals.enforced') {
    return { ...governance, enforcedSeq: governance.enforcedSeq ?? seq }
  }
  if (stream === EMERGENCY_STREAM && event.type === 'emergency.listed') {
    const { people, kinds } = event.data as { people: string[]; kinds: string[] }
    return { ...governance, emergency: { people, kinds }, emergencyVersion: version }
  }
  return governance
}

/** What changes of a kind ask for now. */
export function policyOf(governance: Governance, kind: string): Policy {
  return governance.policies.get(kind)?.policy ?? DEFAULT_POLICY
}

/** The version of the stream that holds a kind's policy; 0 where it was never set. */
export function policyVersion(governance: Governance, kind: string): number {
  return governance.policies.get(kind)?.version ?? 0
}

function having<V>(map: ReadonlyMap<string, V>, name: string, value: V): ReadonlyMap<string, V> {
  return new Map(map).set(name, value)
}

/** Whether a list of kinds holds one, by name or as `external.*`. */
export function covers(kinds: readonly string[], kind: string): boolean {
  return kinds.includes(kind) || kinds.includes(kind.replace(/\.[^.]+$/, '.*'))
}
