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

/** The UTF-8 bytes of `eventText(event)`: cheaper than the text where bytes are wanted. */
export function eventBytes(event: LeafEvent): Buffer {
  write(event)
  return writer.bytes()
}

/** Writes the members in UTF-16 order, so that little but `data` needs sorting. */
function write(event: LeafEvent): void {
  const { actor, cause, data, id, occurredAt, outcome, reason, schema, sealed, source, targets, trace } = event
  writer.reset()
  // Each member stands behind a comma, and the first comma becomes the opening brace: `type` is always there.
  if (actor !== undefined) writeParty(',"actor":{"id":', actor, '/actor')
  if (cause !== undefined) writeValue(',"cause":', cause, '/cause')
  if (data !== undefined) writeValue(',"data":', data, '/data')
  if (id !== undefined) writeString(',"id":', id, '/id')
  if (occurredAt !== undefined) writeString(',"occurredAt":', occurredAt, '/occurredAt')
  if (outcome !== undefined) writeString(',"outcome":', outcome, '/outcome')
  if (reason !== undefined) writeString(',"reason":', reason, '/reason')
  if (schema !== undefined) writeValue(',"schema":', schema, '/schema')
  if (sealed !== undefined) writeSealed(sealed)
  if (source !== undefined) writeValue(',"source":', source, '/source')
  if (targets !== undefined) writeTargets(targets)
  if (trace !== undefined) writeString(',"trace":', trace, '/trace')
  writeString(',"type":', event.type, '/type')
  writer.raw('}')
  writer.openObject()
}

function writeValue(before: string, value: unknown, pointer: string): void {
  writer.raw(before)
  writer.value(value, pointer)
}

function writeString(before: string, text: string, pointer: string): void {
  writer.raw(before)
  writer.string(text, pointer)
}

/** @param before everything up to the party's id */
function writeParty(before: string, party: Party, pointer: string): void {
  writeString(before, party.id, pointer)
  if (party.type !== undefined) writeString(',"type":', party.type, pointer)
  writer.raw('}')
}

function writeTargets(targets: readonly Party[]): void {
  for (let i = 0; i < targets.length; i++) {
    writeParty(i === 0 ? ',"targets":[{"id":' : ',{"id":', targets[i] as Party, '/targets')
  }
  writer.raw(']')
}

function writeSealed(sealed: readonly SealedCommitment[]): void {
  for (let i = 0; i < sealed.length; i++) {
    const { commit, group, subject } = sealed[i] as SealedCommitment
    writeString(i === 0 ? ',"sealed":[{"commit":' : ',{"commit":', commit, '/sealed')
    writeString(',"group":', group, '/sealed')
    writeString(',"subject":', subject, '/sealed')
    writer.raw('}')
  }
  writer.raw(']')
}
