import { personOf } from '../auth/access.js'
import { TOKEN_CREATE } from '../auth/minting.js'
import { takesTwo } from '../auth/minting.js'
import { askedToken } from '../auth/token-kind.js'
import type { TokenGrant } from '../auth/token.js'
import { canonicalize } from '../ledger/jcs.js'
import type { StreamEntry } from '../ledger/streams.js'
import { HOST, service } from '../principal.js'
import { changeOf, evolveChange, isClosed, type ChangeState } from './change.js'
import { isEmergency, mayStillUse } from './commands/emergency-rules.js'
import { standingOf } from './decision.js'
import type { Credential } from './eligibility.js'
import {
  covers,
  evolveGovernance,
  GOVERNANCE_PREFIXES,
  NO_GOVERNANCE,
  policyOf,
  type Governance,
} from './governance.js'
import { effectsOf, gainingBy, type Kinds } from './kind.js'
import { mayBeEmergency } from './kinds.js'
import { payloadHash } from './payload.js'
import { policyHash } from './policy.js'

/** What an audit of changes can find. */
export type AuditCode =
  'CHANGE_REQUEST_DIFFERS' | 'CHANGE_NOT_APPROVED' | 'CHANGE_EFFECTS_DIFFER' | 'PROTECTED_WITHOUT_CHANGE'

export interface AuditFinding {
  readonly seq: number
  readonly code: AuditCode
  readonly message: string
}

/** The streams that an audit reads: what decisions rest on, credentials, and the changes themselves. */
export const AUDIT_PREFIXES = [...GOVERNANCE_PREFIXES, 'change/', 'token/'] as const

/** Entries that take rights away, open approvals, or list what changes record themselves: nobody has to agree to them. */
const UNPROTECTED = new Set([
  'approvals.enforced',
  'emergency.reviewed',
  'emergency.used',
  'principal.disabled',
  'role.revoked',
  'token.revoked',
])

/** What a change has brought about so far, and what it rested on. */
interface Under {
  readonly governance: Governance
  readonly entries: StreamEntry[]
}

/**
 * Decides every change of a tenant again, from its log alone: what was requested, who voted with which credential, which
 * policies were in force, and whether what took effect is what was approved. Pure; it is told the entries in order.
 */
export class ChangeAudit {
  private governance = NO_GOVERNANCE
  private readonly credentials = new Map<string, Credential>()
  private readonly changes = new Map<string, ChangeState>()
  private readonly underway = new Map<string, Under>()
  /** Uses of break-glass that nobody has looked at yet, by change: who used it, and who had asked. */
  private readonly unreviewed = new Map<string, readonly string[]>()
  private readonly tenant: string
  private readonly kinds: Kinds

  constructor(tenant: string, kinds: Kinds) {
    this.tenant = tenant
    this.kinds = kinds
  }

  /** @param entry the next one on `AUDIT_PREFIXES`, in the order of the log */
  see(entry: StreamEntry): readonly AuditFinding[] {
    const [area = ''] = entry.stream.split('/')
    if (area === 'change') return this.seeChange(entry)
    const findings = this.isProtected(area, entry) || citesChange(entry) ? this.authorise(entry) : []
    if (area === 'token') this.seeToken(entry)
    else this.governance = evolveGovernance(this.governance, entry)
    return findings
  }

  /** What only the end of the log shows: entries that rest on a change which was not applied with them. */
  end(): readonly AuditFinding[] {
    return [...this.underway].flatMap(([id, { entries }]) => unapplied(id, entries))
  }

  private seeChange(entry: StreamEntry): AuditFinding[] {
    const id = changeOf(entry.stream)
    if (entry.event.type === 'change.reviewed') return this.seeReview(id, entry)
    const before = this.changes.get(id)
    const change = evolveChange(before, entry)
    if (change === undefined) {
      const message = `change ${id}: ${entry.event.type} without an open change`
      return DECIDING.has(entry.event.type) ? [{ seq: entry.seq, code: 'CHANGE_NOT_APPROVED', message }] : []
    }
    const findings = this.judge(entry, change, before)
    if (isClosed(change.recorded)) {
      const { entries = [] } = this.underway.get(id) ?? {}
      if (change.recorded !== 'applied') findings.push(...unapplied(id, entries))
      this.underway.delete(id)
      // What follows the end of a change, its review, needs no state.
      this.changes.delete(id)
    } else {
      this.changes.set(id, change)
    }
    return findings
  }

  private seeReview(id: string, { by, seq }: StreamEntry): AuditFinding[] {
    const { access } = this.governance
    const parties = (this.unreviewed.get(id) ?? []).map((each) => personOf(access, each))
    if (parties.includes(personOf(access, by))) {
      const message = `change ${id}: ${by} reviewed a use of break-glass that they were a party to`
      return [{ seq, code: 'CHANGE_NOT_APPROVED', message }]
    }
    this.unreviewed.delete(id)
    return []
  }

  private judge(entry: StreamEntry, change: ChangeState, before: ChangeState | undefined): AuditFinding[] {
    const { seq, event } = entry
    const faults = (code: AuditCode, messages: readonly string[]) =>
      messages.map((message) => ({ seq, code, message: `change ${change.id}: ${message}` }))
    const approved = (judged: ChangeState, governance: Governance) =>
      faults(
        'CHANGE_NOT_APPROVED',
        orUnreadable(() => this.approvalFaults(judged, governance, entry)),
      )
    switch (event.type) {
      case 'change.requested':
        return faults(
          'CHANGE_REQUEST_DIFFERS',
          orUnreadable(() => this.requestFaults(change)),
        )
      case 'change.emergency-used':
        return faults(
          'CHANGE_NOT_APPROVED',
          orUnreadable(() => this.emergencyFaults(change, entry)),
        )
      case 'change.applying':
        // What is ordered was decided here; how long it takes to be delivered changes nothing.
        return before === undefined ? [] : approved(before, this.governance)
      case 'change.redeemed': {
        const given = change.grants.some(({ jti, expiresAt }) => jti === event.data?.['jti'] && entry.at < expiresAt)
        return given
          ? []
          : faults('CHANGE_NOT_APPROVED', ['it was redeemed by a grant that was not given out, or too late'])
      }
      case 'change.applied': {
        if (before === undefined) return faults('CHANGE_NOT_APPROVED', ['it was applied without having been requested'])
        const governance = this.underway.get(change.id)?.governance ?? this.governance
        return [
          ...(before.recorded === 'applying' ? [] : approved(before, governance)),
          ...faults(
            'CHANGE_EFFECTS_DIFFER',
            orUnreadable(() => this.effectFaults(before, entry)),
          ),
        ]
      }
      default:
        return []
    }
  }

  private requestFaults(change: ChangeState): string[] {
    const { id, kind, payload, sealed, nonce, policy } = change
    const hashed = { tenant: this.tenant, change: id, kind, payload, sealed, nonce }
    const inForce = policyHash(policyOf(this.governance, kind))
    return [
      ...(payloadHash(hashed) === change.payloadHash ? [] : ['the payload is not what its hash says']),
      ...(policyHash(policy) === change.policyHash ? [] : ['the policy is not what its hash says']),
      ...(inForce === change.policyHash ? [] : ['it names another policy than the one that was in force']),
    ]
  }

  private emergencyFaults({ id, kind, requester }: ChangeState, { by, via, at }: StreamEntry): string[] {
    const { access, emergency } = this.governance
    const others = this.unreviewed.size > 0
    this.unreviewed.set(id, [by, requester])
    const registered = access.principals[by]
    const allowed =
      emergency !== undefined &&
      registered?.kind === 'person' &&
      registered.disabled !== true &&
      emergency.people.includes(by) &&
      covers(emergency.kinds, kind) &&
      mayBeEmergency(this.kinds.find(kind), kind)
    const credential = this.credentials.get(via)
    const theirs = credential?.principal === by && !credential.revoked && !hasEnded(credential, at)
    return [
      ...(theirs ? [] : [`${via} was no credential of ${by} that could break glass`]),
      ...(allowed ? [] : [`${by} was not on a list that allows break-glass for ${kind}`]),
      ...(others ? ['break-glass was used again before the last use was reviewed'] : []),
    ]
  }

  /** Whether a change that took effect should have: votes, policies, times. */
  private approvalFaults(change: ChangeState, governance: Governance, { at }: StreamEntry): string[] {
    const { approved, kind, payload, policy, applyBy, expiresAt } = change
    if (approved === undefined) return ['it was applied without having been approved']
    const faults = []
    if (at >= applyBy) faults.push(`it was applied at ${at}, and had to be by ${applyBy}`)
    if (at < approved.notBefore)
      faults.push(`it was applied at ${at}, before its cooling-off ended at ${approved.notBefore}`)
    if (approved.at >= expiresAt) faults.push(`it was approved at ${approved.at}, after it expired at ${expiresAt}`)
    if (isEmergency(change)) {
      const still = mayStillUse(change, { governance, nowMs: Date.parse(at) })
      return still ? faults : [...faults, 'it was applied by break-glass when that did not hold any more']
    }
    const found = this.kinds.find(kind)
    const policies = [policy, policyOf(governance, kind), ...(found.alsoPolicies?.(payload, governance) ?? [])]
    const beneficiaries = gainingBy(found, payload, governance)
    const { access } = governance
    const ground = { access, policies, beneficiaries, credentials: this.credentials, tenant: this.tenant }
    const standing = standingOf(change, ground)
    if (standing.rejected) faults.push('it was applied although it was rejected')
    if (!standing.met) {
      const groups = standing.groups.map(({ name, have, count }) => `${name} ${have} of ${count}`).join(', ')
      const discounted = standing.discounted.map(({ vote, code }) => `${vote.voter} (${code})`).join(', ')
      faults.push(`it lacked approvals: ${groups}${discounted === '' ? '' : `; not counted: ${discounted}`}`)
    }
    const longest = Math.max(...policies.map(({ coolingOffMs }) => coolingOffMs))
    if (Date.parse(at) < Date.parse(approved.at) + longest) faults.push('it was applied before its cooling-off ended')
    return faults
  }

  /** Whether what a change brought about is what was asked for. */
  private effectFaults(change: ChangeState, entry: StreamEntry): string[] {
    const { id, kind, payload, approved, base } = change
    const { governance, entries } = this.underway.get(id) ?? { governance: this.governance, entries: [] }
    const found = this.kinds.find(kind)
    if (!found.effects) {
      const foreign = entries.length > (kind === TOKEN_CREATE ? 1 : 0)
      return foreign ? [`${entries.length} protected entries rest on it, and its kind brings about none of them`] : []
    }
    const moved = canonicalize(found.base(payload, governance)) !== canonicalize(base)
    const expected = effectsOf(found, payload, {
      governance,
      authority: { change: id },
      ...(approved && { cause: approved.seq }),
      by: service(this.tenant),
      nowMs: Date.parse(entry.at),
    }).flatMap(({ stream, events }) => events.map((event) => canonicalize({ stream, event })))
    const actual = entries.map(({ stream, event }) => canonicalize({ stream, event }))
    return [
      ...(moved ? ['it was applied although what it rested on had moved'] : []),
      ...(expected.join('\n') === actual.join('\n') ? [] : ['what took effect is not what was approved']),
    ]
  }

  private isProtected(area: string, { event, by }: StreamEntry): boolean {
    if (this.governance.enforcedSeq === undefined || UNPROTECTED.has(event.type)) return false
    if (area !== 'token') return true
    const {
      permissions = [],
      principal = '',
      authority,
    } = (event.data ?? {}) as Partial<TokenGrant> & { authority?: object }
    return authority !== undefined || takesTwo(this.governance, by, { principal, permissions }) !== undefined
  }

  /** What a protected entry rests on has to be there. */
  private authorise(entry: StreamEntry): AuditFinding[] {
    const { change: id, override } = (entry.event.data?.['authority'] ?? {}) as { change?: string; override?: boolean }
    const refuse = (message: string): AuditFinding[] => [
      {
        seq: entry.seq,
        code: 'PROTECTED_WITHOUT_CHANGE',
        message: `${entry.event.type} on ${entry.stream}: ${message}`,
      },
    ]
    if (override === true) {
      return entry.by === HOST && entry.via === 'host' ? [] : refuse('only the host overrides')
    }
    if (id === undefined) return refuse('approvals were enforced, and it names no change')
    const change = this.changes.get(id)
    if (change?.approved === undefined) return refuse(`change ${id} was not approved`)
    if (entry.event.type === 'token.created' && !isClaimed(change, entry)) {
      return refuse(`change ${id} was not about this token`)
    }
    const under = this.underway.get(id) ?? { governance: this.governance, entries: [] }
    under.entries.push(entry)
    this.underway.set(id, under)
    return []
  }

  private seeToken({ stream, event, by, via }: StreamEntry): void {
    const name = `token:${stream.slice('token/'.length)}`
    if (event.type === 'token.revoked') {
      const known = this.credentials.get(name)
      if (known) this.credentials.set(name, { ...known, revoked: true })
      return
    }
    if (event.type !== 'token.created') return
    const { principal, permissions, expiresAt } = event.data as unknown as TokenGrant
    const minters = new Set([by, ...(this.credentials.get(via)?.minters ?? [])])
    this.credentials.set(name, { via: name, principal, permissions, revoked: false, minters, expiresAt })
  }
}

/** What only an open change can come to; a closed one is not opened again. */
const DECIDING = new Set(['change.approved', 'change.emergency-used', 'change.applying', 'change.applied'])

/** What cannot be decided again is a finding, too: nobody's entry keeps the others from being looked at. */
function orUnreadable(work: () => string[]): string[] {
  try {
    return work()
  } catch (error) {
    return [`it cannot be decided again: ${error instanceof Error ? error.message : String(error)}`]
  }
}

function unapplied(id: string, entries: readonly StreamEntry[]): AuditFinding[] {
  return entries.map(({ seq, stream, event }) => ({
    seq,
    code: 'PROTECTED_WITHOUT_CHANGE',
    message: `${event.type} on ${stream}: change ${id} was not applied with it`,
  }))
}

function hasEnded({ expiresAt }: Credential, at: string): boolean {
  return expiresAt !== undefined && Date.parse(at) >= Date.parse(expiresAt)
}

/** During setup nothing has to name a change; what names one is held against it all the same. */
function citesChange({ event }: StreamEntry): boolean {
  return (event.data?.['authority'] as { change?: string } | undefined)?.change !== undefined
}

/** Whether a token is the one that a change was about. */
function isClaimed({ kind, payload }: ChangeState, { event }: StreamEntry): boolean {
  if (kind !== TOKEN_CREATE) return false
  const grant = ({ principal, permissions, expiresAt }: TokenGrant) =>
    canonicalize({ principal, permissions: [...permissions].sort(), ...(expiresAt !== undefined && { expiresAt }) })
  return grant(askedToken(payload)) === grant(event.data as unknown as TokenGrant)
}
