import { DomainError } from '../errors.js'
import { hasLoneSurrogate } from './json-faults.js'
import { pointerTo } from './pointer.js'
import { timeFault } from './rfc3339.js'

/** Event types, at most `MAX_TYPE_BYTES` long. */
export const TYPE = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+$/
export const MAX_TYPE_BYTES = 128
/** Names of sealed groups; kinds of identifiers (`email`) follow the same grammar. */
export const GROUP = /^[a-z][a-z0-9-]{0,31}$/
/** Pseudonyms of natural persons. */
export const PERSON = /^person:[A-Za-z0-9._:@-]{1,121}$/
const REASON = /^[A-Za-z0-9_.:-]{1,64}$/
/** W3C Trace Context §3.2: the four fields that every version begins with; the version ff and ids of zeros are invalid. */
export const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/
const PRINTABLE_ASCII = /^[\x20-\x7e]*$/
const CONTROL = /\p{Cc}/u

export const MAX_ID_BYTES = 255
/** Of a value that names a person: ARNs may have 2048 characters, and an address of a mailbox 254. */
export const MAX_IDENTIFIER_BYTES = 2048
export const MAX_TARGETS = 32
/** A commit may name a hundred people, each with groups of their own; the leaf's size is the narrower limit. */
export const MAX_GROUPS = 256

/** Members that a caller may know from an entry, with the reason why no event carries them. */
const SET_BY_THE_LOG: Readonly<Record<string, string>> = {
  entry: 'the log writes it',
  seq: 'the log gives the place',
  at: 'the log gives the recorded time; your own time goes into occurredAt',
  recordedAt: 'the log gives the recorded time; your own time goes into occurredAt',
  by: 'it is the principal of your credential',
  via: 'it is your credential',
  log: 'it is the identity of the log',
  tenant: 'it is the tenant of your credential',
  stream: 'only commands write streams',
  version: 'only commands write streams; the version of your data goes into schema',
  sealed: 'commitments are made here; send what is personal in clear under personal',
  specversion: 'CloudEvents are sent as application/cloudevents+json or application/cloudevents-batch+json',
}

type Members = Record<string, unknown>

/**
 * Says what is wrong with a value that should be an event, and returns where nothing is. What `data` holds is left to the
 * canonicaliser.
 * @param base JSON pointer of `value` in what the caller sent; errors point below it
 * @throws DomainError EVENT_UNKNOWN_MEMBER, EVENT_MEMBER_MISSING, EVENT_MEMBER_TYPE, EVENT_MEMBER_VALUE,
 * EVENT_TYPE_GRAMMAR, EVENT_ID, EVENT_TIME
 */
export function checkMembers(value: unknown, base: string): void {
  const event = members(value, base, 'an event')
  for (const name in event) checkMember(event[name], name, base)
  if (event['type'] === undefined) throw missing('type', base)
}

function checkMember(value: unknown, name: string, base: string): void {
  switch (name) {
    case 'type':
      return checkType(value, base)
    case 'id':
      return checkId(value, base, 'id')
    case 'occurredAt':
      return checkTime(value, base, name)
    case 'actor':
      return checkParty(value, `${base}/actor`)
    case 'targets':
      return checkTargets(value, `${base}/targets`)
    case 'outcome':
      return checkOneOf(value, OUTCOMES, base, name)
    case 'reason':
      return checkGrammar(value, REASON, base, name, 'a code of 1 to 64 letters, digits, _ . : -')
    case 'data':
      return checkData(value, `${base}/data`)
    case 'personal':
      return checkPersonal(value, `${base}/personal`)
    case 'schema':
      return checkInteger(value, 1, base, name)
    case 'source':
      return checkSource(value, `${base}/source`)
    case 'trace':
      return checkGrammar(value, TRACEPARENT, base, name, 'a W3C traceparent such as 00-<32 hex>-<16 hex>-01')
    case 'cause':
      return checkInteger(value, 0, base, name)
    default:
      throw unknownMember(name, base, EVENT_MEMBERS)
  }
}

const EVENT_MEMBERS =
  'type, id, occurredAt, actor, targets, outcome, reason, data, personal, schema, source, trace and cause'
const OUTCOMES = ['success', 'failure', 'denied']
const DELIVERIES = ['at-least-once', 'at-most-once', 'exactly-once']

function checkType(value: unknown, base: string): void {
  if (typeof value !== 'string') throw wrongType(value, pointerTo(base, 'type'), 'a string')
  if (value.length <= MAX_TYPE_BYTES && TYPE.test(value)) return
  const message =
    value.length > MAX_TYPE_BYTES
      ? `a type of ${value.length} characters: the limit is ${MAX_TYPE_BYTES}`
      : `${quoted(value)} is no event type: write words of letters, digits, _ and - joined by dots, such as role.granted`
  throw new DomainError('EVENT_TYPE_GRAMMAR', message, { pointer: pointerTo(base, 'type') })
}

function checkParty(value: unknown, base: string): void {
  const party = members(value, base, 'a party')
  for (const name in party) {
    if (name === 'id' || name === 'type') checkId(party[name], base, name)
    else if (name === 'kind' || name === 'value') checkIdentifier(party[name], base, name)
    else throw unknownMember(name, base, 'id and type, or kind, value and type where a person is named')
  }
  const isPerson = party['kind'] !== undefined || party['value'] !== undefined
  if (!isPerson) {
    if (party['id'] === undefined) throw missing('id', base)
    return
  }
  if (party['id'] !== undefined) {
    const message = 'a party is named by id, or by kind and value: send one of the two'
    throw new DomainError('EVENT_MEMBER_VALUE', message, { pointer: base })
  }
  checkBoth(party, base)
}

function checkBoth(identifier: Members, base: string): void {
  if (identifier['kind'] === undefined) throw missing('kind', base)
  if (identifier['value'] === undefined) throw missing('value', base)
}

function checkIdentifier(value: unknown, base: string, name: 'kind' | 'value'): void {
  if (name === 'kind') return checkGrammar(value, GROUP, base, name, 'a lower-case word such as email')
  checkId(value, base, name, MAX_IDENTIFIER_BYTES)
  checkNamesSomebody(value as string, pointerTo(base, name))
}

/**
 * Refuses an identifier's value that is white space alone: normalised, nothing is left of it.
 * @throws DomainError EVENT_MEMBER_VALUE
 */
export function checkNamesSomebody(value: string, pointer: string): void {
  if (/\S/.test(value)) return
  throw new DomainError('EVENT_MEMBER_VALUE', 'white space alone names nobody: say who is meant', { pointer })
}

function checkTargets(value: unknown, base: string): void {
  const targets = list(value, base, MAX_TARGETS)
  for (let i = 0; i < targets.length; i++) checkParty(targets[i], pointerTo(base, i))
}

function checkData(value: unknown, base: string): void {
  const data = members(value, base, 'data')
  for (const _ in data) return
  throw empty(base)
}

function checkSource(value: unknown, base: string): void {
  const source = members(value, base, 'a source')
  let count = 0
  for (const name in source) {
    count++
    if (name === 'name' || name === 'position') checkId(source[name], base, name)
    else if (name === 'delivery') checkOneOf(source[name], DELIVERIES, base, name)
    else if (name !== 'replayable') throw unknownMember(name, base, 'name, delivery, position and replayable')
    else if (typeof source[name] !== 'boolean') throw wrongType(source[name], pointerTo(base, name), 'true or false')
  }
  if (count === 0) throw empty(base)
}

function checkPersonal(value: unknown, base: string): void {
  const groups = new Set<unknown>()
  for (const [i, item] of list(value, base, MAX_GROUPS).entries()) {
    const at = pointerTo(base, i)
    const personal = members(item, at, 'a group')
    for (const name in personal) {
      if (name === 'group') checkGrammar(personal[name], GROUP, at, name, 'a lower-case word such as contact')
      else if (name === 'subject') checkSubject(personal[name], pointerTo(at, name))
      else if (name !== 'data') throw unknownMember(name, at, 'group, subject and data')
    }
    for (const name of ['group', 'subject', 'data']) if (personal[name] === undefined) throw missing(name, at)
    if (personal['data'] === null) throw wrongType(null, pointerTo(at, 'data'), 'what is to be sealed')
    if (groups.has(personal['group'])) {
      const message = `group ${quoted(String(personal['group']))} stands twice: each group of an event has a name of its own`
      throw new DomainError('EVENT_MEMBER_VALUE', message, { pointer: pointerTo(at, 'group') })
    }
    groups.add(personal['group'])
  }
}

function checkSubject(value: unknown, base: string): void {
  if (typeof value === 'string') {
    if (PERSON.test(value)) return
    const message = `${quoted(value)} is no pseudonym: send person:…, or {kind, value} for a person to be found by`
    throw new DomainError('EVENT_MEMBER_VALUE', message, { pointer: base })
  }
  const subject = members(value, base, 'a subject')
  for (const name in subject) {
    if (name !== 'kind' && name !== 'value') throw unknownMember(name, base, 'kind and value')
    checkIdentifier(subject[name], base, name)
  }
  checkBoth(subject, base)
}

function checkTime(value: unknown, base: string, name: string): void {
  if (typeof value !== 'string') throw wrongType(value, pointerTo(base, name), 'a string')
  const fault = timeFault(value)
  if (fault !== undefined)
    throw new DomainError('EVENT_TIME', `${quoted(value)} ${fault}`, { pointer: pointerTo(base, name) })
}

/** Ids and names: 1 to `limit` bytes without control characters. */
function checkId(value: unknown, base: string, name: string, limit = MAX_ID_BYTES): void {
  if (typeof value !== 'string') throw wrongType(value, pointerTo(base, name), 'a string')
  if (value.length > 0 && value.length <= limit && PRINTABLE_ASCII.test(value)) return
  const pointer = pointerTo(base, name)
  if (value === '') throw empty(pointer)
  const bytes = Buffer.byteLength(value)
  if (bytes > limit) throw new DomainError('EVENT_ID', `${bytes} bytes long: the limit is ${limit}`, { pointer })
  if (CONTROL.test(value)) {
    throw new DomainError('EVENT_ID', `${quoted(value)} holds a control character: remove it`, { pointer })
  }
  if (hasLoneSurrogate(value))
    throw new DomainError('EVENT_ID', 'holds half of a surrogate pair: send whole characters', { pointer })
}

function checkInteger(value: unknown, least: number, base: string, name: string): void {
  if (typeof value !== 'number') throw wrongType(value, pointerTo(base, name), 'an integer')
  if (Number.isSafeInteger(value) && value >= least && !Object.is(value, -0)) return
  const message = `${value} is no integer from ${least} to 2^53-1`
  throw new DomainError('EVENT_MEMBER_VALUE', message, { pointer: pointerTo(base, name) })
}

function checkOneOf(value: unknown, allowed: readonly string[], base: string, name: string): void {
  if (typeof value !== 'string') throw wrongType(value, pointerTo(base, name), 'a string')
  if (allowed.includes(value)) return
  const message = `${quoted(value)} is none of ${allowed.join(', ')}`
  throw new DomainError('EVENT_MEMBER_VALUE', message, { pointer: pointerTo(base, name) })
}

function checkGrammar(value: unknown, grammar: RegExp, base: string, name: string, what: string): void {
  if (typeof value !== 'string') throw wrongType(value, pointerTo(base, name), 'a string')
  if (grammar.test(value)) return
  throw new DomainError('EVENT_MEMBER_VALUE', `${quoted(value)} is not ${what}`, { pointer: pointerTo(base, name) })
}

function members(value: unknown, base: string, what: string): Members {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrongType(value, base, `an object: ${what}`)
  return value as Members
}

function list(value: unknown, base: string, most: number): readonly unknown[] {
  if (!Array.isArray(value)) throw wrongType(value, base, 'an array')
  if (value.length === 0) throw empty(base)
  if (value.length > most) {
    throw new DomainError('EVENT_MEMBER_VALUE', `${value.length} items: the limit is ${most}`, { pointer: base })
  }
  return value as readonly unknown[]
}

function missing(name: string, base: string): DomainError {
  return new DomainError('EVENT_MEMBER_MISSING', `the member ${name} is missing: add it`, {
    pointer: pointerTo(base, name),
  })
}

function empty(pointer: string): DomainError {
  return new DomainError('EVENT_MEMBER_VALUE', 'empty: leave the member out where there is nothing to say', { pointer })
}

function wrongType(value: unknown, pointer: string, expected: string): DomainError {
  const found = value === null ? 'null' : Array.isArray(value) ? 'an array' : `of type ${typeof value}`
  const advice = value === null || value === undefined ? ': leave the member out where there is nothing to say' : ''
  return new DomainError('EVENT_MEMBER_TYPE', `this is ${found}, not ${expected}${advice}`, { pointer })
}

function unknownMember(name: string, base: string, known: string): DomainError {
  const reason = Object.hasOwn(SET_BY_THE_LOG, name) ? SET_BY_THE_LOG[name] : undefined
  const advice = reason ?? `the members here are ${known}; what else there is to say goes into data`
  return new DomainError('EVENT_UNKNOWN_MEMBER', `${quoted(name)} is no member here: ${advice}`, {
    pointer: pointerTo(base, name),
  })
}

/** A caller's text as a message can quote it. */
function quoted(text: string): string {
  return JSON.stringify(text.length <= 80 ? text : `${text.slice(0, 72)}…`)
}
