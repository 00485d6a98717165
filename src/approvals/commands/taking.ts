import type { Tx } from '../../db/database.js'
import { DomainError } from '../../errors.js'
import type { Json } from '../../ledger/event.js'
import { service, type Principal } from '../../principal.js'
import { changeStream, isClosed, statusAt, type ChangeState } from '../change.js'
import { governed, type ApprovalDeps, type Governed } from '../governed.js'
import { loadChange } from '../queries/load.js'
import { hindranceOf, hindranceWriting, type Hindrance } from './apply.js'
import { write, type Writing } from './writing.js'

export interface Taking<T> {
  readonly deps: ApprovalDeps
  readonly by: Principal
  /** The change's id. */
  readonly id: string
  /** Whether this change is for this, and for whoever asks. @throws DomainError */
  readonly expect: (change: ChangeState, now: Governed) => void
  /** What is said where it has been taken already. */
  readonly taken: () => DomainError
  readonly take: (tx: Tx, change: ChangeState, now: Governed) => Promise<T>
}

/**
 * Lets somebody take what an approved change is for: a grant, a token. All that the approval rests on is looked at again under
 * the tenant's lock, as when the service itself applies a change; what keeps it from carrying is recorded, and then refused.
 * @throws DomainError CHANGE_UNKNOWN, CHANGE_NOT_READY, CHANGE_CLOSED, what `expect`, `taken` and `take` throw
 */
export async function taking<T>({ deps, by, id, expect, taken, take }: Taking<T>): Promise<T> {
  const done = await governed(deps, by, async (tx, now) => {
    const change = await loadChange(tx, by.tenant, id)
    expect(change, now)
    expectReady(change, now.nowMs, taken)
    const hindrance = await hindranceOf(tx, deps, change, now)
    if (hindrance === undefined) return { got: await take(tx, change, now) }
    await write(tx, now, [hindranceWriting(service(by.tenant), change, hindrance, now.nowMs)])
    return { hindrance }
  })
  if ('hindrance' in done) throw refusalOf(done.hindrance)
  return done.got
}

function expectReady(change: ChangeState, nowMs: number, taken: () => DomainError): void {
  const status = statusAt(change, nowMs)
  if (status === 'applied') throw taken()
  if (isClosed(status)) throw new DomainError('CHANGE_CLOSED', `the change is ${status}`)
  const restsMs = Date.parse(change.approved?.notBefore ?? change.applyBy) - nowMs
  if (status !== 'approved') throw notReady(`the change is ${status}`)
  if (restsMs > 0) throw notReady(`the change rests until ${change.approved?.notBefore ?? ''}`, restsMs)
}

function refusalOf(hindrance: Hindrance): DomainError {
  if (hindrance.what === 'failed') return new DomainError('CHANGE_CLOSED', `the change has failed: ${hindrance.code}`)
  return hindrance.what === 'reopened'
    ? notReady('votes that it rested on no longer count: it waits for others')
    : notReady('its policy asks for a longer rest by now')
}

function notReady(message: string, waitMs?: number): DomainError {
  return new DomainError('CHANGE_NOT_READY', message, waitMs === undefined ? {} : { retryAfterS: waitMs / 1000 })
}

/** An entry of a change, the `nth` (from 1) that a transaction adds. */
export function changeWriting(
  by: Principal,
  change: ChangeState,
  nth: number,
  event: { readonly type: string; readonly data?: Record<string, Json> },
): Writing {
  const cause = change.approved?.seq ?? change.requestedSeq
  return { by, stream: changeStream(change.id), version: change.version + nth, event: { ...event, cause } }
}
