import { sql } from 'kysely'
import type { Tx } from '../../db/database.js'
import { DomainError } from '../../errors.js'
import { actorOf } from '../../keyring/reveal.js'
import { appendAt, lockHead } from '../../ledger/append.js'
import { holding } from '../../auth/holding.js'
import type { Json } from '../../ledger/event.js'
import { prepare } from '../../ledger/prepare.js'
import { HOST, host, SYSTEM_TENANT, type Principal } from '../../principal.js'
import { governed, readGoverned, type ApprovalDeps, type Governed } from '../governed.js'
import { checkOutside, type Authority, type ChangeKind, type EffectContext } from '../kind.js'
import { checkPayload } from '../payload-shape.js'
import { prepareEffects } from './apply.js'
import { checkReason, withSealed, type SealedParts } from './sealing.js'
import { write } from './writing.js'

export interface DirectOptions {
  /** The operator on the host acts against the rule, and says why. */
  readonly override?: { readonly reason: string } | undefined
}

export interface AppliedDirectly {
  readonly authority: Authority
  /** The entries that were written; none where nothing changes. */
  readonly effects: readonly { readonly stream: string; readonly seq: number }[]
}

/**
 * Does at once what otherwise is a change: during setup, marked so; later only as the host's override, which the tenant's
 * log and the operator's both hold.
 * @throws DomainError CHANGE_REQUIRED once approvals are enforced, and what the kind says where it cannot be done
 */
export async function applyDirectly(
  deps: ApprovalDeps,
  by: Principal,
  kindName: string,
  payload: Json,
  { override }: DirectOptions = {},
): Promise<AppliedDirectly> {
  const kind = deps.kinds.find(kindName)
  if (override) checkReason(override.reason)
  if (kind.check) {
    // Nobody is to wait for a name service under the lock; who may not do it at all learns that first, as below.
    await readGoverned(deps, by.tenant, async (_, { governance: { enforcedSeq } }) => {
      if (enforcedSeq !== undefined && !mayOverride(by, override)) throw changeRequired(kindName)
    })
    checkPayload(kind, payload, '')
    await checkOutside(kind, payload, deps.surroundings)
  }
  const attempt = (sealed: SealedParts, overriding: boolean) =>
    governed(deps, by, async (tx, now) => {
      const enforced = now.governance.enforcedSeq !== undefined
      if (kind.effects === undefined) throw changeRequired(kindName)
      if (enforced && !mayOverride(by, override)) throw changeRequired(kindName)
      if (enforced && !overriding) return 'seal first'
      // Payloads are looked at after the rule: who may not do it at all learns that first.
      checkPayload(kind, payload, '')
      return enforced
        ? overrule(tx, { deps, by, kind, kindName, payload, sealed, now })
        : setUp(tx, { deps, by, kind, payload, now })
    })
  const first = await attempt({ commitments: [], groups: [], epoch: 0 }, false)
  if (first !== 'seal first') return first
  // The host's reason is sealed only where there is something to overrule.
  const second = await withSealed(deps, by, { reason: override?.reason }, (sealed) => attempt(sealed, true))
  if (second === 'seal first') throw new Error('an override without its reason')
  return second
}

/** What an override gives whoever does the work something to cite by. */
export interface OverrideGround {
  readonly by: Principal
  readonly authority: Authority
  /** Seq of the entry that records the override. */
  readonly cause: number
}

/**
 * Has the host do, against the rule, what no kind's effects do: making a token. The override stands in both logs before it.
 * @throws DomainError CHANGE_REQUIRED for anybody but the host, CHANGE_REASON_MISSING, and what `work` throws
 */
export async function overriding<T>(
  deps: ApprovalDeps,
  by: Principal,
  kindName: string,
  override: { readonly reason: string },
  work: (tx: Tx, now: Governed, ground: OverrideGround) => Promise<T>,
): Promise<T> {
  if (!mayOverride(by, override)) throw changeRequired(kindName)
  checkReason(override.reason)
  return withSealed(deps, by, override, (sealed) =>
    governed(deps, by, async (tx, now) => {
      const cause = now.head.nextSeq
      await recordOverride(tx, { by, kindName, sealed, now })
      return work(tx, now, { by, authority: { override: true }, cause })
    }),
  )
}

function mayOverride(by: Principal, override: DirectOptions['override']): boolean {
  return override !== undefined && by.id === HOST && by.via === 'host'
}

export function changeRequired(kind: string): DomainError {
  return new DomainError(
    'CHANGE_REQUIRED',
    `two people have to agree to this: request a change of the kind ${kind} (POST /v1/changes)`,
  )
}

interface Direct {
  readonly deps: ApprovalDeps
  readonly by: Principal
  readonly kind: ChangeKind
  readonly payload: Json
  readonly now: Governed
}

async function setUp(tx: Tx, { deps, by: caller, kind, payload, now }: Direct): Promise<AppliedDirectly> {
  const by = await holding(tx, now, caller)
  const authority: Authority = { setup: true }
  const context: EffectContext = { governance: now.governance, authority, by, nowMs: now.nowMs }
  const writings = await prepareEffects(tx, { deps, by, kind, payload, context, now })
  const placed = await write(tx, now, writings)
  return { authority, effects: writings.map(({ stream }, n) => ({ stream, seq: placed[n]?.seq ?? -1 })) }
}

async function overrule(
  tx: Tx,
  {
    deps,
    by,
    kind,
    kindName,
    payload,
    sealed,
    now,
  }: Direct & { readonly kindName: string; readonly sealed: SealedParts },
): Promise<AppliedDirectly> {
  const authority: Authority = { override: true }
  const context: EffectContext = {
    governance: now.governance,
    authority,
    cause: now.head.nextSeq,
    by,
    nowMs: now.nowMs,
  }
  // The entry that records the override comes first, so that what it brings about can name it.
  const writings = await prepareEffects(tx, { deps, by, kind, payload, context, now })
  if (writings.length === 0) return { authority, effects: [] }
  await recordOverride(tx, { by, kindName, sealed, now })
  const placed = await write(tx, now, writings)
  return { authority, effects: writings.map(({ stream }, n) => ({ stream, seq: placed[n]?.seq ?? -1 })) }
}

interface Override {
  readonly by: Principal
  readonly kindName: string
  readonly sealed: SealedParts
  readonly now: Governed
}

async function recordOverride(tx: Tx, { by, kindName, sealed, now }: Override): Promise<void> {
  if (by.tenant !== SYSTEM_TENANT) await tellOperator(tx, by.tenant, kindName, now.nowMs)
  const event = {
    type: 'host.overrode',
    actor: actorOf(by),
    data: { kind: kindName },
    ...(sealed.commitments.length > 0 && { sealed: sealed.commitments }),
  }
  await write(tx, now, [{ by, event, sealed }])
}

/** The same in the operator's own log, in the same transaction: one is not written without the other. */
export async function tellOperator(tx: Tx, tenant: string, kind: string, nowMs: number): Promise<void> {
  const by = host(SYSTEM_TENANT)
  const event = { type: 'host.overrode', actor: actorOf(by), data: { kind, tenant } }
  await bind(tx, SYSTEM_TENANT)
  const head = await lockHead(tx, SYSTEM_TENANT)
  await appendAt(tx, head, { by: by.id, via: by.via, events: [prepare(event, { by }, 0)] }, nowMs)
  await bind(tx, tenant)
}

async function bind(tx: Tx, tenant: string): Promise<void> {
  await sql`select set_config('countersign.tenant', ${tenant}, true)`.execute(tx)
}
