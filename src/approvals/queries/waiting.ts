import { personOf, rolePermissions } from '../../auth/access.js'
import { allows } from '../../auth/permissions.js'
import type { Tx } from '../../db/database.js'
import type { ChangeState } from '../change.js'
import { partiesOf } from '../decision.js'
import { areRelated, isMember, type Credential } from '../eligibility.js'
import type { Governed } from '../governed.js'
import { approvePermission, type Kinds } from '../kind.js'
import { candidatesFor, type Candidate } from '../satisfiable.js'
import { readApproving } from './credentials.js'
import { groundOf, policiesFor } from './load.js'

type Now = Pick<Governed, 'governance' | 'nowMs'>

/** Who could approve a change now and has not voted, by pseudonym: registered, entitled, unrelated, with a token that lives. */
export async function couldApprove(
  tx: Tx,
  tenant: string,
  kinds: Kinds,
  change: ChangeState,
  now: Now,
): Promise<string[]> {
  const { access } = now.governance
  const needed = approvePermission(change.kind)
  const people = Object.entries(access.principals)
    .filter(([principal, { kind }]) => kind === 'person' && allows(rolePermissions(access, principal), needed))
    .map(([principal]) => principal)
  const credentials = await readApproving(tx, tenant, people, now.nowMs)
  return couldApproveWith(tx, tenant, { kinds, change, now, credentials })
}

/** Who of those with these credentials could. */
export async function couldApproveWith(
  tx: Tx,
  tenant: string,
  {
    kinds,
    change,
    now,
    credentials,
  }: {
    readonly kinds: Kinds
    readonly change: ChangeState
    readonly now: Now
    readonly credentials: readonly Credential[]
  },
): Promise<string[]> {
  const { access } = now.governance
  const ground = await groundOf(tx, tenant, kinds, change, now)
  const voted = new Set(change.votes.map(({ voter }) => personOf(access, voter)))
  const approvers = change.votes.flatMap(({ via, decision }) =>
    decision === 'approve' ? (ground.credentials.get(via) ?? []) : [],
  )
  const unrelated = credentials.filter((each) => !approvers.some((other) => areRelated(access, other, each)))
  const found = candidatesFor(access, partiesOf(change, ground), unrelated, voted)
  return found
    .filter((candidate) => fitsSomewhere(kinds, change, candidate, now))
    .map(({ person }) => person)
    .sort()
}

/** Somebody in none of the groups may approve, and it would not help. */
function fitsSomewhere(kinds: Kinds, change: ChangeState, { person }: Candidate, now: Now): boolean {
  const { access } = now.governance
  return policiesFor(kinds, change, now).some(({ groups }) => groups.some((group) => isMember(access, group, person)))
}
