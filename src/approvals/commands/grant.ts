import { personOf } from '../../auth/access.js'
import { DomainError } from '../../errors.js'
import { publicKeysOf, signerOf, type SigningDeps } from '../../keyring/signing-keys.js'
import type { Json } from '../../ledger/event.js'
import { ulid } from '../../ledger/ulid.js'
import { service, type Principal } from '../../principal.js'
import type { ChangeState } from '../change.js'
import { expectGrantOf, GRANT_TYP, grantClaims, issuerOf, MAX_GRANTS, type GrantClaims } from '../grant.js'
import type { ApprovalDeps } from '../governed.js'
import { signCompact, verifyCompact } from '../jws.js'
import type { HashedPayload } from '../payload.js'
import { changeWriting, taking } from './taking.js'
import { write } from './writing.js'

export interface GrantDeps extends ApprovalDeps, SigningDeps {
  /** Address under which callers reach the service, where one is set. */
  readonly publicUrl: string | undefined
}

export interface IssuedGrant {
  /** JWS in the compact form. */
  readonly grant: string
  readonly jti: string
  readonly expiresAt: string
  readonly payloadHash: string
  /** What the hash is over: who checks a grant offline hashes it, and does what it says. */
  readonly hashed: HashedPayload & { readonly v: 1 }
}

/**
 * Gives the requester of an approved change a grant to show to the system that it is for. Each is an entry before it leaves;
 * one follows another for as long as the change is approved and none was redeemed.
 * @throws DomainError CHANGE_UNKNOWN, CHANGE_NOT_GRANTABLE, CHANGE_NOT_YOURS, CHANGE_NOT_READY, CHANGE_CLOSED, GRANT_REDEEMED,
 * GRANTS_SPENT, those of `signerOf`
 */
export async function issueGrant(deps: GrantDeps, by: Principal, id: string): Promise<IssuedGrant> {
  const { tenant } = by
  const signer = await signerOf(deps, tenant)
  const { change, claims } = await taking({
    deps,
    by,
    id,
    taken: redeemed,
    expect: (change, { governance: { access } }) => {
      if (personOf(access, change.requester) !== personOf(access, by.id)) {
        throw new DomainError('CHANGE_NOT_YOURS', `${change.requester} asked for it, and only they get a grant`)
      }
      expectGrantable(deps, change)
      if (change.grants.length < MAX_GRANTS) return
      throw new DomainError('GRANTS_SPENT', `${MAX_GRANTS} grants were given out for this change, and no more are`)
    },
    take: async (tx, change, now) => {
      const issuer = issuerOf(deps.publicUrl, deps.installation.id, tenant)
      const claims = grantClaims({ issuer, tenant, change, jti: ulid(now.nowMs) }, now.nowMs)
      const data = { jti: claims.jti, kid: signer.kid, expiresAt: expiry(claims) }
      await write(tx, now, [changeWriting(by, change, 1, { type: 'change.granted', data })])
      return { change, claims }
    },
  })
  const { kind, payload, sealed, nonce, payloadHash } = change
  return {
    grant: signCompact({ typ: GRANT_TYP, kid: signer.kid }, claims, signer.key),
    jti: claims.jti,
    expiresAt: expiry(claims),
    payloadHash,
    hashed: { v: 1, tenant, change: id, kind, payload, sealed: [...sealed], nonce },
  }
}

export interface RedeemedGrant {
  readonly change: string
  readonly kind: string
  readonly payloadHash: string
  /** What is to be done. */
  readonly payload: Json
  readonly requester: string
  readonly jti: string
}

/**
 * Takes a grant back, once: the change counts as applied, and whoever redeemed it does what it says. All grants of a change
 * are redeemed by the first of them.
 * @throws DomainError GRANT_INVALID, GRANT_EXPIRED, GRANT_REDEEMED, CHANGE_UNKNOWN, CHANGE_NOT_GRANTABLE, CHANGE_NOT_READY,
 * CHANGE_CLOSED
 */
export async function redeemGrant(
  deps: GrantDeps,
  by: Principal,
  { id, grant }: { readonly id: string; readonly grant: string },
): Promise<RedeemedGrant> {
  const { tenant } = by
  const known = (await publicKeysOf(deps.database, tenant)) ?? []
  const keys = new Map(known.filter(({ status }) => status !== 'revoked').map(({ kid, x }) => [kid, x]))
  const verified = verifyCompact(grant, GRANT_TYP, keys)
  if (verified === undefined) throw invalid('this is no grant that a key of this tenant has signed')
  return taking({
    deps,
    by,
    id,
    taken: redeemed,
    expect: (change, { nowMs }) => {
      expectGrantable(deps, change)
      const given = change.grants.find(({ jti, kid }) => jti === verified.claims['jti'] && kid === verified.kid)
      // A signature alone is not enough: the log has to know of it.
      if (given === undefined) throw invalid('no such grant was given out for this change')
      const issuer = issuerOf(deps.publicUrl, deps.installation.id, tenant)
      const wanted = grantClaims({ issuer, tenant, change, jti: given.jti }, nowMs)
      // One that comes late for a change that is done is told so, whether it has expired or not.
      if (change.recorded !== 'applied') expectGrantOf(verified.claims, wanted, nowMs)
    },
    take: async (tx, change, now) => {
      const { kind, payload, payloadHash, requester } = change
      const jti = verified.claims['jti'] as string
      await write(tx, now, [
        changeWriting(by, change, 1, { type: 'change.redeemed', data: { jti } }),
        changeWriting(service(tenant), change, 2, { type: 'change.applied', data: { payloadHash, effects: [] } }),
      ])
      return { change: id, kind, payloadHash, payload, requester, jti }
    },
  })
}

function expectGrantable({ kinds }: Pick<ApprovalDeps, 'kinds'>, { kind, payload }: ChangeState): void {
  if (kind.startsWith('external.') && kinds.find(kind).outside?.(payload) === 'taken') return
  throw new DomainError('CHANGE_NOT_GRANTABLE', 'grants are for changes of another system that are delivered by grant')
}

const expiry = ({ exp }: GrantClaims): string => new Date(exp * 1000).toISOString()

function redeemed(): DomainError {
  return new DomainError('GRANT_REDEEMED', 'a grant of this change has been redeemed: it is done once')
}

function invalid(message: string): DomainError {
  return new DomainError('GRANT_INVALID', message)
}
