import { inTenant, type Database } from '../db/database.js'
import { DomainError } from '../errors.js'
import { appendAt, lockHead, streamVersion } from '../ledger/append.js'
import { prepare } from '../ledger/prepare.js'
import type { Principal } from '../principal.js'
import { actorOf } from './reveal.js'

/**
 * Destroys a subject's keys and identifiers: what was sealed for them can no longer be read by anybody; leaves, chain and
 * proofs stay as they are. The key epoch rises with it, so nothing sealed before and still under way lands behind it.
 * @returns the seq of `subject.key.destroyed`
 * @throws DomainError SUBJECT_UNKNOWN, SUBJECT_ERASED
 */
export async function destroySubject(database: Database, by: Principal, subject: string): Promise<number> {
  const { tenant } = by
  const stream = `subject/${subject}`
  return inTenant(database.keyring, tenant, async (tx) => {
    const head = await lockHead(tx, tenant)
    const known = await tx
      .selectFrom('subjects')
      .select('erased_seq')
      .where('tenant', '=', tenant)
      .where('subject', '=', subject)
      .executeTakeFirst()
    if (!known) throw new DomainError('SUBJECT_UNKNOWN', `${subject} is nobody this tenant knows`)
    if (known.erased_seq !== null) throw new DomainError('SUBJECT_ERASED', `the key of ${subject} was destroyed before`)
    const { version, nowMs } = await streamVersion(tx, tenant, stream)
    await tx.deleteFrom('identifiers').where('tenant', '=', tenant).where('subject', '=', subject).execute()
    await tx.deleteFrom('subject_keys').where('tenant', '=', tenant).where('subject', '=', subject).execute()
    const event = prepare(
      { type: 'subject.key.destroyed', actor: actorOf(by), targets: [{ id: subject, type: 'user' }] },
      { by, stream },
      0,
    )
    const addition = { by: by.id, via: by.via, events: [event], stream: { name: stream, version: version + 1 } }
    const { seq } = await appendAt(tx, head, addition, nowMs)
    await tx
      .updateTable('subjects')
      .set({ erased_seq: seq })
      .where('tenant', '=', tenant)
      .where('subject', '=', subject)
      .execute()
    await tx
      .updateTable('heads')
      .set((expression) => ({ key_epoch: expression('key_epoch', '+', 1) }))
      .where('tenant', '=', tenant)
      .execute()
    return seq
  })
}
