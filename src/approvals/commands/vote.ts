import { personOf, type Access } from '../../auth/access.js'
import type { Tx } from '../../db/database.js'
import { DomainError } from '../../errors.js'
import { actorOf } from '../../keyring/reveal.js'
import type { CountedRecords } from '../../ledger/counted-records.js'
import type { Json } from '../../ledger/event.js'
import { service, type Principal } from '../../principal.js'
import { changeStream, evolveChange, isClosed, statusAt, type ChangeState } from '../change.js'
import { standingOf, statementOf, type Discount, type Ground, type Standing } from '../decision.js'
import { governed, type ApprovalDeps, type Governed } from '../governed.js'
import type { Policy } from '../policy.js'
import { policyHash } from '../policy.js'
import { isLive } from '../queries/credentials.js'
import { groundOf, loadChange } from '../queries/load.js'
import type { Decision } from '../vote.js'
import { checkReason, withSealed, type SealedParts } from './sealing.js'
import { asEntries, write, type Writing } from './writing.js'

export interface VoteInput {
  /** The change's id. */
  readonly change: string
  readonly decision: Decision
  /** What the voter saw: 64 hex digits each. */
  readonly payloadHash: string
  readonly policyHash?: string | undefined
  /** Why; kept sealed with the vote. */
  readonly reason?: string | undefined
}

export interface CastVote {
  readonly seq: number
  /** Exactly what was recorded as stated. */
  readonly statement: string
  readonly change: ChangeState
}

/**
 * Casts a vote. Who may, and what the votes then amount to, is decided under the tenant's lock from what is committed: the
 * token, the person, their roles, who made which token, the policies. What is refused goes on record outside the change.
 * @throws DomainError CHANGE_UNKNOWN, CHANGE_CLOSED, VOTE_HASH_DIFFERS, VOTE_REPEATED, VOTE_FINAL, and the reasons of
 * `exclusionOf` and `standingOf`
 */
export async function castVote(deps: ApprovalDeps, by: Principal, input: VoteInput): Promise<CastVote> {
  try {
    if (input.reason !== undefined) checkReason(input.reason)
    // Who is no person is refused, for a change that is there; until then nothing is sealed for them.
    const reason = isPerson(by) ? input.reason : undefined
    return await withSealed(deps, by, { reason }, (sealed) =>
      governed(deps, by, (tx, now) => cast(tx, { deps, by, input, sealed, now })),
    )
  } catch (error) {
    recordRefusal(deps.refusals, by, input, error)
    throw error
  }
}

/** Refusals that say something about who tried: others are slips of a client, or outages. */
const ON_RECORD = /^(?:VOTE_|CHANGE_CLOSED$|EMERGENCY_)/

const isPerson = ({ id }: Principal): boolean => id.startsWith('person:')

interface Casting {
  readonly deps: ApprovalDeps
  readonly by: Principal
  readonly input: VoteInput
  readonly sealed: SealedParts
  readonly now: Governed
}

async function cast(tx: Tx, { deps, by, input, sealed, now }: Casting): Promise<CastVote> {
  const { tenant } = by
  const { decision } = input
  const change = await loadChange(tx, tenant, input.change)
  if (!isPerson(by)) throw refused('VOTE_NOT_A_PERSON')
  expectOpen(change, decision, now.nowMs)
  expectSeen(change, input)
  expectNew(change, by.id, decision, now.governance.access)
  const ground = await groundOf(tx, tenant, deps.kinds, change, now, [by.via])
  const credential = ground.credentials.get(by.via)
  if (!credential) throw refused('VOTE_CREDENTIAL_UNKNOWN')
  if (!(await isLive(tx, tenant, credential, now.nowMs))) throw refused('VOTE_CREDENTIAL_REVOKED')

  const statement = statementOf(tenant, change, { voter: by.id, decision })
  const vote: Writing = {
    by,
    stream: changeStream(change.id),
    version: change.version + 1,
    event: {
      type: 'change.voted',
      actor: actorOf(by),
      cause: change.requestedSeq,
      data: { decision, statement },
      ...(sealed.commitments.length > 0 && { sealed: sealed.commitments }),
    },
    sealed,
  }
  const voted = folded(change, asEntries(now, [vote]))
  const standing = standingOf(voted, ground)
  const mine = standing.discounted.find(({ vote }) => vote.voter === by.id)
  if (mine) throw refused(mine.code)

  const writings = [vote, ...consequences(voted, standing, ground, now)]
  const [placed] = await write(tx, now, writings)
  if (!placed) throw new Error('a vote without a place')
  return {
    seq: placed.seq,
    statement,
    change: folded(voted, asEntries(placeOf(now, placed.seq + 1), writings.slice(1))),
  }
}

function placeOf(now: Governed, nextSeq: number): Pick<Governed, 'head' | 'nowMs'> {
  return { head: { ...now.head, nextSeq }, nowMs: now.nowMs }
}

function folded(change: ChangeState, entries: ReturnType<typeof asEntries>): ChangeState {
  return entries.reduce<ChangeState | undefined>(evolveChange, change) ?? change
}

/** What follows from the votes, recorded by the service beside the vote that brought it about. */
function consequences(
  voted: ChangeState,
  standing: Standing,
  { policies }: Ground,
  { nowMs, head }: Governed,
): Writing[] {
  const record = (type: string, data: Writing['event']['data']): Writing[] => [
    {
      by: service(head.tenant),
      stream: changeStream(voted.id),
      version: voted.version + 1,
      event: { type, cause: head.nextSeq, ...(data && { data }) },
    },
  ]
  const seqs = (votes: Standing['approvals']) => votes.map(({ seq }) => seq)
  if (standing.rejected) return record('change.rejected', { votes: seqs(standing.rejections) })
  if (standing.met && voted.recorded === 'requested') {
    return record('change.approved', approval(voted, seqs(standing.approvals), nowMs + longestRest(policies)))
  }
  if (!standing.met && voted.recorded === 'approved')
    return record('change.reopened', { votes: seqs(standing.approvals) })
  return []
}

/** The data of `change.approved`. */
export function approval(
  { payloadHash, policyHash }: ChangeState,
  votes: readonly number[],
  notBeforeMs: number,
): Record<string, Json> {
  return { payloadHash, policyHash, votes: [...votes], notBefore: new Date(notBeforeMs).toISOString() }
}

/** A change rests as long as any of its policies asks, in ms. */
export function longestRest(policies: readonly Policy[]): number {
  return Math.max(...policies.map(({ coolingOffMs }) => coolingOffMs))
}

/** Approvals are taken while a change waits for them, rejections until it is applied. */
function expectOpen(change: ChangeState, decision: Decision, nowMs: number): void {
  const status = statusAt(change, nowMs)
  if (status === 'requested' || (status === 'approved' && decision === 'reject')) return
  throw changeClosed(status === 'approved' ? 'the change is approved already' : `the change is ${status}`)
}

export function changeClosed(what: string): DomainError {
  return new DomainError('CHANGE_CLOSED', what)
}

/** @throws DomainError CHANGE_CLOSED */
export function expectNotClosed(change: ChangeState, nowMs: number): void {
  const status = statusAt(change, nowMs)
  if (isClosed(status) || status === 'applying') throw changeClosed(`the change is ${status}`)
}

/** @throws DomainError VOTE_HASH_DIFFERS */
export function expectSeen(
  change: ChangeState,
  seen: { readonly payloadHash: string; readonly policyHash?: string | undefined },
): void {
  if (seen.payloadHash !== change.payloadHash) throw hashDiffers('payload', change.payloadHash, '/payloadHash')
  if (seen.policyHash !== undefined && seen.policyHash !== policyHash(change.policy)) {
    throw hashDiffers('policy', change.policyHash, '/policyHash')
  }
}

function hashDiffers(what: string, hash: string, pointer: string): DomainError {
  return new DomainError(
    'VOTE_HASH_DIFFERS',
    `the hash of the ${what} is ${hash}, another one was stated: read the change again, and decide on that`,
    { pointer },
  )
}

/** Under whichever name: who counts as the same person has decided for it. */
function expectNew({ votes }: ChangeState, voter: string, decision: Decision, access: Access): void {
  const before = votes.find((vote) => vote.voter === voter)
  if (before?.decision === decision) {
    throw new DomainError('VOTE_REPEATED', `you have voted already, with the entry ${before.seq}`)
  }
  if (decision === 'reject') return
  const person = personOf(access, voter)
  const rejected = votes.find((vote) => vote.decision === 'reject' && personOf(access, vote.voter) === person)
  if (rejected) {
    throw new DomainError(
      'VOTE_FINAL',
      `you have rejected it with the entry ${rejected.seq}: that cannot be taken back`,
    )
  }
}

const EXPLAINED: Readonly<Record<Discount, string>> = {
  VOTE_NOT_A_PERSON: 'only people vote: with a token of a registered person that is not disabled',
  VOTE_NOT_ENTITLED:
    'neither your roles nor your token alone are enough: both have to allow approving this kind of change',
  VOTE_BY_REQUESTER: 'nobody votes on what they asked for',
  VOTE_BY_PRINCIPAL: 'nobody votes on what is asked for on their behalf',
  VOTE_BY_BENEFICIARY: 'nobody votes on what they gain by',
  VOTE_BY_OWNER: 'nobody votes on what a service of theirs asked for',
  VOTE_CREDENTIAL_RELATED: 'your token was made by another party to this change, or theirs by you',
  VOTE_CREDENTIAL_REVOKED: 'the token has been revoked or has expired, or is not yours',
  VOTE_CREDENTIAL_UNKNOWN: 'the log knows nothing of this credential',
  VOTE_SAME_PERSON: 'somebody who counts as the same person has voted',
  VOTE_STATEMENT_DIFFERS: 'the statement is not about this change as it stands',
}

export function refused(code: Discount): DomainError {
  return new DomainError(code, EXPLAINED[code])
}

/** Puts on record that somebody was not let decide: by a vote, by breaking glass, or by reviewing that. */
export function recordRefusal(
  refusals: Pick<CountedRecords, 'record'>,
  by: Principal,
  { change, decision }: { readonly change: string; readonly decision: Decision | 'emergency' | 'review' },
  error: unknown,
): void {
  if (!(error instanceof DomainError) || !ON_RECORD.test(error.code)) return
  const { code } = error
  const countable = (about: string): Parameters<CountedRecords['record']>[0] => ({
    by,
    key: JSON.stringify(['vote', by.tenant, by.id, by.via, about, decision, code]),
    overflow: () => countable('any'),
    event: {
      type: 'vote.refused',
      outcome: 'denied',
      reason: code,
      actor: actorOf(by),
      data: { change: about, decision },
    },
  })
  refusals.record(countable(change))
}
