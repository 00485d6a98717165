import { linkedTo } from '../../auth/access.js'
import type { Tx } from '../../db/database.js'
import { DomainError } from '../../errors.js'
import type { Json, LeafEvent } from '../../ledger/event.js'
import type { StreamEntry } from '../../ledger/streams.js'
import { ulid } from '../../ledger/ulid.js'
import type { Principal } from '../../principal.js'
import { changeOf, changeStream, isClosed, statusAt, type ChangeState, type ChangeStatus } from '../change.js'
import { standingOf, type GroupStanding, type Standing } from '../decision.js'
import type { Credential } from '../eligibility.js'
import { readGoverned, type ApprovalDeps, type Governed } from '../governed.js'
import { DAY_MS, MAX_TTL_MS, type Policy } from '../policy.js'
import type { Decision } from '../vote.js'
import { readApproving } from './credentials.js'
import { groundOf, loadChangeEntries, loadChanges } from './load.js'
import { couldApprove, couldApproveWith } from './waiting.js'

/** A change as lists show it. */
export interface ChangeSummary {
  readonly id: string
  readonly kind: string
  readonly status: ChangeStatus
  readonly requester: string
  readonly onBehalfOf?: string
  readonly requestedAt: string
  readonly requestedSeq: number
  readonly expiresAt: string
  readonly applyBy: string
  readonly payloadHash: string
  readonly approvals: number
  readonly rejections: number
  readonly closedAt?: string
  /** The code of a change that failed. */
  readonly failure?: string
  /** Somebody broke glass for it; it waits for a review, or had one. */
  readonly emergency?: 'review-due' | 'reviewed'
}

export interface VoteView {
  readonly voter: string
  readonly decision: Decision
  readonly at: string
  readonly seq: number
  /** Why it does not count (any more). */
  readonly discounted?: string
}

export interface HistoryView {
  readonly seq: number
  readonly at: string
  readonly by: string
  readonly via: string
  readonly type: string
  readonly data?: LeafEvent['data']
  /** Sealed groups: what is in them, `POST /v1/entries/:seq/reveal` tells. */
  readonly sealed?: readonly { readonly group: string; readonly subject: string }[]
}

/** All there is to know about a change. */
export interface ChangeView extends ChangeSummary {
  readonly what: string
  readonly payload: Json
  readonly beneficiaries: readonly string[]
  readonly sealed: readonly { readonly group: string; readonly subject: string }[]
  readonly base: Readonly<Record<string, number>>
  /** Pinned at the request. */
  readonly policy: Policy
  readonly policyHash: string
  /** What it would do now, while it is open; where it cannot be done (any more), `impossible` says why. */
  readonly diff?: { readonly before: Json; readonly after: Json }
  readonly impossible?: { readonly code: string; readonly message: string }
  readonly votes: readonly VoteView[]
  /** Of the policy that is furthest from being met; none once it is closed. */
  readonly groups: readonly GroupStanding[]
  /** In words. */
  readonly waitsFor: string
  /** Who could approve now and has not voted. */
  readonly couldApprove: readonly string[]
  readonly notBefore?: string
  readonly history: readonly HistoryView[]
}

type Now = Omit<Governed, 'head'>

const DECIDED: Pick<Standing, 'groups' | 'discounted'> = { groups: [], discounted: [] }

/**
 * One change with its history, what it waits for, and who could approve it now.
 * @throws DomainError CHANGE_UNKNOWN
 */
export async function getChange(deps: ApprovalDeps, tenant: string, id: string): Promise<ChangeView> {
  return readGoverned(deps, tenant, async (tx, now) => {
    const { change, entries } = await loadChangeEntries(tx, tenant, id)
    const status = statusAt(change, now.nowMs)
    // What is decided stays as it was decided, whoever has left since.
    const standing = isClosed(status)
      ? DECIDED
      : standingOf(change, await groundOf(tx, tenant, deps.kinds, change, now))
    const people = status === 'requested' ? await couldApprove(tx, tenant, deps.kinds, change, now) : []
    const { payload, beneficiaries, sealed, base, policy, policyHash } = change
    return {
      ...summaryOf(change, now.nowMs),
      what: deps.kinds.find(change.kind).what,
      payload,
      beneficiaries,
      sealed: sealed.map(({ group, subject }) => ({ group, subject })),
      base,
      policy,
      policyHash,
      ...(!isClosed(status) && diffOf(deps, change, now)),
      votes: votesOf(change, standing),
      groups: standing.groups,
      waitsFor: waitsFor(change, status, standing),
      couldApprove: people,
      ...(change.approved && { notBefore: change.approved.notBefore }),
      history: entries.map(historyOf),
    }
  })
}

export interface ChangeQuery {
  readonly limit: number
  /** The id where the page before ended. */
  readonly before?: string | undefined
  readonly status?: ChangeStatus | undefined
  readonly kind?: string | undefined
  /** Only what this person could vote on now. */
  readonly waitingFor?: Principal | undefined
}

export interface ChangePage {
  readonly changes: readonly ChangeSummary[]
  /** `before` of the next page; there may be more although this one has few. */
  readonly next?: string
}

/** Changes read for one page at most: what a filter leaves out has to be folded all the same. */
const MAX_FOLDED = 2_000
const FOLDED_AT_ONCE = 100

/** Changes, newest first, from the entries themselves: a list is as new as the log. */
export async function listChanges(deps: ApprovalDeps, tenant: string, query: ChangeQuery): Promise<ChangePage> {
  return readGoverned(deps, tenant, async (tx, now) => {
    const found: ChangeSummary[] = []
    // Votes are waited for at most so long: what is older waits for nobody.
    const oldest = query.waitingFor ? ulid(now.nowMs - MAX_TTL_MS - DAY_MS).slice(0, 10) : ''
    const mine = query.waitingFor ? await credentialsOf(tx, query.waitingFor, now) : undefined
    let { before } = query
    for (let folded = 0; folded < MAX_FOLDED;) {
      const ids = await changeIds(tx, tenant, { before, oldest, limit: FOLDED_AT_ONCE })
      for (const change of await loadChanges(tx, tenant, ids)) {
        if (await matches(tx, deps, { tenant, change, query, now, mine })) found.push(summaryOf(change, now.nowMs))
        before = change.id
        if (found.length === query.limit) return { changes: found, next: before }
      }
      folded += ids.length
      if (ids.length < FOLDED_AT_ONCE) return { changes: found }
      before = ids.at(-1)
    }
    return { changes: found, ...(before !== undefined && { next: before }) }
  })
}

async function changeIds(
  tx: Tx,
  tenant: string,
  { before, oldest, limit }: { before: string | undefined; oldest: string; limit: number },
): Promise<string[]> {
  const rows = await tx
    .selectFrom('streams')
    .select('stream')
    .where('tenant', '=', tenant)
    .where('stream', '>=', changeStream(oldest))
    .where('stream', '<', before === undefined ? 'change0' : changeStream(before))
    .where('version', '=', 1)
    .orderBy('stream', 'desc')
    .limit(limit)
    .execute()
  return rows.map(({ stream }) => changeOf(stream))
}

/** What somebody could vote with, under all names they have. */
function credentialsOf(tx: Tx, { tenant, id }: Principal, { governance, nowMs }: Now): Promise<Credential[]> {
  return readApproving(tx, tenant, linkedTo(governance.access, id), nowMs)
}

async function matches(
  tx: Tx,
  deps: ApprovalDeps,
  {
    tenant,
    change,
    query,
    now,
    mine,
  }: { tenant: string; change: ChangeState; query: ChangeQuery; now: Now; mine: readonly Credential[] | undefined },
): Promise<boolean> {
  const { status, kind } = query
  if (kind !== undefined && change.kind !== kind) return false
  const actual = statusAt(change, now.nowMs)
  if (status !== undefined && actual !== status) return false
  if (mine === undefined) return true
  if (actual !== 'requested') return false
  const people = await couldApproveWith(tx, tenant, { kinds: deps.kinds, change, now, credentials: mine })
  return people.length > 0
}

function summaryOf(change: ChangeState, nowMs: number): ChangeSummary {
  const { id, kind, requester, onBehalfOf, requestedAt, requestedSeq, expiresAt, applyBy, payloadHash, votes } = change
  const { closedAt, failure, emergency } = change
  const count = (decision: Decision) => votes.filter((vote) => vote.decision === decision).length
  return {
    id,
    kind,
    status: statusAt(change, nowMs),
    requester,
    ...(onBehalfOf !== undefined && { onBehalfOf }),
    requestedAt,
    requestedSeq,
    expiresAt,
    applyBy,
    payloadHash,
    approvals: count('approve'),
    rejections: count('reject'),
    ...(closedAt !== undefined && { closedAt }),
    ...(failure !== undefined && { failure }),
    ...(emergency && { emergency: emergency.reviewed ? 'reviewed' : 'review-due' }),
  }
}

function diffOf({ kinds }: ApprovalDeps, { kind, payload }: ChangeState, { governance }: Now): Partial<ChangeView> {
  try {
    return { diff: kinds.find(kind).diff(payload, governance) }
  } catch (error) {
    if (!(error instanceof DomainError)) throw error
    return { impossible: { code: error.code, message: error.message } }
  }
}

function votesOf(change: ChangeState, { discounted }: Pick<Standing, 'discounted'>): VoteView[] {
  return change.votes.map(({ voter, decision, at, seq }) => {
    const code = discounted.find(({ vote }) => vote.seq === seq)?.code
    return { voter, decision, at, seq, ...(code !== undefined && { discounted: code }) }
  })
}

function historyOf({ seq, at, by, via, event }: StreamEntry): HistoryView {
  const { type, data, sealed } = event
  return {
    seq,
    at,
    by,
    via,
    type,
    ...(data && { data }),
    ...(sealed && { sealed: sealed.map(({ group, subject }) => ({ group, subject })) }),
  }
}

function waitsFor(change: ChangeState, status: ChangeStatus, { groups }: Pick<Standing, 'groups'>): string {
  if (status === 'requested') {
    const missing = groups.filter(({ have, count }) => have < count)
    const named = missing.map(({ name, have, count }) => `${count - have} of ${name}`).join(', ')
    return `${named === '' ? 'a vote' : `approval by ${named}`}, until ${change.expiresAt}`
  }
  if (status === 'approved') {
    return `being applied, from ${change.approved?.notBefore ?? change.expiresAt} until ${change.applyBy}`
  }
  return status === 'applying' ? 'what it ordered to be done' : 'nothing'
}
