import { checkMembers } from './check-event.js'
import { CanonicalWriter } from './jcs.js'

/** What JSON can say. */
export type Json = string | number | boolean | null | Json[] | { [name: string]: Json }

/** A natural person by something that names them: resolved to a pseudonym before anything is written. */
export interface PersonInput {
  kind: string
  value: string
  type?: string
}

export interface Party {
  id: string
  type?: string
}

export type PartyInput = Party | PersonInput

/** Personal data of one subject: the unit of disclosure, hold and erasure. Becomes a sealed group. */
export interface PersonalInput {
  group: string
  subject: string | { kind: string; value: string }
  data: Json
}

export interface SourceInput {
  name?: string
  delivery?: 'at-least-once' | 'at-most-once' | 'exactly-once'
  position?: string
  replayable?: boolean
}

export type Outcome = 'success' | 'failure' | 'denied'

/** What callers report, once `checkEvent` has passed it. */
export interface EventInput {
  type: string
  actor?: PartyInput
  targets?: PartyInput[]
  personal?: PersonalInput[]
  data?: Record<string, Json>
  id?: string
  occurredAt?: string
  outcome?: Outcome
  reason?: string
  schema?: number
  source?: SourceInput
  trace?: string
  cause?: number
}

/** The leaf's promise of a sealed group: base64 of HMAC-SHA-256(salt, bytes). */
export interface SealedCommitment {
  commit: string
  group: string
  subject: string
}

/** The leaf's `event` member: pseudonyms in place, personal data replaced by commitments. */
export interface LeafEvent {
  actor?: Party
  cause?: number
  data?: Record<string, Json>
  id?: string
  occurredAt?: string
  outcome?: Outcome
  reason?: string
  schema?: number
  sealed?: readonly SealedCommitment[]
  source?: SourceInput
  targets?: readonly Party[]
  trace?: string
  type: string
}

/**
 * Takes a value for an event. Members are closed, and absent when not given: nothing is null or empty.
 * @param pointerBase JSON pointer of `value` in what the caller sent; errors point below it
 * @throws DomainError EVENT_UNKNOWN_MEMBER, EVENT_MEMBER_MISSING, EVENT_MEMBER_TYPE, EVENT_MEMBER_VALUE,
 * EVENT_TYPE_GRAMMAR, EVENT_ID, EVENT_TIME
 */
export function checkEvent(value: unknown, pointerBase: string): EventInput {
  checkMembers(value, pointerBase)
  return value as EventInput
}

const writer = new CanonicalWriter()

/** Canonical JSON of the leaf's `event` member. `data` may hold what it likes; the rest has been checked. */
export function eventText(event: LeafEvent): string {
  write(event)
  return writer.text()
}

/** The UTF-8 bytes of `eventText(event)`, in a buffer of their own: cheaper than the text where bytes are wanted. */
export function eventBytes(event: LeafEvent): Buffer {
  write(event)
  return writer.bytes()
}

/** Writes the members in UTF-16 order, so that nothing but `data` needs sorting. */
function write(event: LeafEvent): void {
  writer.reset()
  writer.raw('{')
  if (event.actor !== undefined) {
    writer.raw('"actor":')
    writeParty(event.actor, '/actor')
    writer.raw(',')
  }
  if (event.cause !== undefined) {
    writer.raw('"cause":')
    writer.value(event.cause, '/cause')
    writer.raw(',')
  }
  if (event.data !== undefined) {
    writer.raw('"data":')
    writer.value(event.data, '/data')
    writer.raw(',')
  }
  if (event.id !== undefined) writeMember('"id":', event.id, '/id')
  if (event.occurredAt !== undefined) writeMember('"occurredAt":', event.occurredAt, '/occurredAt')
  if (event.outcome !== undefined) writeMember('"outcome":', event.outcome, '/outcome')
  if (event.reason !== undefined) writeMember('"reason":', event.reason, '/reason')
  if (event.schema !== undefined) {
    writer.raw('"schema":')
    writer.value(event.schema, '/schema')
    writer.raw(',')
  }
  if (event.sealed !== undefined) writeSealed(event.sealed)
  if (event.source !== undefined) {
    writer.raw('"source":')
    writer.value(event.source, '/source')
    writer.raw(',')
  }
  if (event.targets !== undefined) writeTargets(event.targets)
  if (event.trace !== undefined) writeMember('"trace":', event.trace, '/trace')
  writer.raw('"type":')
  writer.string(event.type, '/type')
  writer.raw('}')
}

function writeMember(name: string, text: string, pointer: string): void {
  writer.raw(name)
  writer.string(text, pointer)
  writer.raw(',')
}

function writeParty(party: Party, pointer: string): void {
  writer.raw('{"id":')
  writer.string(party.id, pointer)
  if (party.type !== undefined) {
    writer.raw(',"type":')
    writer.string(party.type, pointer)
  }
  writer.raw('}')
}

function writeTargets(targets: readonly Party[]): void {
  writer.raw('"targets":[')
  for (let i = 0; i < targets.length; i++) {
    if (i > 0) writer.raw(',')
    writeParty(targets[i] as Party, '/targets')
  }
  writer.raw('],')
}

function writeSealed(sealed: readonly SealedCommitment[]): void {
  writer.raw('"sealed":[')
  for (let i = 0; i < sealed.length; i++) {
    const { commit, group, subject } = sealed[i] as SealedCommitment
    writer.raw(i > 0 ? ',{"commit":' : '{"commit":')
    writer.string(commit, '/sealed')
    writer.raw(',"group":')
    writer.string(group, '/sealed')
    writer.raw(',"subject":')
    writer.string(subject, '/sealed')
    writer.raw('}')
  }
  writer.raw('],')
}
