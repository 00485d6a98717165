import { createHmac } from 'node:crypto'
import { inTenant, type Database } from '../db/database.js'
import { DomainError } from '../errors.js'
import type { Appender } from '../ledger/appender.js'
import type { ReceiptEntry, Submission } from '../ledger/appender-lane.js'
import type { PreparedEvent, SealedGroup } from '../ledger/batch.js'
import { readLeaf } from '../ledger/entry.js'
import type { EventInput, LeafEvent, Party, PartyInput, PersonalInput, SealedCommitment } from '../ledger/event.js'
import { prepare } from '../ledger/prepare.js'
import type { Principal } from '../principal.js'
import { derive, type Installation } from './installation.js'
import { checkedGroupBytes, seal } from './seal.js'
import { SubjectUnknown, type PersonRef, type Resolved, type Subjects } from './subjects.js'

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
 * @throws DomainError SUBJECT_UNKNOWN, SUBJECT_ERASED, GROUP_TOO_LARGE, EVENT_TOO_LARGE with the event's index and a
 * pointer that begins at the event; and those of `Appender.submit`
 */
export async function ingest(
  deps: IngestDeps,
  by: Principal,
  events: readonly EventInput[],
  options: IngestOptions = {},
): Promise<Ingested> {
  const persons = events.flatMap(personsOf)
  const idempotency = options.idempotency && {
    key: options.idempotency.key,
    mac: bodyMac(deps.installation, options.idempotency.body),
  }
  if (persons.length > 0 && idempotency) {
    // A request that is refused or answered already makes nobody.
    const repeat = await deps.appender.repeated({ tenant: by.tenant, by: by.id, idempotency })
    if (repeat?.repeated) return repeated(deps, by, repeat)
  }
  for (let attempt = 1; ; attempt++) {
    try {
      const resolved = persons.length > 0 ? await resolve(deps, by, events, persons) : undefined
      return await submit(deps, by, events, { ...options, idempotency }, resolved)
    } catch (error) {
      if (!(error instanceof DomainError && error.code === 'KEY_EPOCH_MOVED') || attempt === ATTEMPTS) throw error
      deps.subjects.forget(by.tenant)
    }
  }
}

async function resolve(
  deps: IngestDeps,
  by: Principal,
  events: readonly EventInput[],
  persons: readonly PersonRef[],
): Promise<Resolved> {
  // What is too large is refused before anybody is made, who would stay when the events do not.
  const measure = (): void => {
    for (const [index, event] of events.entries()) {
      try {
        prepare(measured(deps, by, event), { by }, index)
      } catch (error) {
        throw inEvent(error, index)
      }
    }
  }
  try {
    return await deps.subjects.resolve(by.tenant, persons, measure)
  } catch (error) {
    throw error instanceof SubjectUnknown ? whereNamed(error, events) : error
  }
}

async function submit(
  deps: IngestDeps,
  by: Principal,
  events: readonly EventInput[],
  { idempotency, eventKeys, position }: Pick<Submission, 'idempotency' | 'eventKeys' | 'position'>,
  resolved: Resolved | undefined,
): Promise<Ingested> {
  const leaves: LeafEvent[] = []
  const prepared = events.map((event, index): PreparedEvent => {
    try {
      const { leaf, sealed } = resolved ? sealEvent(deps, by, event, resolved) : { leaf: plain(by, event), sealed: [] }
      leaves.push(leaf)
      return prepare(leaf, { by }, index, sealed)
    } catch (error) {
      throw inEvent(error, index)
    }
  })
  const receipt = await deps.appender.submit({
    tenant: by.tenant,
    by: by.id,
    via: by.via,
    events: prepared,
    epoch: resolved?.epoch,
    idempotency,
    eventKeys,
    position,
  })
  if (receipt.repeated) return repeated(deps, by, receipt)
  const duplicates = receipt.entries.filter((entry) => entry.duplicate).map((entry) => entry.seq)
  const first = duplicates.length > 0 ? await readBack(deps.database, by.tenant, duplicates) : noEntries
  return {
    repeated: false,
    entries: receipt.entries.map((entry, index) => answerFor(entry, leaves[index], first)),
  }
}

/** The first answer again, read from the entries it was about. */
async function repeated(
  { database }: IngestDeps,
  by: Principal,
  { firstSeq, count }: { firstSeq: number; count: number },
): Promise<Ingested> {
  const seqs = Array.from({ length: count }, (_, index) => firstSeq + index)
  const first = await readBack(database, by.tenant, seqs)
  return { repeated: true, entries: seqs.map((seq) => entryAt(first, seq)) }
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
  resolved: Resolved,
): { leaf: LeafEvent; sealed: SealedGroup[] } {
  const sealed: SealedGroup[] = []
  const leaf = leafOf(by, event, {
    keyOf: resolved.of,
    commit: (key, { group, data }) => {
      const made = seal(by.tenant, key, group, data, maxGroupBytes)
      sealed.push(made.group)
      return made.commitment
    },
  })
  return { leaf, sealed }
}

/** As long as what is made of a person, and nobody's. */
const ANY_SUBJECT = `person:${'0'.repeat(26)}`
const ANY_COMMITMENT = 'A'.repeat(44)

/**
 * A leaf as large as the event's will be.
 * @throws DomainError GROUP_TOO_LARGE
 */
function measured({ maxGroupBytes }: IngestDeps, by: Principal, event: EventInput): LeafEvent {
  return leafOf(by, event, {
    keyOf: (ref) => ({ subject: typeof ref === 'string' ? ref : ANY_SUBJECT }),
    commit: ({ subject }, { group, data }) => {
      checkedGroupBytes(group, subject, data, maxGroupBytes)
      return { commit: ANY_COMMITMENT, group, subject }
    },
  })
}

interface Sealing<Key extends { subject: string }> {
  readonly keyOf: (ref: PersonRef) => Key
  readonly commit: (key: Key, personal: PersonalInput) => SealedCommitment
}

function leafOf<Key extends { subject: string }>(
  by: Principal,
  { personal, actor, targets, ...rest }: EventInput,
  { keyOf, commit }: Sealing<Key>,
): LeafEvent {
  const partyOf = (party: PartyInput): Party => {
    if (!('kind' in party)) return party
    return { id: keyOf({ kind: party.kind, value: party.value }).subject, type: party.type ?? 'user' }
  }
  const commitments = personal?.map((group, n) => {
    const key = below(`/personal/${n}/subject`, () => keyOf(group.subject))
    return below(`/personal/${n}/data`, () => commit(key, group))
  })
  return {
    ...plain(by, rest),
    ...(actor && { actor: partyOf(actor) }),
    ...(targets && { targets: targets.map(partyOf) }),
    ...(commitments && { sealed: commitments }),
  }
}

function below<T>(pointer: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    throw error instanceof DomainError ? new DomainError(error.code, error.message, { pointer }) : error
  }
}

function inEvent(error: unknown, index: number): unknown {
  if (!(error instanceof DomainError)) return error
  return new DomainError(error.code, error.message, { index, pointer: error.pointer ?? '' })
}

/** Blames the first place that names the person whom nobody knows. */
function whereNamed({ code, message, subject }: SubjectUnknown, events: readonly EventInput[]): DomainError {
  for (const [index, { actor, targets = [], personal = [] }] of events.entries()) {
    const isMeant = (party: PartyInput | undefined): boolean =>
      party !== undefined && 'id' in party && party.id === subject
    if (isMeant(actor)) return new DomainError(code, message, { index, pointer: '/actor/id' })
    const target = targets.findIndex(isMeant)
    if (target >= 0) return new DomainError(code, message, { index, pointer: `/targets/${target}/id` })
    const group = personal.findIndex((each) => each.subject === subject)
    if (group >= 0) return new DomainError(code, message, { index, pointer: `/personal/${group}/subject` })
  }
  throw new Error('somebody unknown whom no event names')
}
