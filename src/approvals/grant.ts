import { DomainError } from '../errors.js'

/** What the header of a grant says it is (RFC 8725 §3.11): no other token of ours or others' passes for one. */
export const GRANT_TYP = 'countersign-grant+jwt'
/** How long a grant may be shown, in ms. */
export const GRANT_TTL_MS = 10 * 60_000
/** Grants that are given out for one change at most: each is an entry. */
export const MAX_GRANTS = 100

/** What a grant says. Times are seconds since 1970. */
export interface GrantClaims {
  readonly iss: string
  /** The system that the change is for: `billing` of `external.billing`. */
  readonly aud: string
  /** Who asked for the change, and may have it done. */
  readonly sub: string
  /** Of this grant: who checks offline keeps it until `exp`, so that it is not used twice. */
  readonly jti: string
  readonly iat: number
  readonly nbf: number
  readonly exp: number
  readonly tenant: string
  /** The change's id. */
  readonly change: string
  readonly kind: string
  /** Of the change: what was approved, and nothing else, may be done. */
  readonly payloadHash: string
}

/** Who issues a tenant's grants: an address under which its public keys are found, where one is known. */
export function issuerOf(publicUrl: string | undefined, installation: string, tenant: string): string {
  return publicUrl === undefined ? `urn:countersign:${installation}:${tenant}` : `${publicUrl}/t/${tenant}`
}

/** The system that a kind names. */
export const systemOf = (kind: string): string => kind.slice('external.'.length)

export interface Granting {
  readonly issuer: string
  readonly tenant: string
  readonly change: {
    readonly id: string
    readonly kind: string
    readonly payloadHash: string
    readonly requester: string
    readonly applyBy: string
  }
  readonly jti: string
}

/** A grant, from now on. It never outlives the time until which the change may be applied. */
export function grantClaims({ issuer, tenant, change, jti }: Granting, nowMs: number): GrantClaims {
  const nowS = Math.floor(nowMs / 1000)
  const expS = Math.floor(Math.min(nowMs + GRANT_TTL_MS, Date.parse(change.applyBy)) / 1000)
  return {
    iss: issuer,
    aud: systemOf(change.kind),
    sub: change.requester,
    jti,
    iat: nowS,
    nbf: nowS,
    exp: expS,
    tenant,
    change: change.id,
    kind: change.kind,
    payloadHash: change.payloadHash,
  }
}

/**
 * Whether verified claims are those of a grant of this change that may be shown now.
 * @throws DomainError GRANT_INVALID, GRANT_EXPIRED
 */
export function expectGrantOf(claims: Readonly<Record<string, unknown>>, wanted: GrantClaims, nowMs: number): void {
  const fixed = ['iss', 'aud', 'sub', 'jti', 'tenant', 'change', 'kind', 'payloadHash'] as const
  const other = fixed.find((name) => claims[name] !== wanted[name])
  if (other !== undefined) throw new DomainError('GRANT_INVALID', `this grant is not for this change: ${other} differs`)
  const { nbf, exp } = claims
  if (typeof nbf !== 'number' || typeof exp !== 'number' || nowMs < nbf * 1000) {
    throw new DomainError('GRANT_INVALID', 'this grant does not hold yet')
  }
  if (nowMs >= exp * 1000) throw new DomainError('GRANT_EXPIRED', 'this grant has expired: ask for another')
}
