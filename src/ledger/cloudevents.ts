import { DomainError } from '../errors.js'
import { checkMembers, MAX_ID_BYTES, TRACEPARENT } from './check-event.js'
import type { EventInput, Json } from './event.js'
import { parseStrict } from './gate.js'
import { pointerTo } from './pointer.js'
import { timeFault } from './rfc3339.js'

/** With this `dataschema`, `data` holds members of ours: actor, targets, personal, data and so on. */
export const EVENT_SCHEMA = 'urn:countersign:event:1'

/** A CloudEvent as one of our events. */
export interface CloudEvent {
  /** Checked: it passes `checkEvent`. */
  event: EventInput
  /** What tells it apart from others of the same producer: CloudEvents 1.0.2 §3.1.1. */
  key: { source: string; id: string }
}

type Attributes = Record<string, string | number | boolean>
interface Data {
  data?: Json
  data_base64?: string
}

/**
 * Structured mode: the JSON format (CloudEvents 1.0.2, JSON Event Format). `type`, `id`, `time` and a W3C `traceparent`
 * have members of ours; `source` becomes our source's name where it fits; everything else stands under
 * `data.cloudevents` as it was sent, but for attributes that are null, which the format reads as absent.
 * @param value one event, as it came through the gate
 * @param pointerBase JSON pointer of `value` in what the caller sent; errors point below it
 * @throws DomainError CLOUDEVENT_INVALID, or what `checkEvent` throws
 */
export function fromStructured(value: unknown, pointerBase = ''): CloudEvent {
  if (!isObject(value)) throw invalid('a CloudEvent is an object: send its attributes and data as members', pointerBase)
  const attributes: Attributes = {}
  const data: Data = {}
  for (const [name, member] of Object.entries(value)) {
    const pointer = pointerTo(pointerBase, name)
    if (name === 'data') data.data = member
    else if (name === 'data_base64') data.data_base64 = base64(member, pointer)
    else if (!NAME.test(name)) throw invalid('attribute names are lower-case letters and digits', pointer)
    else if (member !== null) attributes[name] = attribute(member, pointer)
  }
  return toEvent(attributes, data, pointerBase)
}

/** Batched mode: an array of events in the JSON format. */
export function fromBatch(value: unknown, pointerBase = ''): CloudEvent[] {
  if (!Array.isArray(value)) throw invalid('a batch of CloudEvents is an array: send [ … ]', pointerBase)
  return value.map((event, i) => fromStructured(event, pointerTo(pointerBase, i)))
}

/**
 * Binary mode (HTTP Protocol Binding §3.1): attributes in `ce-` headers, the body as data. A JSON body goes through the
 * gate, any other is kept as base64. Errors point to where attribute and data would stand in structured mode.
 * @param headers by lower-case name, as Node gives them
 */
export function fromBinary(
  headers: Readonly<Record<string, string | string[] | undefined>>,
  body: Uint8Array,
): CloudEvent {
  const attributes: Attributes = {}
  for (const [header, value] of Object.entries(headers)) {
    if (!header.startsWith('ce-') || value === undefined) continue
    const name = header.slice('ce-'.length)
    const pointer = pointerTo('', name)
    if (!NAME.test(name)) throw invalid(`no attribute has the name of header ${header}`, pointer)
    if (name === 'data') throw invalid('the data of a binary CloudEvent is the body: drop the header ce-data', pointer)
    if (name === 'datacontenttype') throw invalid('the type of the data is the Content-Type: drop the header', pointer)
    if (typeof value !== 'string') throw invalid(`header ${header} was sent twice: send it once`, pointer)
    attributes[name] = attribute(headerValue(value, pointer), pointer)
  }
  const contentType = headers['content-type']
  if (typeof contentType === 'string') attributes['datacontenttype'] = attribute(contentType, '/datacontenttype')
  return toEvent(attributes, bodyData(attributes['datacontenttype'], body), '')
}

/** Where what stands at a pointer into the event of ours stands in the CloudEvent that it came as. */
export function pointerInCloudEvent(pointer: string): string {
  if (pointer === '') return pointer
  return /^\/data\/cloudevents(?:\/|$)/.test(pointer) ? pointer.slice('/data/cloudevents'.length) : `/data${pointer}`
}

/** Whether a request is a CloudEvent in binary mode: it is when it says which version. */
export function isBinaryMode(headers: Readonly<Record<string, unknown>>): boolean {
  return headers['ce-specversion'] !== undefined
}

const NAME = /^[a-z0-9]+$/
const ABSOLUTE_URI = /^[A-Za-z][A-Za-z0-9+.-]*:./
const MEDIA_TYPE = /^[A-Za-z0-9!#$&^_.+-]+\/[A-Za-z0-9!#$&^_.+-]+[ \t]*(?:;.*)?$/
/** JSON Event Format §3.1.1. */
const JSON_TYPE = /^[^;/]+\/(?:[^;/]+\+)?json[ \t]*(?:;|$)/i
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
/** What a String attribute must not hold (§2.4), lone surrogates apart, which the gate refuses. */
const FORBIDDEN = /[\p{Cc}\p{Noncharacter_Code_Point}]/u

function toEvent(attributes: Attributes, content: Data, base: string): CloudEvent {
  const { specversion, id, source, type, time, traceparent, ...others } = attributes
  if (specversion !== '1.0') throw invalid('specversion must be "1.0"', pointerTo(base, 'specversion'))
  for (const [name, value] of Object.entries({ id, source, type })) required(value, pointerTo(base, name))
  checkOptional(attributes, base)
  if (content.data !== undefined && content.data_base64 !== undefined) {
    throw invalid('data and data_base64 exclude each other: send one of them', pointerTo(base, 'data_base64'))
  }
  const event: Record<string, unknown> = { type, id }
  const kept: Record<string, unknown> = { specversion, ...others }
  if (Buffer.byteLength(String(source)) <= MAX_ID_BYTES) event['source'] = { name: source }
  else kept['source'] = source
  if (time !== undefined) event['occurredAt'] = time
  // One that W3C's grammar does not know is no trace, but an attribute like others.
  if (typeof traceparent === 'string' && TRACEPARENT.test(traceparent)) event['trace'] = traceparent
  else if (traceparent !== undefined) kept['traceparent'] = traceparent
  checkMembers(event, base)
  const whole =
    others['dataschema'] === EVENT_SCHEMA ? withOurs(event, kept, content, base) : withTheirs(event, kept, content)
  return { event: whole as unknown as EventInput, key: { source: String(source), id: String(id) } }
}

function withTheirs(event: object, kept: object, content: Data): object {
  return { ...event, data: { cloudevents: { ...kept, ...content } } }
}

/** The members of ours that `data` holds, beside those that came from attributes: the same one twice is refused. */
function withOurs(event: Record<string, unknown>, kept: object, content: Data, base: string): object {
  const at = pointerTo(base, 'data')
  const ours = content.data
  if (content.data_base64 !== undefined || !isObject(ours)) {
    throw invalid(`with dataschema ${EVENT_SCHEMA}, data is a JSON object of that event's members`, at)
  }
  checkMembers({ type: event['type'], ...ours }, at)
  for (const name of ['type', 'id', 'occurredAt', 'trace']) {
    if (ours[name] !== undefined && event[name] !== undefined && ours[name] !== event[name]) throw conflict(name, at)
  }
  const source = mergedSource(event['source'], ours['source'], at)
  const data: unknown = ours['data']
  if (isObject(data) && data['cloudevents'] !== undefined) throw conflict('cloudevents', pointerTo(at, 'data'))
  const whole: Record<string, unknown> = {
    ...ours,
    ...event,
    data: { ...(data as object | undefined), cloudevents: kept },
  }
  if (source !== undefined) whole['source'] = source
  return whole
}

function mergedSource(theirs: unknown, ours: unknown, at: string): object | undefined {
  const [attribute, member] = [theirs as { name: string } | undefined, ours as { name?: string } | undefined]
  if (attribute !== undefined && member?.name !== undefined && member.name !== attribute.name) {
    throw conflict('name', pointerTo(at, 'source'))
  }
  return attribute === undefined ? member : { ...member, ...attribute }
}

function conflict(name: string, at: string): DomainError {
  return invalid('an attribute of the CloudEvent says this already, and otherwise: send it once', pointerTo(at, name))
}

function required(value: unknown, pointer: string): void {
  if (typeof value !== 'string' || value === '') throw invalid('required: a string that is not empty', pointer)
}

function checkOptional({ subject, dataschema, datacontenttype, time }: Attributes, base: string): void {
  if (subject !== undefined) required(subject, pointerTo(base, 'subject'))
  if (dataschema !== undefined && !(typeof dataschema === 'string' && ABSOLUTE_URI.test(dataschema))) {
    throw invalid('an absolute URI, or leave it out', pointerTo(base, 'dataschema'))
  }
  if (datacontenttype !== undefined && !(typeof datacontenttype === 'string' && MEDIA_TYPE.test(datacontenttype))) {
    throw invalid('a media type such as application/json, or leave it out', pointerTo(base, 'datacontenttype'))
  }
  if (time === undefined) return
  const pointer = pointerTo(base, 'time')
  if (typeof time !== 'string') throw invalid('an RFC 3339 time, as a string', pointer)
  const fault = timeFault(time)
  if (fault !== undefined)
    throw new DomainError('EVENT_TIME', `${JSON.stringify(time.slice(0, 80))} ${fault}`, { pointer })
}

/** §2.4: attributes are strings, booleans or 32-bit integers. */
function attribute(value: unknown, pointer: string): string | number | boolean {
  if (typeof value === 'boolean') return value
  if (typeof value === 'number') {
    if (Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 31) return value
    throw invalid('numbers in attributes are integers of 32 bits: send others as strings', pointer)
  }
  if (typeof value !== 'string')
    throw invalid('attributes are strings, booleans or integers: put structure into data', pointer)
  if (FORBIDDEN.test(value))
    throw invalid('holds a character that attributes must not hold, such as a control one', pointer)
  return value
}

function base64(value: unknown, pointer: string): string {
  if (typeof value === 'string' && BASE64.test(value)) return value
  throw invalid('base64 with padding, as a string', pointer)
}

/** §3.1.3.2: a double-quoted value is unquoted, then one round of percent-decoding. */
function headerValue(value: string, pointer: string): string {
  const quoted = /^"((?:[^"\\]|\\.)*)"$/.exec(value)?.[1]
  const plain = quoted === undefined ? value : quoted.replaceAll(/\\(.)/g, '$1')
  if (/[^\x20-\x7e\t]/.test(plain)) throw invalid('percent-encode what is not printable ASCII', pointer)
  try {
    return decodeURIComponent(plain)
  } catch {
    throw invalid('not percent-encoded UTF-8: write a percent sign as %25', pointer)
  }
}

function bodyData(contentType: unknown, body: Uint8Array): Data {
  if (body.length === 0) return {}
  // Without a type the data is JSON, as in structured mode.
  const isJson = contentType === undefined || (typeof contentType === 'string' && JSON_TYPE.test(contentType))
  if (isJson) return { data: parseStrict(body, '/data') as Json }
  return { data_base64: Buffer.from(body.buffer, body.byteOffset, body.length).toString('base64') }
}

function isObject(value: unknown): value is Record<string, Json> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function invalid(message: string, pointer: string): DomainError {
  return new DomainError('CLOUDEVENT_INVALID', message, { pointer })
}
