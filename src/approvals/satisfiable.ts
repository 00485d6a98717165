import { ownersOf, personOf, type Access } from '../auth/access.js'
import { assign } from './decision.js'
import { areRelated, exclusionOf, isMember, type Credential, type Parties } from './eligibility.js'
import { HOST } from '../principal.js'
import type { Policy } from './policy.js'

/** Somebody who could vote on a change. */
export interface Candidate {
  readonly person: string
  /** One that would do. */
  readonly credential: Credential
}

/** Who could approve, each person once, with a credential that would count. */
export function candidatesFor(
  access: Access,
  parties: Parties,
  credentials: Iterable<Credential>,
  alreadyVoted: ReadonlySet<string> = new Set(),
): Candidate[] {
  const found = new Map<string, Candidate>()
  for (const credential of credentials) {
    const { principal } = credential
    const person = personOf(access, principal)
    if (alreadyVoted.has(person) || exclusionOf(access, parties, principal, credential) !== undefined) continue
    const known = found.get(person)
    // The one that fewest others had a hand in relates to fewest voters.
    if (known === undefined || credential.minters.size < known.credential.minters.size) {
      found.set(person, { person: principal, credential })
    }
  }
  return [...found.values()]
}

/** A policy that nobody could satisfy, for one requester. */
export interface Unsatisfied {
  readonly kind: string
  /** Whose changes nobody could approve; undefined where nobody could, whoever asks. */
  readonly requester?: string
  /** Groups that lack people. */
  readonly groups: readonly { readonly name: string; readonly count: number; readonly could: number }[]
}

/**
 * Whether changes of a kind could be approved whoever requests them: every person and every service in turn.
 * @param credentials those that live
 * @returns the first requester for whom a policy cannot be met, undefined where there is none
 */
export function unsatisfied(
  access: Access,
  kind: string,
  policies: readonly Policy[],
  credentials: readonly Credential[],
): Unsatisfied | undefined {
  const nobody = shortfall(access, parties(kind, NOBODY), policies, credentials)
  if (nobody) return { kind, groups: nobody }
  for (const requester of requesters(access, kind, credentials)) {
    const groups = shortfall(access, parties(kind, requester), policies, credentials)
    if (groups) return { kind, requester, groups }
  }
  return undefined
}

const NOBODY = 'service:nobody'

function parties(kind: string, requester: string): Parties {
  return { kind, requester, beneficiaries: [] }
}

/** Those whose request would keep somebody from voting; whoever else asks is like nobody. */
function requesters(access: Access, kind: string, credentials: readonly Credential[]): Set<string> {
  const found = new Set<string>()
  for (const { person, credential } of candidatesFor(access, parties(kind, NOBODY), credentials)) {
    found.add(person)
    for (const minter of credential.minters) found.add(minter)
  }
  for (const [principal, { kind }] of Object.entries(access.principals)) {
    if (kind === 'service' && ownersOf(access, principal).length > 0) found.add(principal)
  }
  found.delete(HOST)
  return found
}

/** @returns the groups that would lack people; undefined where all policies could be met */
function shortfall(
  access: Access,
  parties: Parties,
  policies: readonly Policy[],
  credentials: readonly Credential[],
): Unsatisfied['groups'] | undefined {
  const candidates = candidatesFor(access, parties, credentials)
  let least: Unsatisfied['groups'] | undefined
  for (const chosen of [unrelated(access, candidates), unrelated(access, candidates.toReversed())]) {
    const lacking = lackingGroups(access, policies, chosen)
    if (lacking.length === 0) return undefined
    least = lacking
  }
  return least
}

/** People none of whom made another's credential: those with the fewest makers first. */
function unrelated(access: Access, candidates: readonly Candidate[]): Candidate[] {
  const chosen: Candidate[] = []
  for (const candidate of candidates) {
    if (!chosen.some(({ credential }) => areRelated(access, credential, candidate.credential))) chosen.push(candidate)
  }
  return chosen
}

function lackingGroups(
  access: Access,
  policies: readonly Policy[],
  candidates: readonly Candidate[],
): { name: string; count: number; could: number }[] {
  return policies.flatMap(({ groups }) => {
    const could = assign(groups, candidates, (group, { person }) => isMember(access, group, person))
    return groups.flatMap(({ name, count }, n) => {
      const have = could[n] ?? 0
      return have < count ? [{ name, count, could: have }] : []
    })
  })
}
