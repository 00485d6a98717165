import { personOf } from '../../auth/access.js'
import type { Tx } from '../../db/database.js'
import { DomainError } from '../../errors.js'
import { actorOf } from '../../keyring/reveal.js'
import { streamVersion } from '../../ledger/append.js'
import type { LeafEvent } from '../../ledger/event.js'
import { service, type Principal } from '../../principal.js'
import { changeStream, statusAt } from '../change.js'
import { partiesOf } from '../decision.js'
import { exclusionOf, isMadeBy } from '../eligibility.js'
import { governed, type ApprovalDeps, type Governed } from '../governed.js'
import { covers, type Governance } from '../governance.js'
import { mayBeEmergency } from '../kinds.js'
import { isLive } from '../queries/credentials.js'
import { EMERGENCY_USES_STREAM, openEmergencies } from '../queries/emergencies.js'
import { groundOf, loadChange } from '../queries/load.js'
import { couldApprove } from '../queries/waiting.js'
import { EMERGENCY_TTL_MS } from './emergency-rules.js'
import { checkReason, withSealed, type SealedParts } from './sealing.js'
import { changeClosed, expectSeen, recordRefusal, refused } from './vote.js'
import { write, type Writing } from './writing.js'

export interface EmergencyInput {
  readonly change: string
  readonly payloadHash: string
  readonly reason: string
}

/** So many of the people who were passed over are named in the entry. */
const MAX_SKIPPED = 256

/**
 * Breaks glass: one person of the emergency list lets a change through that others could not be asked about in time. They
 * are named in the entry, and the use has to be reviewed before the next one.
 * @throws DomainError CHANGE_UNKNOWN, CHANGE_CLOSED, VOTE_HASH_DIFFERS, EMERGENCY_OFF, EMERGENCY_NOT_LISTED,
 * EMERGENCY_KIND_NEVER, EMERGENCY_REVIEW_DUE, VOTE_CREDENTIAL_REVOKED, VOTE_CREDENTIAL_RELATED, CHANGE_REASON_MISSING
 */
export async function useEmergency(deps: ApprovalDeps, by: Principal, input: EmergencyInput): Promise<void> {
  checkReason(input.reason)
  try {
    await withSealed(deps, by, { reason: input.reason }, (sealed) =>
      governed(deps, by, (tx, now) => use(tx, { deps, by, input, sealed, now })),
    )
  } catch (error) {
    recordRefusal(deps.refusals, by, { change: input.change, decision: 'emergency' }, error)
    throw error
  }
}

interface Using {
  readonly deps: ApprovalDeps
  readonly by: Principal
  readonly input: EmergencyInput
  readonly sealed: SealedParts
  readonly now: Governed
}

async function use(tx: Tx, { deps, by, input, sealed, now }: Using): Promise<void> {
  const { tenant } = by
  const { governance, nowMs } = now
  const change = await loadChange(tx, tenant, input.change)
  const status = statusAt(change, nowMs)
  if (status !== 'requested') throw changeClosed(`the change is ${status}`)
  expectSeen(change, input)
  if (!mayBeEmergency(deps.kinds.find(change.kind), change.kind)) throw kindNever(change.kind)
  expectListed(governance, by.id, change.kind)
  const ground = await groundOf(tx, tenant, deps.kinds, change, now, [by.via])
  const credential = ground.credentials.get(by.via)
  if (credential?.principal !== by.id || credential.revoked || !(await isLive(tx, tenant, credential, nowMs))) {
    throw refused('VOTE_CREDENTIAL_REVOKED')
  }
  const isAnother = personOf(governance.access, change.requester) !== personOf(governance.access, by.id)
  if (isAnother && isMadeBy(governance.access, credential, change.requester)) throw refused('VOTE_CREDENTIAL_RELATED')
  const [due] = await openEmergencies(tx, tenant)
  if (due !== undefined) {
    throw new DomainError(
      'EMERGENCY_REVIEW_DUE',
      `the last use, for the change ${due}, has to be reviewed first, by somebody who neither used it nor asked for that change`,
    )
  }
  const skipped = (await couldApprove(tx, tenant, deps.kinds, change, now)).filter((person) => person !== by.id)
  const writing = {
    by,
    stream: changeStream(change.id),
    version: change.version + 1,
    event: {
      type: 'change.emergency-used',
      actor: actorOf(by),
      cause: change.requestedSeq,
      data: {
        payloadHash: change.payloadHash,
        policyHash: change.policyHash,
        expiresAt: new Date(nowMs + EMERGENCY_TTL_MS).toISOString(),
        skipped: skipped.slice(0, MAX_SKIPPED),
        skippedCount: skipped.length,
      },
      ...(sealed.commitments.length > 0 && { sealed: sealed.commitments }),
    },
    sealed,
  }
  await write(tx, now, [
    writing,
    await inUses(tx, now, { type: 'emergency.used', data: { change: change.id, user: by.id } }),
  ])
}

/** One entry of the stream that lists uses and reviews: what blocks the next use is read from it. */
async function inUses(tx: Tx, { head }: Governed, event: LeafEvent): Promise<Writing> {
  const { version } = await streamVersion(tx, head.tenant, EMERGENCY_USES_STREAM)
  return {
    by: service(head.tenant),
    stream: EMERGENCY_USES_STREAM,
    version: version + 1,
    event: { ...event, cause: head.nextSeq },
  }
}

function kindNever(kind: string): DomainError {
  return new DomainError('EMERGENCY_KIND_NEVER', `changes of the kind ${kind} are never made by breaking glass`)
}

/** @throws DomainError EMERGENCY_OFF, EMERGENCY_NOT_LISTED */
function expectListed({ access, emergency }: Governance, principal: string, kind: string): void {
  if (!emergency) throw new DomainError('EMERGENCY_OFF', 'nobody has said who may break glass: until then nobody may')
  const registered = access.principals[principal]
  const listed = emergency.people.includes(principal)
  if (registered?.kind === 'person' && !registered.disabled && listed && covers(emergency.kinds, kind)) return
  throw new DomainError(
    'EMERGENCY_NOT_LISTED',
    listed ? `the list does not name the kind ${kind}` : 'you are not on the list of those who may break glass',
  )
}

export interface ReviewInput {
  readonly change: string
  readonly verdict: 'justified' | 'unjustified'
  readonly reason?: string | undefined
}

/**
 * Reviews a use of break-glass. Whoever could have voted on the change may, but neither who broke glass nor who asked.
 * @throws DomainError CHANGE_UNKNOWN, EMERGENCY_NOT_USED, EMERGENCY_REVIEWED, and the reasons of `exclusionOf`
 */
export async function reviewEmergency(deps: ApprovalDeps, by: Principal, input: ReviewInput): Promise<void> {
  if (input.reason !== undefined) checkReason(input.reason)
  try {
    await withSealed(deps, by, { reason: input.reason }, (sealed) =>
      governed(deps, by, (tx, now) => review(tx, { deps, by, input, sealed, now })),
    )
  } catch (error) {
    recordRefusal(deps.refusals, by, { change: input.change, decision: 'review' }, error)
    throw error
  }
}

async function review(
  tx: Tx,
  { deps, by, input, sealed, now }: Omit<Using, 'input'> & { readonly input: ReviewInput },
): Promise<void> {
  const { tenant } = by
  const change = await loadChange(tx, tenant, input.change)
  const { emergency } = change
  if (!emergency) throw new DomainError('EMERGENCY_NOT_USED', 'nobody broke glass for this change')
  if (emergency.reviewed) throw new DomainError('EMERGENCY_REVIEWED', 'this use has been reviewed')
  const ground = await groundOf(tx, tenant, deps.kinds, change, now, [by.via, emergency.via])
  const credential = ground.credentials.get(by.via)
  if (!credential) throw refused('VOTE_CREDENTIAL_UNKNOWN')
  if (!(await isLive(tx, tenant, credential, now.nowMs))) throw refused('VOTE_CREDENTIAL_REVOKED')
  const { access } = now.governance
  const parties = partiesOf(change, ground)
  const user = { ...parties, requester: emergency.by, credential: ground.credentials.get(emergency.via) }
  const excluded =
    exclusionOf(access, parties, by.id, credential) ??
    (personOf(access, emergency.by) === personOf(access, by.id)
      ? 'VOTE_SAME_PERSON'
      : exclusionOf(access, user, by.id, credential))
  if (excluded !== undefined) throw refused(excluded)
  const writing = {
    by,
    stream: changeStream(change.id),
    version: change.version + 1,
    event: {
      type: 'change.reviewed',
      actor: actorOf(by),
      cause: emergency.seq,
      data: { verdict: input.verdict },
      ...(sealed.commitments.length > 0 && { sealed: sealed.commitments }),
    },
    sealed,
  }
  const data = { change: change.id, verdict: input.verdict }
  const listed = await inUses(tx, now, { type: 'emergency.reviewed', data })
  await write(tx, now, [writing, listed])
}
