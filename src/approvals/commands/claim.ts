import { linkedTo, ownersOf, personOf, type Access } from '../../auth/access.js'
import { allows, permissions } from '../../auth/permissions.js'
import { TOKEN_CREATE } from '../../auth/minting.js'
import type { TokenGrant } from '../../auth/token.js'
import { askedToken } from '../../auth/token-kind.js'
import type { Tx } from '../../db/database.js'
import { DomainError } from '../../errors.js'
import { actorOf } from '../../keyring/reveal.js'
import { HOST, service, type Principal } from '../../principal.js'
import type { ChangeState } from '../change.js'
import type { ApprovalDeps, Governed } from '../governed.js'
import type { Authority } from '../kind.js'
import { readLiveCredentials } from '../queries/credentials.js'
import { tellOperator } from './direct.js'
import { checkReason, withSealed, type SealedParts } from './sealing.js'
import { changeWriting, taking } from './taking.js'
import { write } from './writing.js'

/** Makes a token behind the locked head. */
export type Mint<T> = (
  tx: Tx,
  now: Pick<Governed, 'head' | 'nowMs'>,
  ground: { readonly by: Principal; readonly authority: Authority; readonly cause?: number },
  grant: TokenGrant & { readonly description?: string },
) => Promise<T>

export interface Claim {
  /** The change's id. */
  readonly id: string
  /** A note for whoever lists tokens; it stays out of the log. */
  readonly description?: string | undefined
  /** The operator on the host claims for somebody who has no credential yet, and says why. */
  readonly override?: { readonly reason: string } | undefined
}

/**
 * Makes the token of an approved change, once. The principal it is for claims it; for a service whoever answers for it may; for
 * who has no credential to claim with, the host, which the tenant's log and the operator's both hold.
 * @throws DomainError CHANGE_UNKNOWN, CHANGE_NOT_CLAIMABLE, CHANGE_NOT_READY, CHANGE_CLOSED, CLAIM_TAKEN, CLAIM_NOT_YOURS,
 * CLAIM_HAS_CREDENTIAL, CHANGE_REASON_MISSING, what minting refuses
 */
export async function claimToken<T extends { readonly id: string }>(
  deps: ApprovalDeps,
  mint: Mint<T>,
  by: Principal,
  { id, description, override }: Claim,
): Promise<T> {
  const isHost = by.id === HOST && by.via === 'host'
  if (isHost) checkReason(override?.reason ?? '')
  return withSealed(deps, by, isHost ? { reason: override?.reason } : {}, (sealed) =>
    taking({
      deps,
      by,
      id,
      taken,
      expect: (change, { governance: { access } }) => expectClaimable(change, access, by),
      take: async (tx, change, now) => {
        if (isHost) await overrule(tx, { by, change, now, sealed })
        const grant = askedToken(change.payload)
        const cause = change.approved?.seq ?? change.requestedSeq
        const ground = { by, authority: { change: id }, cause }
        const seq = now.head.nextSeq
        const made = await mint(tx, now, ground, { ...grant, ...(description !== undefined && { description }) })
        const effects = [{ stream: `token/${made.id}`, seq }]
        const data = { payloadHash: change.payloadHash, effects }
        await write(tx, now, [changeWriting(service(by.tenant), change, 1, { type: 'change.applied', data })])
        return made
      },
    }),
  )
}

function expectClaimable({ kind, payload }: ChangeState, access: Access, by: Principal): void {
  if (kind !== TOKEN_CREATE) throw new DomainError('CHANGE_NOT_CLAIMABLE', `nothing is claimed of a ${kind}`)
  if (by.id === HOST && by.via === 'host') return
  const { principal } = askedToken(payload)
  const may = [principal, ...ownersOf(access, principal)].map((each) => personOf(access, each))
  if (may.includes(personOf(access, by.id))) return
  throw new DomainError('CLAIM_NOT_YOURS', `only ${principal}, or whoever answers for it, claims this token`)
}

interface Overruling {
  readonly by: Principal
  readonly change: ChangeState
  readonly now: Governed
  readonly sealed: SealedParts
}

async function overrule(tx: Tx, { by, change, now, sealed }: Overruling): Promise<void> {
  const { principal } = askedToken(change.payload)
  const { access } = now.governance
  const live = await readLiveCredentials(tx, by.tenant, linkedTo(access, principal), now.nowMs)
  if (live.some(({ permissions: each }) => allows(each, permissions.requestChanges))) {
    const message = `${principal} has a token to claim this one with: revoke it first if it is lost`
    throw new DomainError('CLAIM_HAS_CREDENTIAL', message)
  }
  await tellOperator(tx, by.tenant, change.kind, now.nowMs)
  const event = {
    type: 'host.overrode',
    actor: actorOf(by),
    data: { kind: change.kind, change: change.id },
    ...(sealed.commitments.length > 0 && { sealed: sealed.commitments }),
  }
  await write(tx, now, [{ by, event, sealed }])
}

function taken(): DomainError {
  return new DomainError('CLAIM_TAKEN', 'this token has been claimed: it is made once')
}
