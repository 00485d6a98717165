import { DomainError } from '../errors.js'
import type { Json } from '../ledger/event.js'
import { instantMs, timeFault } from '../ledger/rfc3339.js'
import { policyOf, type Governance } from './governance.js'
import { effectsOf, type Authority, type ChangeKind, type Effect, type EffectContext } from './kind.js'
import { DAY_MS, HOUR_MS, MAX_TTL_MS, type Policy } from './policy.js'
import { service } from '../principal.js'

/** What somebody asks for. */
export interface ChangeDemand {
  readonly kind: string
  readonly payload: Json
  readonly reason?: string | undefined
  /** RFC 3339 with an offset: until when votes are waited for. */
  readonly expiresAt?: string | undefined
  /** Until when it may be applied. */
  readonly applyBy?: string | undefined
  /** On whose behalf. */
  readonly onBehalfOf?: string | undefined
  /** Who gains by it, beside those whom the kind knows. */
  readonly beneficiaries?: readonly string[] | undefined
}

/** A request as it would be recorded, but for its id and hash. */
export interface ChangePlan {
  readonly policy: Policy
  readonly expiresAt: string
  readonly applyBy: string
  readonly base: Readonly<Record<string, number>>
  readonly beneficiaries: readonly string[]
  readonly diff: { readonly before: Json; readonly after: Json }
  /** What would take effect now. */
  readonly effects: readonly Effect[]
}

/** An approved change may be applied this long after the last moment at which it can be approved, unless said otherwise. */
const DEFAULT_APPLY_MS = 72 * HOUR_MS
/** Sooner nobody could read it. */
const MIN_LIFE_MS = 1_000

/**
 * Works out what a request amounts to now.
 * @throws DomainError CHANGE_EXPIRY_INVALID, CHANGE_REASON_MISSING, and what the kind says where it cannot be done
 */
export function planChange(
  kind: ChangeKind,
  demand: ChangeDemand,
  { tenant, governance, nowMs }: { tenant: string; governance: Governance; nowMs: number },
): ChangePlan {
  const policy = policyOf(governance, demand.kind)
  if (policy.reasonRequired && demand.reason === undefined) {
    throw new DomainError('CHANGE_REASON_MISSING', `changes of the kind ${demand.kind} need a reason`, {
      pointer: '/reason',
    })
  }
  // A kind without a policy of its own has the default's time to live unless the request says otherwise.
  const isOwn = governance.policies.get(demand.kind)?.policy !== undefined
  const expiresAtMs = expiryOf(
    demand.expiresAt,
    { ttlMs: policy.ttlMs, most: isOwn ? policy.ttlMs : MAX_TTL_MS },
    nowMs,
  )
  const applyByMs = applyByOf(demand.applyBy, { expiresAtMs, nowMs, coolingOffMs: policy.coolingOffMs })
  return {
    policy,
    expiresAt: new Date(Math.min(expiresAtMs, applyByMs)).toISOString(),
    applyBy: new Date(applyByMs).toISOString(),
    ...ofKind(kind, demand, { tenant, governance, nowMs }),
  }
}

function ofKind(
  kind: ChangeKind,
  { payload, beneficiaries = [] }: ChangeDemand,
  { tenant, governance, nowMs }: { tenant: string; governance: Governance; nowMs: number },
): Pick<ChangePlan, 'base' | 'beneficiaries' | 'diff' | 'effects'> {
  const diff = inPayload(() => kind.diff(payload, governance))
  // A dry run: what cannot take effect now need not be voted on.
  const effects = inPayload(() => effectsOf(kind, payload, dryRun(tenant, governance, nowMs)))
  return {
    effects,
    diff,
    base: kind.base(payload, governance),
    beneficiaries: [...new Set([...kind.beneficiaries(payload, governance), ...beneficiaries])].sort(),
  }
}

const NO_CHANGE: Authority = { change: '0'.repeat(26) }

function dryRun(tenant: string, governance: Governance, nowMs: number): EffectContext {
  return { governance, authority: NO_CHANGE, by: service(tenant), nowMs }
}

/** Places that a kind blames lie in the payload. */
export function inPayload<T>(work: () => T, pointer = '/payload'): T {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof DomainError)) throw error
    throw new DomainError(error.code, error.message, { pointer: pointer + (error.pointer ?? '') })
  }
}

function expiryOf(
  text: string | undefined,
  { ttlMs, most }: { readonly ttlMs: number; readonly most: number },
  nowMs: number,
): number {
  if (text === undefined) return nowMs + ttlMs
  const at = timeOf(text, '/expiresAt')
  const least = nowMs + MIN_LIFE_MS
  if (at >= least && at <= nowMs + most) return at
  throw expiryInvalid(
    at < least
      ? `${text} is not in the future`
      : `${text} is more than ${inDays(most)} away, the longest that votes are waited for here`,
    '/expiresAt',
  )
}

function applyByOf(
  text: string | undefined,
  { expiresAtMs, nowMs, coolingOffMs }: { expiresAtMs: number; nowMs: number; coolingOffMs: number },
): number {
  const latest = expiresAtMs + coolingOffMs
  if (text === undefined) return latest + DEFAULT_APPLY_MS
  const at = timeOf(text, '/applyBy')
  if (at < nowMs + coolingOffMs + MIN_LIFE_MS) {
    throw expiryInvalid(`by ${text} it could not be approved and have rested as long as its policy asks`, '/applyBy')
  }
  if (at > latest + MAX_TTL_MS) throw expiryInvalid(`${text} is more than ${inDays(MAX_TTL_MS)} after that`, '/applyBy')
  return at
}

function timeOf(text: string, pointer: string): number {
  const fault = timeFault(text)
  const at = fault === undefined ? instantMs(text) : Number.NaN
  if (!Number.isNaN(at)) return at
  throw expiryInvalid(`${JSON.stringify(text.slice(0, 80))} ${fault ?? 'is no time'}`, pointer)
}

function expiryInvalid(message: string, pointer: string): DomainError {
  return new DomainError('CHANGE_EXPIRY_INVALID', message, { pointer })
}

const inDays = (ms: number): string => {
  const days = ms / DAY_MS
  return days >= 1 ? `${Math.floor(days)} days` : `${Math.ceil(ms / 60_000)} minutes`
}
