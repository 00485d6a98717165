import type { Tx } from '../../db/database.js'
import { DomainError } from '../../errors.js'
import type { Json } from '../../ledger/event.js'
import { canonicalize } from '../../ledger/jcs.js'
import { service, type Principal } from '../../principal.js'
import { changeStream, statusAt, type ChangeState } from '../change.js'
import { standingOf } from '../decision.js'
import { governed, type ApprovalDeps, type Governed } from '../governed.js'
import { evolveGovernance } from '../governance.js'
import { effectsOf, type Authority, type ChangeKind, type EffectContext } from '../kind.js'
import { payloadHash } from '../payload.js'
import { groundOf, loadChange } from '../queries/load.js'
import { expectSatisfiable } from '../queries/satisfied.js'
import { isEmergency, mayStillUse } from './emergency-rules.js'
import { approval, longestRest } from './vote.js'
import { asEntries, numbered, write, type Writing } from './writing.js'

/** What became of an attempt to apply. */
export type Applied =
  /** It took effect, now or before. */
  | 'applied'
  /** What lies outside the database is ordered: the workflow has it done. */
  | 'ordered'
  /** Whoever it is for takes it. */
  | 'waits'
  /** The votes do not carry it any more: it waits for others. */
  | 'reopened'
  | 'failed'
  /** It is not approved, or has to rest first, or is closed otherwise. */
  | 'not-due'

/** A kind refused: the change fails, with this code. */
class EffectRefused extends Error {
  readonly refusal: DomainError
  readonly approvedSeq: number
  constructor(refusal: DomainError, approvedSeq: number) {
    super(refusal.message)
    this.refusal = refusal
    this.approvedSeq = approvedSeq
  }
}

/**
 * Applies an approved change, once, however often and from wherever it is called. All that it rests on is read again under
 * the tenant's lock: the payload is hashed again, the streams that it rests on are compared, the votes are judged again.
 * What takes effect and `change.applied` are one transaction.
 * @throws DomainError CHANGE_UNKNOWN
 */
export async function applyChange(
  deps: ApprovalDeps,
  { tenant, change: id }: { readonly tenant: string; readonly change: string },
): Promise<Applied> {
  const by = service(tenant)
  try {
    return await governed(deps, by, (tx, now) => apply(tx, { deps, by, id, now }))
  } catch (error) {
    if (!(error instanceof EffectRefused)) throw error
    const { refusal, approvedSeq } = error
    // Whatever the kind has written went with the transaction.
    return governed(deps, by, async (tx, now) => {
      const change = await loadChange(tx, tenant, id)
      if (change.approved?.seq !== approvedSeq || statusAt(change, now.nowMs) !== 'approved') return 'not-due'
      await write(tx, now, [failed(by, change, refusal.code)])
      return 'failed'
    })
  }
}

interface Applying {
  readonly deps: ApprovalDeps
  readonly by: Principal
  readonly id: string
  readonly now: Governed
}

async function apply(tx: Tx, { deps, by, id, now }: Applying): Promise<Applied> {
  const change = await loadChange(tx, by.tenant, id)
  const status = statusAt(change, now.nowMs)
  if (status === 'applied') return 'applied'
  if (status === 'applying') return 'ordered'
  if (status !== 'approved') return 'not-due'
  const { approved } = change
  if (!approved || now.nowMs < Date.parse(approved.notBefore)) return 'not-due'
  const hindrance = await hindranceOf(tx, deps, change, now)
  if (hindrance !== undefined) {
    await write(tx, now, [hindranceWriting(by, change, hindrance, now.nowMs)])
    return hindrance.what === 'approved' ? 'not-due' : hindrance.what
  }
  const kind = deps.kinds.find(change.kind)
  const outside = kind.outside?.(change.payload)
  if (outside === 'taken') return 'waits'
  if (outside === 'ordered') {
    await write(tx, now, [next(by, change, 'change.applying', { payloadHash: change.payloadHash })])
    return 'ordered'
  }
  await takeEffect(tx, { deps, by, change, kind, now, cause: approved.seq })
  return 'applied'
}

/** What keeps an approved change from being applied now. */
export type Hindrance =
  | { readonly what: 'failed'; readonly code: string }
  | { readonly what: 'reopened'; readonly votes: readonly number[] }
  /** A policy has come to ask for a longer rest: it is approved anew, and rests from then on. */
  | { readonly what: 'approved'; readonly votes: readonly number[]; readonly restMs: number }

/**
 * Looks at an approved change again, as if it were decided now. Whoever lets something happen outside the database on the
 * strength of an approval asks this under the lock, in the same transaction.
 * @returns undefined where it still carries
 */
export async function hindranceOf(
  tx: Tx,
  deps: Pick<ApprovalDeps, 'kinds'>,
  change: ChangeState,
  now: Governed,
): Promise<Hindrance | undefined> {
  const { tenant } = now.head
  const { id, kind, payload, sealed, nonce } = change
  if (payloadHash({ tenant, change: id, kind, payload, sealed, nonce }) !== change.payloadHash) {
    return { what: 'failed', code: 'CHANGE_PAYLOAD_DIFFERS' }
  }
  if (canonicalize(deps.kinds.find(kind).base(payload, now.governance)) !== canonicalize(change.base)) {
    return { what: 'failed', code: 'CHANGE_BASE_MOVED' }
  }
  if (isEmergency(change)) return mayStillUse(change, now) ? undefined : { what: 'reopened', votes: [] }
  const ground = await groundOf(tx, tenant, deps.kinds, change, now)
  const standing = standingOf(change, ground)
  const votes = standing.approvals.map(({ seq }) => seq)
  if (!standing.met || standing.rejected) return { what: 'reopened', votes }
  const restedUntilMs = Date.parse(change.approved?.at ?? change.requestedAt) + longestRest(ground.policies)
  // A policy that asks for a longer rest than when it was approved: it rests from now on.
  return now.nowMs < restedUntilMs ? { what: 'approved', votes, restMs: longestRest(ground.policies) } : undefined
}

/** A hindrance as the entry that records it. */
export function hindranceWriting(by: Principal, change: ChangeState, hindrance: Hindrance, nowMs: number): Writing {
  if (hindrance.what === 'failed') return failed(by, change, hindrance.code)
  const votes = [...hindrance.votes]
  if (hindrance.what === 'reopened') return next(by, change, 'change.reopened', { votes })
  return next(by, change, 'change.approved', approval(change, votes, nowMs + hindrance.restMs))
}

function failed(by: Principal, change: ChangeState, code: string): Writing {
  return next(by, change, 'change.failed', { code })
}

function next(by: Principal, change: ChangeState, type: string, data: Record<string, Json>): Writing {
  const cause = change.approved?.seq ?? change.requestedSeq
  return { by, stream: changeStream(change.id), version: change.version + 1, event: { type, cause, data } }
}

interface TakingEffect {
  readonly deps: ApprovalDeps
  readonly by: Principal
  readonly change: ChangeState
  readonly kind: ChangeKind
  readonly now: Governed
  readonly cause: number
}

async function takeEffect(tx: Tx, { deps, by, change, kind, now, cause }: TakingEffect): Promise<void> {
  const authority: Authority = { change: change.id }
  const context: EffectContext = { governance: now.governance, authority, cause, by, nowMs: now.nowMs }
  let writings: Writing[]
  try {
    writings = await prepareEffects(tx, { deps, by, kind, payload: change.payload, context, now })
  } catch (error) {
    throw error instanceof DomainError ? new EffectRefused(error, cause) : error
  }
  const effects = writings.map(({ stream }, n) => ({ stream, seq: now.head.nextSeq + n }))
  const applied = next(by, change, 'change.applied', { payloadHash: change.payloadHash, effects })
  await write(tx, now, [...writings, applied])
}

/**
 * What a kind does, as entries that cite their authority, its rows written. The entries are left to the caller to write.
 * @throws DomainError what the kind says, POLICY_UNSATISFIABLE
 */
export async function prepareEffects(
  tx: Tx,
  {
    deps,
    by,
    kind,
    payload,
    context,
    now,
  }: {
    readonly deps: Pick<ApprovalDeps, 'kinds'>
    readonly by: Principal
    readonly kind: ChangeKind
    readonly payload: Json
    readonly context: EffectContext
    readonly now: Governed
  },
): Promise<Writing[]> {
  const { governance, nowMs } = now
  const writings = await numbered(tx, by, effectsOf(kind, payload, context))
  const after = asEntries(now, writings).reduce(evolveGovernance, governance)
  await expectSatisfiable(tx, by.tenant, deps.kinds, { before: governance, after, nowMs })
  await kind.write?.(tx, payload, context)
  return writings
}
