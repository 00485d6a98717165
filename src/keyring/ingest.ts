import { createHmac } from 'node:crypto'
import { inTenant, type Database } from '../db/database.js'
import { DomainError } from '../errors.js'
import type { Appender } from '../ledger/appender.js'
import type { ReceiptEntry } from '../ledger/appender-lane.js'
import type { PreparedEvent, SealedGroup } from '../ledger/batch.js'
import { readLeaf } from '../ledger/entry.js'
import type { EventInput, LeafEvent, Party, PartyInput, SealedCommitment } from '../ledger/event.js'
import { prepare } from '../ledger/prepare.js'
import type { Principal } from '../principal.js'
import { derive, type Installation } from './installation.js'
import { seal } from './seal.js'
import type { PersonRef, Resolved, Subjects } from './subjects.js'

export interface IngestDeps {
  readonly database: Database
  readonly appender: Appender
  readonly subjects: Subjects
  readonly installation: Installation
  readonly maxGroupBytes?: number
}

export interface IngestOptions {
  /** A repeat of the request gets the first answer; `body` is what it is told by. */
  readonly idempotency?: { readonly key: string; readonly body: Uint8Array } | undefined
  /** Tells repeats of single events apart, by index. */
  readonly eventKeys?: readonly (string | undefined)[] | undefined
  readonly position?: { readonly source: string; readonly after: string | null; readonly now: string } | undefined
}

export interface Ingested {
  /** The request had been accepted before: this is its first answer. */
  readonly repeated: boolean
  readonly entries: readonly IngestedEntry[]
}

export interface IngestedEntry {
  readonly seq: number
  readonly at: string
  /** 64 hex digits. */
  readonly chainHash: string
  /** Pseudonyms and ids as they stand in the leaf. */
  readonly actor?: string
  readonly targets?: readonly string[]
  /** Whom each sealed group is about, in the order of `personal`. */
  readonly subjects?: readonly string[]
  /** The event had been accepted before: this is its first entry. */
  readonly duplicate?: true
}

/** Keys may change while a request is under way; after so many times in a row something else is wrong. */
const ATTEMPTS = 5

/**
 * Takes in what callers report: names persons by pseudonym, seals what is personal, appends, answers when it is durable.
 * @param events checked by `checkEvent`, 1 to 1,000
 * @throws DomainError SUBJECT_UNKNOWN, SUBJECT_ERASED, GROUP_TOO_LARGE, EVENT_TOO_LARGE, and those of `Appender.submit`
 */
export async function ingest(
  deps: IngestDeps,
  by: Principal,
  events: readonly EventInput[],
  options: IngestOptions = {},
): Promise<Ingested> {
  const persons = events.flatMap(personsOf)
  for (let attempt = 1; ; attempt++) {
    try {
      const resolved = persons.length > 0 ? await deps.subjects.resolve(by.tenant, persons) : undefined
      return await submit(deps, by, events, options, resolved)
    } catch (error) {
      if (!(error instanceof DomainError && error.code === 'KEY_EPOCH_MOVED') || attempt === ATTEMPTS) throw error
      deps.subjects.forget(by.tenant)
    }
  }
}

async function submit(
  deps: IngestDeps,
  by: Principal,
  events: readonly EventInput[],
  { idempotency, eventKeys, position }: IngestOptions,
  resolved: Resolved | undefined,
): Promise<Ingested> {
  const leaves: LeafEvent[] = []
  const prepared = events.map((event, index): PreparedEvent => {
    const { leaf, sealed } = resolved
      ? sealEvent(deps, by, event, index, resolved)
      : { leaf: plain(by, event), sealed: [] }
    leaves.push(leaf)
    return prepare(leaf, { by }, index, sealed)
  })
  const receipt = await deps.appender.submit({
    tenant: by.tenant,
    by: by.id,
    via: by.via,
    events: prepared,
    epoch: resolved?.epoch,
    idempotency: idempotency && { key: idempotency.key, mac: bodyMac(deps.installation, idempotency.body) },
    eventKeys,
    position,
  })
  if (receipt.repeated) {
    const seqs = Array.from({ length: receipt.count }, (_, index) => receipt.firstSeq + index)
    const first = await readBack(deps.database, by.tenant, seqs)
    return { repeated: true, entries: seqs.map((seq) => entryAt(first, seq)) }
  }
  const duplicates = receipt.entries.filter((entry) => entry.duplicate).map((entry) => entry.seq)
  const first = duplicates.length > 0 ? await readBack(deps.database, by.tenant, duplicates) : noEntries
  return {
    repeated: false,
    entries: receipt.entries.map((entry, index) => answerFor(entry, leaves[index], first)),
  }
}

function answerFor(entry: ReceiptEntry, leaf: LeafEvent | undefined, first: Map<number, IngestedEntry>): IngestedEntry {
  if (entry.duplicate) return { ...entryAt(first, entry.seq), duplicate: true }
  if (!leaf) throw new Error('an entry without its event')
  return view(entry.seq, entry.at, entry.chainHash, leaf)
}

const noEntries = new Map<number, IngestedEntry>()

function entryAt(entries: Map<number, IngestedEntry>, seq: number): IngestedEntry {
  const entry = entries.get(seq)
  if (!entry) throw new Error(`entry ${seq} is remembered but not there`)
  return entry
}

function view(seq: number, at: string, chainHash: Buffer, { actor, targets, sealed }: LeafEvent): IngestedEntry {
  return {
    seq,
    at,
    chainHash: chainHash.toString('hex'),
    ...(actor && { actor: actor.id }),
    ...(targets && { targets: targets.map((target) => target.id) }),
    ...(sealed && { subjects: sealed.map((group) => group.subject) }),
  }
}

async function readBack(
  database: Database,
  tenant: string,
  seqs: readonly number[],
): Promise<Map<number, IngestedEntry>> {
  const rows = await inTenant(database.reader, tenant, (tx) =>
    tx
      .selectFrom('entries')
      .select(['seq', 'leaf', 'chain_hash'])
      .where('tenant', '=', tenant)
      .where('seq', 'in', seqs)
      .execute(),
  )
  return new Map(
    rows.map((row) => {
      const { entry, event } = readLeaf(row.leaf)
      return [row.seq, view(row.seq, entry.at, row.chain_hash, event)]
    }),
  )
}

/** HMAC of the body under a key of the installation: an unkeyed digest of a body with personal data could be guessed. */
function bodyMac(installation: Installation, body: Uint8Array): Buffer {
  const [oldest] = installation.keys
  if (!oldest) throw new Error('an installation without keys')
  return createHmac('sha256', derive(oldest, 'idempotency')).update(body).digest()
}

const isPerson = (id: string): boolean => id.startsWith('person:')

/** Everybody an event names, as identifier or pseudonym. */
function personsOf({ actor, targets, personal }: EventInput): PersonRef[] {
  const refs: PersonRef[] = []
  for (const party of [actor, ...(targets ?? [])]) {
    if (!party) continue
    if ('kind' in party) refs.push({ kind: party.kind, value: party.value })
    else if (isPerson(party.id)) refs.push(party.id)
  }
  for (const { subject } of personal ?? []) refs.push(subject)
  return refs
}

function plain(by: Principal, event: EventInput): LeafEvent {
  return { ...event, source: { ...event.source, name: event.source?.name ?? by.id } } as LeafEvent
}

function sealEvent(
  { maxGroupBytes }: IngestDeps,
  by: Principal,
  event: EventInput,
  index: number,
  resolved: Resolved,
): { leaf: LeafEvent; sealed: SealedGroup[] } {
  const { personal, actor, targets, ...rest } = event
  const sealed: SealedGroup[] = []
  const commitments = personal?.map(({ group, subject, data }, n): SealedCommitment => {
    try {
      const made = seal(by.tenant, resolved.of(subject), group, data, maxGroupBytes)
      sealed.push(made.group)
      return made.commitment
    } catch (error) {
      throw placed(error, index, `/personal/${n}/data`)
    }
  })
  const leaf: LeafEvent = {
    ...plain(by, rest),
    ...(actor && { actor: partyOf(actor, resolved) }),
    ...(targets && { targets: targets.map((target) => partyOf(target, resolved)) }),
    ...(commitments && { sealed: commitments }),
  }
  return { leaf, sealed }
}

function placed(error: unknown, index: number, pointer: string): unknown {
  if (!(error instanceof DomainError)) return error
  return new DomainError(error.code, error.message, { index, pointer: pointer + (error.pointer ?? '') })
}

function partyOf(party: PartyInput, resolved: Resolved): Party {
  if (!('kind' in party)) return party
  return { id: resolved.of({ kind: party.kind, value: party.value }).subject, type: party.type ?? 'user' }
}
