import { personOf, type Access } from '../auth/access.js'
import type { ChangeState, Vote } from './change.js'
import { areRelated, exclusionOf, isMember, type Credential, type Exclusion, type Parties } from './eligibility.js'
import { policyHash, type ApproverGroup, type Policy } from './policy.js'
import { voteText, type Decision } from './vote.js'

/** Why a recorded vote does not count. */
export type Discount = Exclusion | 'VOTE_STATEMENT_DIFFERS' | 'VOTE_SAME_PERSON' | 'VOTE_CREDENTIAL_UNKNOWN'

export interface GroupStanding {
  readonly name: string
  readonly count: number
  /** Approvals that count for it. */
  readonly have: number
}

/** What the votes amount to. */
export interface Standing {
  /** Every group of every policy has its count. */
  readonly met: boolean
  /** Enough rejections to close it. */
  readonly rejected: boolean
  /** Votes that count, in order. */
  readonly approvals: readonly Vote[]
  readonly rejections: readonly Vote[]
  readonly discounted: readonly { readonly vote: Vote; readonly code: Discount }[]
  /** Of the policy that is furthest from being met. */
  readonly groups: readonly GroupStanding[]
}

/** What a decision rests on beside the change itself. */
export interface Ground {
  readonly access: Access
  /** All policies that have to be met: the one pinned at the request, the one in force, and what the kind adds. */
  readonly policies: readonly Policy[]
  /** Who gains by it as things stand, beside those named at the request. */
  readonly beneficiaries: readonly string[]
  /** By `via`: of everybody who voted, and of the requester. */
  readonly credentials: ReadonlyMap<string, Credential>
  readonly tenant: string
}

/** What a change's votes amount to now: each is judged anew, so that one whose ground is gone stops counting. */
export function standingOf(change: ChangeState, ground: Ground): Standing {
  const parties = partiesOf(change, ground)
  const discounted: { vote: Vote; code: Discount }[] = []
  const counted: Counted[] = []
  const of = (decision: Decision) => change.votes.filter((vote) => vote.decision === decision)
  // Rejections first: who has rejected does not approve, under whichever name.
  for (const vote of [...of('reject'), ...of('approve')]) {
    const judged = judge(change, parties, vote, ground, counted)
    if (typeof judged === 'string') discounted.push({ vote, code: judged })
    else counted.push(judged)
  }
  const votes = counted.map(({ vote }) => vote)
  const approvals = votes.filter(({ decision }) => decision === 'approve')
  const rejections = votes.filter(({ decision }) => decision === 'reject')
  const standings = ground.policies.map((policy) => groupStandings(ground.access, policy, approvals))
  return {
    met: standings.length > 0 && standings.every(isMet),
    rejected: rejections.length >= Math.min(...ground.policies.map(({ denyQuorum }) => denyQuorum)),
    approvals,
    rejections,
    discounted,
    groups: standings.toSorted((a, b) => missing(b) - missing(a))[0] ?? [],
  }
}

/** Whom a change is about. */
export function partiesOf(
  change: ChangeState,
  { credentials, beneficiaries }: Pick<Ground, 'credentials' | 'beneficiaries'>,
): Parties {
  const { kind, requester, via, onBehalfOf } = change
  const gaining = [...new Set([...change.beneficiaries, ...beneficiaries])]
  return { kind, requester, credential: credentials.get(via), onBehalfOf, beneficiaries: gaining }
}

interface Counted {
  readonly vote: Vote
  readonly person: string
  readonly credential: Credential
}

function judge(
  change: ChangeState,
  parties: Parties,
  vote: Vote,
  { access, credentials, tenant }: Ground,
  counted: readonly Counted[],
): Discount | Counted {
  if (vote.statement !== statementOf(tenant, change, vote)) return 'VOTE_STATEMENT_DIFFERS'
  const credential = credentials.get(vote.via)
  if (credential === undefined) return 'VOTE_CREDENTIAL_UNKNOWN'
  if (credential.expiresAt !== undefined && Date.parse(vote.at) >= Date.parse(credential.expiresAt)) {
    return 'VOTE_CREDENTIAL_REVOKED'
  }
  const excluded = exclusionOf(access, parties, vote.voter, credential)
  if (excluded !== undefined) return excluded
  const person = personOf(access, vote.voter)
  if (counted.some((other) => other.person === person)) return 'VOTE_SAME_PERSON'
  if (vote.decision === 'approve') {
    const others = counted.filter((other) => other.vote.decision === 'approve')
    if (others.some((other) => areRelated(access, other.credential, credential))) return 'VOTE_CREDENTIAL_RELATED'
  }
  return { vote, person, credential }
}

/** The exact text that a vote on a change has to be. */
export function statementOf(
  tenant: string,
  change: ChangeState,
  { voter, decision }: Pick<Vote, 'voter' | 'decision'>,
): string {
  const { id, kind, payloadHash, expiresAt } = change
  return voteText({
    tenant,
    change: id,
    kind,
    payloadHash,
    policyHash: policyHash(change.policy),
    voter,
    decision,
    expiresAt,
  })
}

function groupStandings(access: Access, { groups }: Policy, approvals: readonly Vote[]): GroupStanding[] {
  const voters = approvals.map(({ voter }) => voter)
  const have = assign(groups, voters, (group, voter) => isMember(access, group, voter))
  return groups.map(({ name, count }, n) => ({ name, count, have: have[n] ?? 0 }))
}

const missing = (groups: readonly GroupStanding[]): number =>
  groups.reduce((sum, { count, have }) => sum + count - have, 0)
const isMet = (groups: readonly GroupStanding[]): boolean => missing(groups) === 0

/**
 * Gives each voter at most one place in a group that takes them, so that as many places as possible are filled: a maximum
 * matching by augmenting paths. Somebody who fits two groups is no two people.
 * @returns how many places of each group are filled
 */
export function assign<V>(
  groups: readonly ApproverGroup[],
  voters: readonly V[],
  fits: (group: ApproverGroup, voter: V) => boolean,
): number[] {
  const placed: V[][] = groups.map(() => [])
  const place = (voter: V, tried: Set<number>): boolean => {
    for (const [n, group] of groups.entries()) {
      const here = placed[n]
      if (here === undefined || tried.has(n) || !fits(group, voter)) continue
      tried.add(n)
      if (here.length < group.count) {
        here.push(voter)
        return true
      }
      const moved = here.findIndex((other) => place(other, tried))
      if (moved >= 0) {
        here[moved] = voter
        return true
      }
    }
    return false
  }
  const isFull = () => groups.every(({ count }, n) => placed[n]?.length === count)
  for (const voter of voters) {
    if (isFull()) break
    place(voter, new Set())
  }
  return placed.map((here) => here.length)
}
