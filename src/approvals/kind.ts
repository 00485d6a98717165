import type { TSchema } from 'typebox'
import type { Tx } from '../db/database.js'
import { DomainError } from '../errors.js'
import type { Json, LeafEvent } from '../ledger/event.js'
import type { Principal } from '../principal.js'
import type { Governance } from './governance.js'
import type { Policy } from './policy.js'

/** What a protected entry rests on; it stands in its data. */
export type Authority =
  /** Made before approvals were enforced. */
  | { readonly setup: true }
  /** An approved change. */
  | { readonly change: string }
  /** The operator on the host, against the rule. */
  | { readonly override: true }

/** What an effect may look at. */
export interface EffectContext {
  readonly governance: Governance
  readonly authority: Authority
  /** Seq of the entry that led to it: the approval, the emergency use, the override. */
  readonly cause?: number
  /** Who has it done: the service for approved changes. */
  readonly by: Principal
  /** The database's time. */
  readonly nowMs: number
}

/** Events for one stream. */
export interface Effect {
  readonly stream: string
  readonly events: readonly LeafEvent[]
}

/** What kinds ask of the world outside. */
export interface Surroundings {
  /**
   * Whether an address may be called, by where it leads now.
   * @throws DomainError WEBHOOK_TARGET_REFUSED, WEBHOOK_TARGET_UNRESOLVED
   */
  readonly checkTarget: (url: string) => Promise<unknown>
}

/**
 * A kind of change: what its payload is, whom it favours, what it rests on, and what it does. All but `write` and `check` is pure.
 * A kind has either `effects` or `outside`.
 */
export interface ChangeKind {
  /** `role.define`; a last segment `*` stands for any name in its place. */
  readonly name: string
  /** One line for who decides on it. */
  readonly what: string
  readonly payload: TSchema
  /** Principals who gain by it, and so may not vote. */
  readonly beneficiaries: (payload: Json, governance: Governance) => readonly string[]
  /** The streams that the payload rests on, with their versions: when one has moved, the change is not applied. */
  readonly base: (payload: Json, governance: Governance) => Readonly<Record<string, number>>
  /**
   * What would differ: shown before anybody votes.
   * @throws DomainError where it cannot be done at all
   */
  readonly diff: (payload: Json, governance: Governance) => { readonly before: Json; readonly after: Json }
  /**
   * What takes effect.
   * @throws DomainError where it cannot be done (any more)
   */
  readonly effects?: (payload: Json, context: EffectContext) => readonly Effect[]
  /**
   * How what lies outside the database is done once it is approved: `taken` by whom it is for (a grant that is redeemed, a
   * token that is claimed), or `ordered` and then delivered by the workflow.
   */
  readonly outside?: (payload: Json) => 'taken' | 'ordered'
  /** Rows outside the log, in the transaction of the effects. */
  readonly write?: (tx: Tx, payload: Json, context: EffectContext) => Promise<void>
  /**
   * What only asking elsewhere can tell, before a request is recorded; not pure, and asked again when it is done.
   * @throws DomainError where it cannot be done
   */
  readonly check?: (payload: Json, surroundings: Surroundings) => Promise<unknown>
  /** Policies that have to be met beside the kind's own: a change of a policy satisfies the old and the new. */
  readonly alsoPolicies?: (payload: Json, governance: Governance) => readonly Policy[]
  /** Never by break-glass: policies, roles, tokens and the emergency list itself. */
  readonly neverInEmergency?: true
}

/**
 * What a kind does, as entries that say what they rest on: set here, so that no kind can forget it.
 * @throws DomainError where it cannot be done (any more)
 */
export function effectsOf(kind: ChangeKind, payload: Json, context: EffectContext): Effect[] {
  const { authority, cause } = context
  return (kind.effects?.(payload, context) ?? []).map(({ stream, events }) => ({
    stream,
    events: events.map((event) => ({
      ...event,
      ...(cause !== undefined && { cause }),
      data: { ...event.data, authority: { ...authority } },
    })),
  }))
}

/** Who gains by a change as things stand; nobody where it cannot be done any more. */
export function gainingBy(kind: ChangeKind, payload: Json, governance: Governance): readonly string[] {
  try {
    return kind.beneficiaries(payload, governance)
  } catch (error) {
    if (error instanceof DomainError) return []
    throw error
  }
}

/**
 * Asks what only asking elsewhere can tell; without anybody to ask, nothing passes.
 * @throws DomainError what the kind says
 */
export async function checkOutside(
  kind: ChangeKind,
  payload: Json,
  surroundings: Surroundings | undefined,
): Promise<void> {
  if (!kind.check) return
  if (!surroundings) throw new Error(`nobody here can check a ${kind.name}`)
  await kind.check(payload, surroundings)
}

/** `role.define`, `external.billing`: at least two segments of lower case. */
export const CHANGE_KIND = /^[a-z][a-z0-9-]{0,31}(?:\.[a-z][a-z0-9-]{0,31})+$/

/** The kinds there are, found by name. */
export class Kinds {
  private readonly byName: ReadonlyMap<string, ChangeKind>

  constructor(kinds: readonly ChangeKind[]) {
    this.byName = new Map(kinds.map((kind) => [kind.name, kind]))
    if (this.byName.size !== kinds.length) throw new Error('two kinds of change share a name')
  }

  /** @throws DomainError CHANGE_KIND_UNKNOWN */
  find(name: string): ChangeKind {
    const kind = CHANGE_KIND.test(name)
      ? (this.byName.get(name) ?? this.byName.get(name.replace(/\.[^.]+$/, '.*')))
      : undefined
    if (kind) return kind
    const known = this.names().join(', ')
    throw new DomainError(
      'CHANGE_KIND_UNKNOWN',
      `there is no kind of change ${JSON.stringify(name.slice(0, 80))}; there are ${known}`,
      {
        pointer: '/kind',
      },
    )
  }

  names(): string[] {
    return [...this.byName.keys()].sort()
  }
}

/** The permission to approve changes of a kind, `changes/role.define:approve`. */
export const approvePermission = (kind: string): string => `changes/${kind}:approve`
