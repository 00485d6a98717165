import { DomainError } from '../errors.js'
import type { EventInput, Json, PartyInput, PersonalInput } from '../ledger/event.js'
import { fits, isObject, part, type JsonObject } from './cloudtrail-fields.js'
import { actorOf, isPersonArn, type Actor } from './cloudtrail-people.js'

/** The most targets that an event holds. */
const MOST_TARGETS = 32

/** Members with places of their own: in `id`, `occurredAt`, `reason` and `targets`. */
const PLACED = ['eventID', 'eventTime', 'errorCode', 'resources']

/**
 * One CloudTrail record as an event. Every value of the record is found in it: in `id`, `occurredAt`, `reason`,
 * `targets`, at its own path in `data`, or at its own path in a sealed group. Only members of an allowlist, and only in
 * the forms listed there, stand in clear.
 * @throws DomainError CLOUDTRAIL_NOT_A_RECORD when `value` has no event source and name
 */
export function cloudtrailEvent(value: unknown): EventInput {
  const record = expectRecord(value)
  const actor = actorOf(record)
  const eventID = take(record, 'eventID', /^[A-Za-z0-9-]{1,64}$/)
  const eventTime = take(record, 'eventTime', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/)
  const errorCode = take(record, 'errorCode', /^[A-Za-z][A-Za-z0-9._-]{0,63}$/)
  const taken = { eventID, eventTime, errorCode, resources: resourceList(record) }
  const placed = new Set(PLACED.filter((name) => taken[name as keyof typeof taken] !== undefined))
  const user = iamUser(record)
  const { clear, sealed } = part(user === undefined ? record : user.record, placed)
  const resources = placeResources(taken.resources ?? [], actor)
  const personal: PersonalInput[] = [
    ...[...sealed].map(([group, data]) => ({ group, subject: actor.subject, data })),
    ...resources.personal,
    ...(user === undefined ? [] : [user.personal]),
  ]
  const { targets } = resources
  if (user !== undefined) enter(targets, user.party)
  return {
    type: eventType(record),
    ...(eventID === undefined ? {} : { id: eventID }),
    ...(eventTime === undefined ? {} : { occurredAt: eventTime }),
    ...(actor.party === undefined ? {} : { actor: actor.party }),
    ...(targets.length === 0 ? {} : { targets }),
    outcome: outcomeOf(record),
    ...(errorCode === undefined ? {} : { reason: errorCode }),
    data: { ...clear, ...(resources.clear.length === 0 ? {} : { resources: resources.clear }) },
    ...(personal.length === 0 ? {} : { personal }),
  }
}

function expectRecord(value: unknown): JsonObject {
  const record = value as Json
  for (const member of ['eventSource', 'eventName']) {
    if (!isObject(record) || typeof record[member] !== 'string') {
      throw new DomainError(
        'CLOUDTRAIL_NOT_A_RECORD',
        `this is no CloudTrail record: it has no ${member}. A record is an object with eventSource, eventName, eventTime, …`,
        { pointer: `/${member}` },
      )
    }
  }
  return record as JsonObject
}

function take(record: JsonObject, member: string, form: RegExp): string | undefined {
  const value = record[member]
  return typeof value === 'string' && form.test(value) ? value : undefined
}

/**
 * `aws.s3.GetBucketPolicy`: the service as CloudTrail names it, and the operation in its own case. What has not the form
 * of such a name may be anything, and is sealed: the type then says `other`.
 */
function eventType({ eventSource, eventName }: JsonObject): string {
  const service = fits('eventSource', eventSource) ? eventSource.replace(/\.amazonaws\.com$/, '') : 'other'
  const type = `aws.${service}.${fits('eventName', eventName) ? eventName : 'other'}`
  return type.length <= 128 ? type : `aws.${service.slice(0, 100)}.other`.replaceAll('..', '.')
}

const DENIED = /AccessDenied|Unauthori[sz]ed|NotAuthori[sz]ed|Forbidden|AuthFailure/i

function outcomeOf(record: JsonObject): NonNullable<EventInput['outcome']> {
  const { errorCode, errorMessage, responseElements } = record
  if (typeof errorCode === 'string') return DENIED.test(errorCode) ? 'denied' : 'failure'
  // A failed sign-in has no error code: it says so in its answer, and mostly in a message.
  if (isObject(responseElements) && responseElements['ConsoleLogin'] === 'Failure') return 'denied'
  return typeof errorMessage === 'string' ? 'failure' : 'success'
}

function resourceList(record: JsonObject): JsonObject[] | undefined {
  const list = record['resources']
  return Array.isArray(list) && list.length > 0 && list.every(isObject) ? list : undefined
}

interface Resources {
  targets: PartyInput[]
  /** Per resource what may stand in clear, and the index of its target. */
  clear: Json[]
  personal: PersonalInput[]
}

/**
 * Each resource becomes a target: in clear by its ARN, a person's by a pseudonym, one that names the actor as something
 * of the actor's. What of it is not in clear lies in `resource-<n>`, n from 1; beyond the most targets, in `resources`.
 */
function placeResources(resources: readonly JsonObject[], actor: Actor): Resources {
  const placed: Resources = { targets: [], clear: [], personal: [] }
  const beyond: JsonObject = {}
  for (const [index, resource] of resources.entries()) {
    const { accountId, type, ARN: arn, ...rest } = resource
    const clear: JsonObject = {}
    const hidden: JsonObject = { ...rest }
    place(clear, hidden, 'accountId', accountId, /^\d{12}$/)
    place(clear, hidden, 'type', type, /^[A-Za-z0-9]+(::[A-Za-z0-9]+){1,3}$/)
    const target = typeof arn === 'string' ? targetOf(arn, clear['type'], actor) : undefined
    if (arn !== undefined && (target === undefined || target.hides)) hidden['ARN'] = arn
    if (target !== undefined) {
      const at = enter(placed.targets, target.party)
      if (at !== undefined) clear['target'] = at
      else if (arn !== undefined) hidden['ARN'] = arn
    }
    placed.clear.push(clear)
    if (Object.keys(hidden).length === 0) continue
    if (index < MOST_TARGETS) {
      placed.personal.push({ group: `resource-${index + 1}`, subject: target?.subject ?? actor.subject, data: hidden })
    } else beyond[String(index + 1)] = hidden
  }
  if (Object.keys(beyond).length > 0) {
    placed.personal.push({ group: 'resources', subject: actor.subject, data: beyond })
  }
  return placed
}

function place(clear: JsonObject, hidden: JsonObject, member: string, value: Json | undefined, form: RegExp): void {
  if (value === undefined) return
  if (typeof value === 'string' && form.test(value)) clear[member] = value
  else hidden[member] = value
}

interface Target {
  party: PartyInput
  /** Whether the ARN is not readable from the target. */
  hides: boolean
  subject?: { kind: string; value: string }
}

function targetOf(arn: string, type: Json | undefined, actor: Actor): Target | undefined {
  const named = typeof type === 'string' ? { type } : {}
  if (isPersonArn(arn)) {
    const subject = { kind: 'aws-arn', value: arn }
    return { party: { ...subject, ...named }, hides: true, subject }
  }
  if (actor.names.some((name) => arn.includes(name))) {
    return { party: { ...actor.subject, ...named }, hides: true, subject: actor.subject }
  }
  // The key of an object in a bucket is free text that people write; the bucket is not.
  const bucket = /^(arn:[a-z-]+:s3:::[^/]+)\//.exec(arn)?.[1]
  if (bucket !== undefined) return { party: { id: bucket, ...named }, hides: true }
  return /^arn:[\x21-\x7e]{1,250}$/.test(arn) ? { party: { id: arn, ...named }, hides: false } : undefined
}

/** The target's index, whether it is new or known; undefined when there is no more room. */
function enter(targets: PartyInput[], party: PartyInput): number | undefined {
  const text = JSON.stringify(party)
  const known = targets.findIndex((target) => JSON.stringify(target) === text)
  if (known >= 0) return known
  return targets.length < MOST_TARGETS ? targets.push(party) - 1 : undefined
}

interface IamUser {
  party: PartyInput
  personal: PersonalInput
  /** The record without the name. */
  record: JsonObject
}

/** IAM says in its parameters which user an operation is about: a person of their own, and so a target with a group. */
function iamUser(record: JsonObject): IamUser | undefined {
  const { eventSource, requestParameters, recipientAccountId } = record
  if (eventSource !== 'iam.amazonaws.com' || !isObject(requestParameters)) return undefined
  const { userName, ...others } = requestParameters
  if (typeof userName !== 'string' || !/^[\w+=,.@-]{1,64}$/.test(userName)) return undefined
  if (typeof recipientAccountId !== 'string') return undefined
  const subject = { kind: 'aws-arn', value: `arn:aws:iam::${recipientAccountId}:user/${userName}` }
  return {
    party: { ...subject, type: 'AWS::IAM::User' },
    personal: { group: 'user', subject, data: { requestParameters: { userName } } },
    record: { ...record, requestParameters: others },
  }
}
