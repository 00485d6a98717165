import { ownersOf, personOf, type Access } from '../auth/access.js'
import { assign } from './decision.js'
import { exclusionOf, isMember, makersOf, type Credential, type Parties } from './eligibility.js'
import { HOST } from '../principal.js'
import type { ApproverGroup, Policy } from './policy.js'

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

/** A credential that somebody could vote with, were it not for who asks. */
interface Eligible {
  readonly principal: string
  readonly credential: Credential
  /** The person that its principal counts as. */
  readonly person: string
  /** Who had a hand in making it, as people. */
  readonly makers: ReadonlySet<string>
}

/**
 * Whether changes of a kind could be approved whoever requests them: every person and every service in turn. Who may vote at
 * all is worked out once, and for each requester only who that leaves: a tenant's lock is held meanwhile.
 * @param credentials those that live
 * @returns the first requester for whom a policy cannot be met, undefined where there is none
 */
export function unsatisfied(
  access: Access,
  kind: string,
  policies: readonly Policy[],
  credentials: readonly Credential[],
): Unsatisfied | undefined {
  const parties: Parties = { kind, requester: NOBODY, beneficiaries: [] }
  const eligible = credentials.flatMap((credential): Eligible[] => {
    const { principal } = credential
    if (exclusionOf(access, parties, principal, credential) !== undefined) return []
    return [{ principal, credential, person: personOf(access, principal), makers: makersOf(access, credential) }]
  })
  const fits = membership(access, policies, eligible)
  const nobody = shortfall(eligible, policies, fits)
  if (nobody) return { kind, groups: nobody }
  for (const [requester, side] of requesters(access, eligible)) {
    const left = eligible.filter(
      ({ person, makers }) => !side.has(person) && [...makers].every((each) => !side.has(each)),
    )
    const groups = shortfall(left, policies, fits)
    if (groups) return { kind, requester, groups }
  }
  return undefined
}

const NOBODY = 'service:nobody'

/**
 * Those whose request would keep somebody from voting, with everybody on their side; whoever else asks is like nobody. Where
 * several keep the same people from it, one of them stands for all.
 */
function requesters(access: Access, eligible: readonly Eligible[]): Map<string, ReadonlySet<string>> {
  const concerned = new Set(eligible.flatMap(({ person, makers }) => [person, ...makers]))
  const services = Object.entries(access.principals).flatMap(([principal, { kind }]) =>
    kind === 'service' ? [principal] : [],
  )
  const minters = eligible.flatMap(({ credential }) => [...credential.minters])
  const found = new Map<string, ReadonlySet<string>>()
  const known = new Set<string>()
  for (const requester of new Set([...eligible.map(({ person }) => person), ...minters, ...services])) {
    if (requester === HOST) continue
    const side = [requester, ...ownersOf(access, requester)]
      .map((each) => personOf(access, each))
      .filter((each) => concerned.has(each))
    const key = side.toSorted().join(' ')
    if (side.length === 0 || known.has(key)) continue
    known.add(key)
    found.set(requester, new Set(side))
  }
  return found
}

type Fits = (group: ApproverGroup, eligible: Eligible) => boolean

/** Who is in which group, worked out once. */
function membership(access: Access, policies: readonly Policy[], eligible: readonly Eligible[]): Fits {
  const principals = [...new Set(eligible.map(({ principal }) => principal))]
  const members = new Map(
    policies.flatMap(({ groups }) =>
      groups.map((group) => [group, new Set(principals.filter((each) => isMember(access, group, each)))] as const),
    ),
  )
  return (group, { principal }) => members.get(group)?.has(principal) ?? false
}

/** @returns the groups that would lack people; undefined where all policies could be met */
function shortfall(
  eligible: readonly Eligible[],
  policies: readonly Policy[],
  fits: Fits,
): Unsatisfied['groups'] | undefined {
  const people = new Map<string, Eligible>()
  for (const each of eligible) {
    const known = people.get(each.person)
    // The one that fewest others had a hand in relates to fewest voters.
    if (known === undefined || each.credential.minters.size < known.credential.minters.size) {
      people.set(each.person, each)
    }
  }
  const candidates = [...people.values()]
  let least: Unsatisfied['groups'] | undefined
  for (const chosen of [unrelated(candidates), unrelated(candidates.toReversed())]) {
    const lacking = lackingGroups(policies, chosen, fits)
    if (lacking.length === 0) return undefined
    least = lacking
  }
  return least
}

/** People none of whom made another's credential, as `areRelated` says: the first ones first. */
function unrelated(candidates: readonly Eligible[]): Eligible[] {
  const people = new Set<string>()
  const makers = new Set<string>()
  return candidates.filter((candidate) => {
    if (makers.has(candidate.person) || [...candidate.makers].some((each) => people.has(each))) return false
    people.add(candidate.person)
    for (const each of candidate.makers) makers.add(each)
    return true
  })
}

function lackingGroups(
  policies: readonly Policy[],
  candidates: readonly Eligible[],
  fits: Fits,
): { name: string; count: number; could: number }[] {
  return policies.flatMap(({ groups }) => {
    const could = assign(groups, candidates, fits)
    return groups.flatMap(({ name, count }, n) => {
      const have = could[n] ?? 0
      return have < count ? [{ name, count, could: have }] : []
    })
  })
}
