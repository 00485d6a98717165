import { holdsRole, ownersOf, personOf, rolePermissions, type Access } from '../auth/access.js'
import { allows } from '../auth/permissions.js'
import { HOST } from '../principal.js'
import { approvePermission } from './kind.js'
import type { ApproverGroup } from './policy.js'

/** A credential as the log knows it. */
export interface Credential {
  /** `token:…` */
  readonly via: string
  readonly principal: string
  readonly permissions: readonly string[]
  readonly revoked: boolean
  /** Principals who made it, directly or through others: whoever made a token may know its secret. */
  readonly minters: ReadonlySet<string>
  /** When it ends, UTC with milliseconds; absent: when it is revoked. */
  readonly expiresAt?: string | undefined
}

/** Whom a change is about, as far as it keeps them from voting. */
export interface Parties {
  readonly kind: string
  readonly requester: string
  /** The credential that it was requested with, where it is known. */
  readonly credential?: Credential | undefined
  readonly onBehalfOf?: string | undefined
  readonly beneficiaries: readonly string[]
}

/** Why somebody's vote is not taken, or no longer counts. */
export type Exclusion =
  | 'VOTE_NOT_A_PERSON'
  | 'VOTE_NOT_ENTITLED'
  | 'VOTE_BY_REQUESTER'
  | 'VOTE_BY_PRINCIPAL'
  | 'VOTE_BY_BENEFICIARY'
  | 'VOTE_BY_OWNER'
  | 'VOTE_CREDENTIAL_RELATED'
  | 'VOTE_CREDENTIAL_REVOKED'

/**
 * Why `voter` may not vote on a change, whatever the others did.
 * @param credential what the vote is cast with
 * @returns undefined for who may
 */
export function exclusionOf(
  access: Access,
  parties: Parties,
  voter: string,
  credential: Credential,
): Exclusion | undefined {
  const same = (other: string | undefined) => other !== undefined && personOf(access, other) === personOf(access, voter)
  const registered = access.principals[voter]
  if (registered?.kind !== 'person' || registered.disabled) return 'VOTE_NOT_A_PERSON'
  if (same(parties.requester)) return 'VOTE_BY_REQUESTER'
  if (same(parties.onBehalfOf)) return 'VOTE_BY_PRINCIPAL'
  if (withOwners(access, parties.beneficiaries).some(same)) return 'VOTE_BY_BENEFICIARY'
  if (ownersOf(access, parties.requester).some(same)) return 'VOTE_BY_OWNER'
  if (parties.onBehalfOf !== undefined && ownersOf(access, parties.onBehalfOf).some(same)) return 'VOTE_BY_OWNER'
  if (credential.revoked || credential.principal !== voter) return 'VOTE_CREDENTIAL_REVOKED'
  const needed = approvePermission(parties.kind)
  if (!allows(credential.permissions, needed) || !allows(rolePermissions(access, voter), needed)) {
    return 'VOTE_NOT_ENTITLED'
  }
  return isRelated(access, parties, voter, credential) ? 'VOTE_CREDENTIAL_RELATED' : undefined
}

/** Whether a token of one side was made by the other: who made a token can act with it. */
function isRelated(access: Access, parties: Parties, voter: string, credential: Credential): boolean {
  const { requester, onBehalfOf, beneficiaries } = parties
  const side = [requester, ...(onBehalfOf === undefined ? [] : [onBehalfOf]), ...beneficiaries]
  const minted = makersOf(access, credential)
  if (withOwners(access, side).some((each) => minted.has(personOf(access, each)))) return true
  return parties.credential !== undefined && makersOf(access, parties.credential).has(personOf(access, voter))
}

/** Whether one voter made the other's credential, so that the two may be one. */
export function areRelated(access: Access, a: Credential, b: Credential): boolean {
  return isMadeBy(access, a, b.principal) || isMadeBy(access, b, a.principal)
}

/** Whether somebody had a hand in making a credential, under whichever name, or by a service of theirs. */
export function isMadeBy(access: Access, credential: Credential, principal: string): boolean {
  return makersOf(access, credential).has(personOf(access, principal))
}

/** Whether a person is one of those that a group is made of; the permission to approve is asked elsewhere. */
export function isMember(access: Access, group: ApproverGroup, person: string): boolean {
  const { roles, people } = group
  if (roles === undefined && people === undefined) return true
  const root = personOf(access, person)
  if (people?.some((each) => personOf(access, each) === root)) return true
  return roles?.some((role) => holdsRole(access, person, role)) ?? false
}

function withOwners(access: Access, principals: readonly string[]): string[] {
  return principals.flatMap((each) => [each, ...ownersOf(access, each)])
}

/**
 * Who made a credential, as the people they count as, with whoever answers for a service that did. The host, who makes the
 * first tokens of all, is no party of any change.
 */
export function makersOf(access: Access, { minters }: Credential): Set<string> {
  const makers = [...minters].filter((each) => each !== HOST)
  return new Set(withOwners(access, makers).map((each) => personOf(access, each)))
}
