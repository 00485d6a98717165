import type { Json, SealedCommitment } from '../ledger/event.js'
import type { StreamEntry } from '../ledger/streams.js'
import type { Policy } from './policy.js'
import type { Decision } from './vote.js'

/** Where a change stands. */
export type ChangeStatus =
  'requested' | 'approved' | 'rejected' | 'expired' | 'withdrawn' | 'applying' | 'applied' | 'failed'

/** What was asked for: the data of `change.requested`. */
export interface ChangeRequest {
  readonly kind: string
  readonly payload: Json
  /** 64 hex digits, see `payloadHash`. */
  readonly payloadHash: string
  /** 32 random bytes, base64. */
  readonly nonce: string
  /** The kind's policy at the request. */
  readonly policy: Policy
  /** 64 hex digits, see `policyHash`. */
  readonly policyHash: string
  /** Votes are waited for until then: RFC 3339, UTC, milliseconds. */
  readonly expiresAt: string
  /** What is approved is applied until then, or not at all. */
  readonly applyBy: string
  /** The versions of the streams that the payload rests on. */
  readonly base: Readonly<Record<string, number>>
  readonly onBehalfOf?: string
  /** Who gains by it. */
  readonly beneficiaries: readonly string[]
}

/** A person's latest vote. */
export interface Vote {
  readonly voter: string
  /** `token:…` */
  readonly via: string
  readonly decision: Decision
  /** Exactly what was stated, see `voteText`. */
  readonly statement: string
  readonly at: string
  readonly seq: number
}

export interface Approval {
  readonly at: string
  readonly seq: number
  /** Until then it rests: the end of cooling off. */
  readonly notBefore: string
  /** Seqs of the votes that count. */
  readonly votes: readonly number[]
}

export interface ChangeState extends ChangeRequest {
  readonly id: string
  readonly requester: string
  /** The credential it was requested with. */
  readonly via: string
  readonly requestedAt: string
  readonly requestedSeq: number
  readonly sealed: readonly SealedCommitment[]
  /** By voter, in the order of their first votes; who turned to reject has a rejection here. */
  readonly votes: readonly Vote[]
  /** What the log says; `statusAt` tells what time makes of it. */
  readonly recorded: ChangeStatus
  /** The approval in force. */
  readonly approved?: Approval | undefined
  /** A use of break-glass, and whether somebody has looked at it since. */
  readonly emergency?: {
    readonly by: string
    readonly via: string
    readonly at: string
    readonly seq: number
    readonly reviewed: boolean
  }
  readonly closedAt?: string
  readonly closedSeq?: number
  /** Of a change that failed. */
  readonly failure?: string
  /** How often people were reminded, and whether it was escalated. */
  readonly reminders: number
  readonly escalations: number
  /** When that happened last. */
  readonly nudgedAt?: string
  /** Signed grants that were given out for it. */
  readonly grants: readonly { readonly jti: string; readonly kid: string; readonly expiresAt: string }[]
  readonly deliveryAttempts: number
  /** The last entry's number in the stream. */
  readonly version: number
}

export const changeStream = (id: string): string => `change/${id}`

/** The id in a stream's name. */
export const changeOf = (stream: string): string => stream.slice('change/'.length)

/** Every type of entry that a change's stream may hold. */
export const changeEventTypes = [
  'change.requested',
  'change.voted',
  'change.approved',
  'change.reopened',
  'change.rejected',
  'change.withdrawn',
  'change.expired',
  'change.reminded',
  'change.escalated',
  'change.emergency-used',
  'change.reviewed',
  'change.applying',
  'change.applied',
  'change.failed',
  'change.granted',
  'change.redeemed',
  'change.delivered',
  'change.delivery-failed',
] as const

export type ChangeEventType = (typeof changeEventTypes)[number]

/** States that nothing follows, but for the review of an emergency use. */
const CLOSED: ReadonlySet<ChangeStatus> = new Set(['rejected', 'expired', 'withdrawn', 'applied', 'failed'])

/** @returns undefined before `change.requested` */
export function evolveChange(state: ChangeState | undefined, entry: StreamEntry): ChangeState | undefined {
  const { event, seq, at, version } = entry
  const type = event.type as ChangeEventType
  if (state === undefined) return type === 'change.requested' ? requested(entry) : undefined
  return { ...state, ...whatFollows(state, type, event.data ?? {}, entry, { at, seq }), version }
}

function requested({ stream, by, via, at, seq, version, event }: StreamEntry): ChangeState {
  return {
    ...(event.data as unknown as ChangeRequest),
    id: changeOf(stream),
    requester: by,
    via,
    requestedAt: at,
    requestedSeq: seq,
    sealed: event.sealed ?? [],
    votes: [],
    recorded: 'requested',
    reminders: 0,
    escalations: 0,
    grants: [],
    deliveryAttempts: 0,
    version,
  }
}

function whatFollows(
  state: ChangeState,
  type: ChangeEventType,
  data: Readonly<Record<string, Json>>,
  { by, via }: StreamEntry,
  { at, seq }: { at: string; seq: number },
): Partial<ChangeState> {
  const closed = { closedAt: at, closedSeq: seq }
  switch (type) {
    case 'change.voted': {
      const { decision, statement } = data as { decision: Decision; statement: string }
      return { votes: withVote(state.votes, { voter: by, via, decision, statement, at, seq }) }
    }
    case 'change.approved': {
      const { notBefore, votes } = data as { notBefore: string; votes: number[] }
      return { recorded: 'approved', approved: { at, seq, notBefore, votes } }
    }
    case 'change.reopened':
      return { recorded: 'requested', approved: undefined }
    case 'change.rejected':
      return { recorded: 'rejected', ...closed }
    case 'change.withdrawn':
      return { recorded: 'withdrawn', ...closed }
    case 'change.expired':
      return { recorded: 'expired', ...closed }
    case 'change.reminded':
      return { reminders: state.reminders + 1, nudgedAt: at }
    case 'change.escalated':
      return { escalations: state.escalations + 1, nudgedAt: at }
    case 'change.emergency-used':
      return {
        recorded: 'approved',
        emergency: { by, via, at, seq, reviewed: false },
        approved: { at, seq, notBefore: at, votes: [] },
      }
    case 'change.reviewed':
      return state.emergency ? { emergency: { ...state.emergency, reviewed: true } } : {}
    case 'change.applying':
      return { recorded: 'applying' }
    case 'change.applied':
      return { recorded: 'applied', ...closed }
    case 'change.failed':
      return { recorded: 'failed', failure: data['code'] as string, ...closed }
    case 'change.granted': {
      const { jti, kid, expiresAt } = data as { jti: string; kid: string; expiresAt: string }
      return { grants: [...state.grants, { jti, kid, expiresAt }] }
    }
    case 'change.delivered':
    case 'change.delivery-failed':
      return { deliveryAttempts: state.deliveryAttempts + 1 }
    case 'change.requested':
    case 'change.redeemed':
    default:
      return {}
  }
}

function withVote(votes: readonly Vote[], vote: Vote): Vote[] {
  return votes.some(({ voter }) => voter === vote.voter)
    ? votes.map((each) => (each.voter === vote.voter ? vote : each))
    : [...votes, vote]
}

/**
 * Where a change stands at a moment: expiry shows even while nothing has recorded it.
 * @param nowMs the database's time
 */
export function statusAt(change: ChangeState, nowMs: number): ChangeStatus {
  const { recorded } = change
  if (recorded === 'requested' && nowMs >= Date.parse(change.expiresAt)) return 'expired'
  if (recorded === 'approved' && nowMs >= Date.parse(change.applyBy)) return 'expired'
  return recorded
}

export function isClosed(status: ChangeStatus): boolean {
  return CLOSED.has(status)
}
