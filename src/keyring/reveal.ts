import { inTenant, type Db } from '../db/database.js'
import { DomainError } from '../errors.js'
import { checkNamesSomebody } from '../ledger/check-event.js'
import { readLeaf } from '../ledger/entry.js'
import type { Json, LeafEvent, Party, SealedCommitment } from '../ledger/event.js'
import { prepare } from '../ledger/prepare.js'
import type { Principal } from '../principal.js'
import type { IngestDeps } from './ingest.js'
import { open, seal, type Opened } from './seal.js'
import type { Identifier, SubjectKey } from './subjects.js'
import { unwrapKey } from './wrap.js'

export interface Revealed extends Opened {
  readonly seq: number
  readonly group: string
  readonly subject: string
  /** The entry that records this disclosure. */
  readonly recordedSeq: number
}

/** Reasons are free text: at most this many characters, sealed like any. */
export const MAX_REASON_LENGTH = 500

/**
 * Opens one sealed group, after the disclosure is on record (`personal.revealed`).
 * @throws DomainError ENTRY_UNKNOWN, GROUP_UNKNOWN, SUBJECT_ERASED, REASON_MISSING
 */
export async function reveal(
  deps: IngestDeps,
  by: Principal,
  { seq, group, reason }: { seq: number; group: string; reason: string },
): Promise<Revealed> {
  checkReason(reason)
  const commitment = await findGroup(deps.database.reader, by.tenant, seq, group)
  const { key, ciphertext } = await readGroup(deps, by.tenant, seq, commitment)
  const opened = open(by.tenant, commitment, key.key, ciphertext)
  const recordedSeq = await record(deps, by, {
    event: {
      type: 'personal.revealed',
      cause: seq,
      data: { group, seq },
      targets: [{ id: commitment.subject, type: 'user' }],
    },
    subject: commitment.subject,
    groups: { reason: { reason } },
  })
  return { ...opened, seq, group, subject: commitment.subject, recordedSeq }
}

/**
 * The pseudonym of a person, if the tenant knows one, after the search is on record (`subject.searched`). What was
 * searched for is sealed: for the person found, else for a subject of the record's own.
 * @throws DomainError EVENT_MEMBER_VALUE where the identifier is blank, REASON_MISSING
 */
export async function findSubject(
  deps: IngestDeps,
  by: Principal,
  { identifier, reason }: { identifier: Identifier; reason: string },
): Promise<{ subject: string | undefined; recordedSeq: number }> {
  checkNamesSomebody(identifier.value, '/value')
  checkReason(reason)
  const subject = await deps.subjects.find(by.tenant, identifier)
  const about = subject ?? (await deps.subjects.create(by.tenant)).subject
  const recordedSeq = await record(deps, by, {
    event: {
      type: 'subject.searched',
      data: { found: subject !== undefined, kind: identifier.kind },
      ...(subject !== undefined && { targets: [{ id: subject, type: 'user' }] }),
    },
    subject: about,
    groups: { query: { kind: identifier.kind, value: identifier.value }, reason: { reason } },
  })
  return { subject, recordedSeq }
}

function checkReason(reason: string): void {
  if (reason.trim() === '' || reason.length > MAX_REASON_LENGTH) {
    throw new DomainError('REASON_MISSING', `say why, in 1 to ${MAX_REASON_LENGTH} characters: it goes on record`, {
      pointer: '/reason',
    })
  }
}

async function findGroup(reader: Db, tenant: string, seq: number, group: string): Promise<SealedCommitment> {
  const row = await inTenant(reader, tenant, (tx) =>
    tx.selectFrom('entries').select('leaf').where('tenant', '=', tenant).where('seq', '=', seq).executeTakeFirst(),
  )
  if (!row) throw new DomainError('ENTRY_UNKNOWN', `there is no entry ${seq}`)
  const commitment = readLeaf(row.leaf).event.sealed?.find((sealed) => sealed.group === group)
  if (!commitment) throw new DomainError('GROUP_UNKNOWN', `entry ${seq} has no sealed group ${group}`)
  return commitment
}

async function readGroup(
  { database, installation }: IngestDeps,
  tenant: string,
  seq: number,
  { subject, group }: SealedCommitment,
): Promise<{ key: SubjectKey; ciphertext: Buffer }> {
  const row = await inTenant(database.keyring, tenant, (tx) =>
    tx
      .selectFrom('sealed_groups as g')
      .innerJoin('subject_keys as k', (join) =>
        join
          .onRef('k.tenant', '=', 'g.tenant')
          .onRef('k.subject', '=', 'g.subject')
          .onRef('k.generation', '=', 'g.generation'),
      )
      .select(['g.ciphertext', 'k.generation', 'k.wrapped'])
      .where('g.tenant', '=', tenant)
      .where('g.seq', '=', seq)
      .where('g.group', '=', group)
      .where('g.subject', '=', subject)
      .executeTakeFirst(),
  )
  if (!row)
    throw new DomainError('SUBJECT_ERASED', `group ${group} of entry ${seq} cannot be opened: its key was destroyed`)
  const { generation, wrapped, ciphertext } = row
  const key = unwrapKey(installation, { tenant, purpose: 'subject', id: subject, generation }, wrapped)
  return { key: { subject, generation, key }, ciphertext }
}

interface SealedRecord {
  readonly event: LeafEvent
  readonly subject: string
  readonly groups: Readonly<Record<string, Json>>
}

/** Appends one of the service's own records, with groups sealed for one subject. */
async function record(deps: IngestDeps, by: Principal, { event, subject, groups }: SealedRecord): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    const resolved = await deps.subjects.resolve(by.tenant, [subject])
    const made = Object.entries(groups).map(([group, data]) => seal(by.tenant, resolved.of(subject), group, data))
    const leaf: LeafEvent = { ...event, actor: actorOf(by), sealed: made.map((sealed) => sealed.commitment) }
    const prepared = prepare(
      leaf,
      { by },
      0,
      made.map((sealed) => sealed.group),
    )
    try {
      const receipt = await deps.appender.submit({
        tenant: by.tenant,
        by: by.id,
        via: by.via,
        epoch: resolved.epoch,
        events: [prepared],
      })
      if (receipt.repeated || !receipt.entries[0]) throw new Error('a record without a place')
      return receipt.entries[0].seq
    } catch (error) {
      if (!(error instanceof DomainError && error.code === 'KEY_EPOCH_MOVED') || attempt === 5) throw error
      deps.subjects.forget(by.tenant)
    }
  }
}

/** A principal as the actor of what it did. */
export function actorOf(by: Pick<Principal, 'id'>): Party {
  return { id: by.id, type: by.id.startsWith('person:') ? 'user' : 'service' }
}
