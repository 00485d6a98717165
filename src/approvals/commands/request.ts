import { randomBytes } from 'node:crypto'
import type { Tx } from '../../db/database.js'
import { DomainError } from '../../errors.js'
import { actorOf } from '../../keyring/reveal.js'
import { MAX_TARGETS } from '../../ledger/check-event.js'
import { PRINCIPAL } from '../../ledger/envelope.js'
import type { Json, LeafEvent, Party } from '../../ledger/event.js'
import { ulid } from '../../ledger/ulid.js'
import type { Principal } from '../../principal.js'
import { changeStream } from '../change.js'
import { governed, readGoverned, type ApprovalDeps, type Governed } from '../governed.js'
import { checkOutside, type ChangeKind } from '../kind.js'
import { NONCE_BYTES, payloadHash } from '../payload.js'
import { checkPayload } from '../payload-shape.js'
import { planChange, type ChangeDemand, type ChangePlan } from '../plan.js'
import { policyHash } from '../policy.js'
import { expectSatisfiable } from '../queries/satisfied.js'
import { evolveGovernance } from '../governance.js'
import { checkPersonal, checkReason, withSealed, type SealedParts } from './sealing.js'
import { asEntries, numbered, write } from './writing.js'

export interface ChangeInput extends ChangeDemand {
  /** As in events: parts of what is asked for that are personal data. */
  readonly personal?: unknown
}

export interface RequestedChange {
  readonly id: string
  readonly seq: number
  readonly payloadHash: string
  readonly plan: ChangePlan
}

/** Principals that a request may name as gaining by it, beside those whom the kind knows. */
const MAX_BENEFICIARIES = 64

/**
 * Asks for a change: what is asked for is fixed by its hash, which every vote has to name, and the kind's policy is pinned.
 * @throws DomainError CHANGE_KIND_UNKNOWN, CHANGE_PAYLOAD_INVALID, CHANGE_PAYLOAD_TOO_LARGE, CHANGE_PAYLOAD_SECRET,
 * CHANGE_EXPIRY_INVALID, CHANGE_REASON_MISSING, CHANGE_PARTY_INVALID, POLICY_UNSATISFIABLE, those of the kind where it
 * cannot be done, and those of sealing
 */
export async function requestChange(deps: ApprovalDeps, by: Principal, input: ChangeInput): Promise<RequestedChange> {
  const kind = deps.kinds.find(input.kind)
  checkPayload(kind, input.payload)
  checkParties(input)
  if (input.reason !== undefined) checkReason(input.reason)
  const personal = checkPersonal(input.personal)
  // What is refused makes nobody: all of it is tried before anything is sealed.
  await readGoverned(deps, by.tenant, async (_, { governance, nowMs }) => {
    planChange(kind, input, { tenant: by.tenant, governance, nowMs })
  })
  await checkOutside(kind, input.payload, deps.surroundings)
  return withSealed(deps, by, { personal, reason: input.reason }, (sealed) =>
    governed(deps, by, (tx, now) => record(tx, { deps, by, kind, input, sealed, now })),
  )
}

interface Recording {
  readonly deps: ApprovalDeps
  readonly by: Principal
  readonly kind: ChangeKind
  readonly input: ChangeInput
  readonly sealed: SealedParts
  readonly now: Governed
}

async function record(tx: Tx, { deps, by, kind, input, sealed, now }: Recording): Promise<RequestedChange> {
  const { nowMs, governance } = now
  const { tenant } = by
  const { payload } = input
  const plan = planChange(kind, input, { tenant, governance, nowMs })
  const after = asEntries(now, await numbered(tx, by, plan.effects)).reduce(evolveGovernance, governance)
  await expectSatisfiable(tx, tenant, deps.kinds, { before: governance, after, nowMs })
  const id = ulid(nowMs)
  const nonce = randomBytes(NONCE_BYTES).toString('base64')
  const hashed = payloadHash({
    tenant,
    change: id,
    kind: input.kind,
    payload,
    sealed: sealed.commitments,
    nonce,
  })
  const { policy, expiresAt, applyBy, base, beneficiaries } = plan
  const data: Record<string, Json> = {
    kind: input.kind,
    payload,
    payloadHash: hashed,
    nonce,
    policy: policy as unknown as Json,
    policyHash: policyHash(policy),
    expiresAt,
    applyBy,
    base,
    beneficiaries: [...beneficiaries],
    ...(input.onBehalfOf !== undefined && { onBehalfOf: input.onBehalfOf }),
  }
  const event: LeafEvent = {
    type: 'change.requested',
    actor: actorOf(by),
    data,
    ...(sealed.commitments.length > 0 && { sealed: sealed.commitments }),
    ...targetsOf(input.onBehalfOf, beneficiaries),
  }
  const writing = { by, stream: changeStream(id), version: 1, event, sealed }
  const [placed] = await write(tx, now, [writing])
  if (!placed) throw new Error('a request without a place')
  return { id, seq: placed.seq, payloadHash: hashed, plan }
}

/** Whoever an entry concerns is named in it where look-ups find them. */
function targetsOf(onBehalfOf: string | undefined, beneficiaries: readonly string[]): { targets?: Party[] } {
  const named = [...new Set([...(onBehalfOf === undefined ? [] : [onBehalfOf]), ...beneficiaries])].slice(
    0,
    MAX_TARGETS,
  )
  return named.length === 0 ? {} : { targets: named.map((id) => actorOf({ id })) }
}

/** @throws DomainError CHANGE_PARTY_INVALID */
function checkParties({ onBehalfOf, beneficiaries = [] }: ChangeInput): void {
  const named = [
    ...(onBehalfOf === undefined ? [] : [{ id: onBehalfOf, pointer: '/onBehalfOf' }]),
    ...beneficiaries.map((id, n) => ({ id, pointer: `/beneficiaries/${n}` })),
  ]
  for (const { id, pointer } of named) {
    if (PRINCIPAL.test(id) && /^(?:person|service):./.test(id)) continue
    throw new DomainError(
      'CHANGE_PARTY_INVALID',
      `${JSON.stringify(id.slice(0, 80))} is nobody: name a person by pseudonym (person:…) or a service (service:billing)`,
      { pointer },
    )
  }
  if (beneficiaries.length <= MAX_BENEFICIARIES) return
  throw new DomainError('CHANGE_PARTY_INVALID', `at most ${MAX_BENEFICIARIES} principals can be named`, {
    pointer: '/beneficiaries',
  })
}
