import { chainHashAt, type Addition, type Head, type Placed, type RememberedKey } from './batch.js'
import type { Answers, Questions } from './appender-checks.js'
import { KeyEpochMoved, sourceMoved, StreamVersionConflict } from './errors.js'
import { DomainError } from '../errors.js'

/** Events that enter one tenant's log together or not at all. */
export interface Submission extends Pick<Addition, 'by' | 'via' | 'events'> {
  readonly tenant: string
  /** Only for commands: the stream they extend, and how many events it has, 0 for a new one. */
  readonly stream?: { readonly name: string; readonly expectedVersion: number } | undefined
  /** The key epoch under which persons were looked up and groups sealed; needed where there are any. */
  readonly epoch?: number | undefined
  /** A repeat of the whole submission gets the first answer. */
  readonly idempotency?: { readonly key: string; readonly mac: Buffer } | undefined
  /** Tells repeats of single events apart, by index. */
  readonly eventKeys?: readonly (string | undefined)[] | undefined
  /** Moves the source's position from `after`, or nothing is written. */
  readonly position?: { readonly source: string; readonly after: string | null; readonly now: string } | undefined
}

export type Receipt =
  /** The whole submission had been accepted before: its entries are `count` from `firstSeq` on. */
  | { readonly repeated: true; readonly firstSeq: number; readonly count: number }
  | { readonly repeated: false; readonly entries: readonly ReceiptEntry[] }

export type ReceiptEntry =
  | { readonly duplicate: false; readonly seq: number; readonly at: string; readonly chainHash: Buffer }
  | { readonly duplicate: true; readonly seq: number }

/** A submission on its way. */
export interface Call {
  readonly submission: Submission
  /** Leaf bytes, about. */
  readonly bytes: number
  readonly deadline: number
  /** Events that are not appended because they repeat another: their index, and the place of the first. */
  repeats: ReadonlyMap<number, Repeat> | undefined
  /** What is left to append. */
  addition: Addition
  /** Places it was sent to without an answer having come back. */
  attempts: Placed[]
  /** It failed in company, so it is tried by itself. */
  alone: boolean
  /** It counts in what its lane knows of sources and streams. */
  counted: boolean
  readonly settle: (outcome: Receipt | Error) => void
}

/** What still fits into a batch; the first call always does. */
export interface Room {
  readonly events: number
  readonly bytes: number
  readonly empty: boolean
}

/** An event that had been accepted before, or stands in the same submission before: `appended` counts what is appended. */
export type Repeat = { readonly seq: number } | { readonly appended: number }

/** One tenant's calls, in order, and what is known of its head. */
export class Lane {
  readonly tenant: string
  /** As it will be when everything in flight has landed; undefined while it must be read. */
  head: Head | undefined
  /** Checked against the head, next to be chained. */
  waiting: Call[] = []
  /** Not yet checked. */
  arriving: Call[] = []
  /** In flight once, came back. */
  returned: Call[] = []
  flying = 0
  checking = false
  /** Failures in a row to move the head. */
  failures = 0
  resting = false
  /** What the calls in `waiting` and in flight will move each source to. */
  private readonly positions = new Map<string, { stands: string; calls: number }>()
  /** The same for the versions of streams. */
  private readonly versions = new Map<string, { stands: number; calls: number }>()

  constructor(tenant: string) {
    this.tenant = tenant
  }

  /** Whether calls stand in line that must be looked up first. */
  get hasUnchecked(): boolean {
    return this.arriving.length + this.returned.length > 0 || (!this.head && this.waiting.length > 0)
  }

  get idle(): boolean {
    return this.flying === 0 && !this.checking && !this.hasUnchecked && this.waiting.length === 0
  }

  /** The calls that came in since the last check, to be checked. */
  arrivals(): Call[] {
    const calls = this.arriving
    this.arriving = []
    return calls
  }

  /** Everything that must be checked again because the head is read anew, in order. */
  recall(): Call[] {
    const calls = [...this.returned, ...this.waiting, ...this.arriving]
    this.returned = []
    this.waiting = []
    this.arriving = []
    this.positions.clear()
    this.versions.clear()
    for (const call of calls) call.counted = false
    return calls
  }

  /** Takes the next calls that fit into `room`; one that is to be tried alone gets a batch of its own. */
  take(room: Room): { calls: Call[]; room: Room } {
    let { events, bytes, empty } = room
    const calls: Call[] = []
    for (const call of this.waiting) {
      const size = call.addition.events.length
      if (!empty && (size > events || call.bytes > bytes || call.alone)) break
      calls.push(call)
      events -= size
      bytes -= call.bytes
      empty = false
      if (call.alone) {
        events = 0
        break
      }
    }
    this.waiting = this.waiting.slice(calls.length)
    return { calls, room: { events, bytes, empty } }
  }

  /** Removes and returns the calls that have waited too long; those in flight are not among them. */
  expire(now: number): Call[] {
    const all = [...this.returned, ...this.waiting, ...this.arriving]
    const expired = all.filter((call) => call.deadline < now)
    if (expired.length > 0) {
      const kept = (call: Call) => call.deadline >= now
      this.returned = this.returned.filter(kept)
      this.waiting = this.waiting.filter(kept)
      this.arriving = this.arriving.filter(kept)
    }
    return expired
  }

  /** Lets a checked call wait for its place, or settles it. */
  accept(call: Call, head: Head, answers: Answers): void {
    const refused = this.refusal(call, head, answers)
    if (refused) {
      call.settle(refused)
      return
    }
    const answer = isConditional(call) ? answerFrom(call, answers) : undefined
    if (answer) {
      call.settle(answer)
      return
    }
    const { position, stream, events } = call.submission
    if (position) advance(this.positions, position.source, position.now)
    if (stream) advance(this.versions, stream.name, stream.expectedVersion + events.length)
    call.counted = true
    this.waiting.push(call)
  }

  /** A call has left for good, landed or not. */
  forget(call: Call): void {
    if (!call.counted) return
    call.counted = false
    const { position, stream } = call.submission
    if (position) this.release(this.positions, position.source)
    if (stream) this.release(this.versions, stream.name)
  }

  /** While a check is under way, what it read may be older than what this call did: that is kept until the check is over. */
  private release(of: Map<string, { calls: number }>, name: string): void {
    const known = of.get(name)
    if (!known) return
    known.calls--
    if (known.calls === 0 && !this.checking) of.delete(name)
  }

  /** A check is over: from the next one on, the database knows what calls that have left did. */
  checked(): void {
    this.checking = false
    for (const known of [this.positions, this.versions]) {
      for (const [name, { calls }] of known) if (calls === 0) known.delete(name)
    }
  }

  private refusal(call: Call, head: Head, answers: Answers): Error | undefined {
    const { tenant, epoch, position, stream } = call.submission
    if (epoch !== undefined && epoch < head.keyEpoch) return new KeyEpochMoved(tenant, epoch, head.keyEpoch)
    if (position) {
      const stands = this.positions.get(position.source)?.stands ?? answers.position
      if (stands !== (position.after ?? undefined)) return sourceMoved(position.source, position.after, stands)
    }
    if (stream) {
      // Where nobody has looked yet the statement looks itself, and the call comes back if it expects another version.
      const stands = this.versions.get(stream.name)?.stands ?? answers.version ?? stream.expectedVersion
      if (stands !== stream.expectedVersion)
        return new StreamVersionConflict(stream.name, stream.expectedVersion, stands)
    }
    return undefined
  }
}

function advance<T>(of: Map<string, { stands: T; calls: number }>, name: string, stands: T): void {
  of.set(name, { stands, calls: (of.get(name)?.calls ?? 0) + 1 })
}

export function questionsOf({ submission }: Call): Questions {
  const { tenant, by, idempotency, eventKeys, position, stream } = submission
  return {
    tenant,
    principal: by,
    keys: idempotency
      ? [wholeKey(idempotency.key)]
      : (eventKeys ?? []).filter((key) => key !== undefined).map(singleKey),
    source: position?.source,
    stream: stream?.name,
  }
}

/** The keys under which a submission is remembered, each once. */
export function keysOf({ idempotency, eventKeys }: Pick<Submission, 'idempotency' | 'eventKeys'>): readonly string[] {
  if (idempotency) return [wholeKey(idempotency.key)]
  if (!eventKeys) return []
  return [...new Set(eventKeys.filter((key) => key !== undefined).map(singleKey))]
}

export const isConditional = ({ submission }: Call): boolean =>
  submission.idempotency !== undefined || submission.eventKeys !== undefined || submission.position !== undefined

/** Two namespaces of keys: callers' own, and those made from a CloudEvent's source and id. */
const wholeKey = (key: string): string => `key ${key}`
const singleKey = (key: string): string => `event ${key}`

/** What became of the whole submission before, under the same key: undefined where the key is new. */
export function repeatOf(
  { key, mac }: NonNullable<Submission['idempotency']>,
  answers: Answers,
): Receipt | DomainError | undefined {
  const first = answers.keys.get(wholeKey(key))
  if (!first) return undefined
  return first.mac?.equals(mac)
    ? { repeated: true, firstSeq: first.firstSeq, count: first.count }
    : new DomainError(
        'IDEMPOTENCY_KEY_REUSED',
        'this Idempotency-Key came with another body before: use a new key for a new request',
      )
}

/** A repeat is answered; what is left of the submission becomes the call's addition. */
function answerFrom(call: Call, answers: Answers): Receipt | Error | undefined {
  const { events, idempotency, eventKeys, by, via, position, stream } = call.submission
  const whole = idempotency && repeatOf(idempotency, answers)
  if (whole) return whole
  const keys: RememberedKey[] = []
  if (idempotency) keys.push({ key: wholeKey(idempotency.key), mac: idempotency.mac, first: 0, count: events.length })
  const left: Addition['events'][number][] = []
  const firstHere = new Map<string, number>()
  const repeats = new Map<number, Repeat>()
  events.forEach((event, index) => {
    const given = idempotency ? undefined : eventKeys?.[index]
    const key = given === undefined ? undefined : singleKey(given)
    const before = key === undefined ? undefined : answers.keys.get(key)
    const here = key === undefined ? undefined : firstHere.get(key)
    if (before) repeats.set(index, { seq: before.firstSeq })
    else if (here !== undefined) repeats.set(index, { appended: here })
    else {
      if (key !== undefined) {
        firstHere.set(key, left.length)
        keys.push({ key, first: left.length, count: 1 })
      }
      left.push(event)
    }
  })
  call.repeats = repeats
  call.addition = {
    by,
    via,
    events: left,
    keys,
    position: position && { source: position.source, now: position.now },
    stream: stream && { name: stream.name, version: stream.expectedVersion + 1 },
  }
  if (left.length > 0) return undefined
  return receiptOf(call, undefined)
}

/** The receipt of a call whose addition was placed; without an addition, of one that held nothing but repeats. */
export function receiptOf({ submission, repeats }: Call, placed: Placed | undefined): Receipt {
  let next = 0
  const entries = submission.events.map((_, index): ReceiptEntry => {
    const repeat = repeats?.get(index)
    if (repeat && 'seq' in repeat) return { duplicate: true, seq: repeat.seq }
    if (!placed) throw new Error('an event was appended without a place')
    if (repeat) return { duplicate: true, seq: placed.seq + repeat.appended }
    const n = next++
    return { duplicate: false, seq: placed.seq + n, at: placed.at, chainHash: chainHashAt(placed, n) }
  })
  return { repeated: false, entries }
}
