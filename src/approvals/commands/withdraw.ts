import { personOf } from '../../auth/access.js'
import { DomainError } from '../../errors.js'
import { actorOf } from '../../keyring/reveal.js'
import type { Principal } from '../../principal.js'
import { changeStream, statusAt } from '../change.js'
import { governed, type ApprovalDeps } from '../governed.js'
import { loadChange } from '../queries/load.js'
import { expectNotClosed } from './vote.js'
import { write } from './writing.js'

/**
 * Takes a request back, until it is applied. Whoever requested may, nobody else; repeating it changes nothing.
 * @throws DomainError CHANGE_UNKNOWN, CHANGE_NOT_YOURS, CHANGE_CLOSED
 */
export async function withdrawChange(deps: ApprovalDeps, by: Principal, id: string): Promise<void> {
  await governed(deps, by, async (tx, now) => {
    const change = await loadChange(tx, by.tenant, id)
    const { access } = now.governance
    if (personOf(access, change.requester) !== personOf(access, by.id)) {
      throw new DomainError('CHANGE_NOT_YOURS', `${change.requester} asked for it, and only they can take it back`)
    }
    if (statusAt(change, now.nowMs) === 'withdrawn') return
    expectNotClosed(change, now.nowMs)
    const event = { type: 'change.withdrawn', actor: actorOf(by), cause: change.requestedSeq }
    await write(tx, now, [{ by, stream: changeStream(id), version: change.version + 1, event }])
  })
}
