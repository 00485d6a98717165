import { hash } from 'node:crypto'
import { DomainError } from '../errors.js'
import {
  fromBatch,
  fromBinary,
  fromStructured,
  isBinaryMode,
  pointerInCloudEvent,
  type CloudEvent,
} from '../ledger/cloudevents.js'
import { checkEvent, type EventInput } from '../ledger/event.js'
import { parseStrict, parseStrictLines } from '../ledger/gate.js'

/** Events in one request at most. */
export const MAX_EVENTS = 1000

/** The ways in which a request may carry events. */
export type Mode = 'json' | 'ndjson' | 'cloudevent' | 'cloudevent-batch' | 'cloudevent-binary'

const MODES: Readonly<Record<string, Mode>> = {
  'application/json': 'json',
  'application/x-ndjson': 'ndjson',
  'application/ndjson': 'ndjson',
  'application/cloudevents+json': 'cloudevent',
  'application/cloudevents-batch+json': 'cloudevent-batch',
}

type Headers = Readonly<Record<string, string | string[] | undefined>>

/**
 * How a request carries its events, told by its headers.
 * @throws DomainError CONTENT_TYPE_UNSUPPORTED
 */
export function modeOf(headers: Headers): Mode {
  const encoding = headers['content-encoding']
  if (encoding !== undefined && encoding !== 'identity') {
    throw new DomainError('CONTENT_TYPE_UNSUPPORTED', 'compressed bodies are not taken: send the body as it is', {
      pointer: '/content-encoding',
    })
  }
  const contentType = headers['content-type']
  if (contentType === 'application/json' && headers['ce-specversion'] === undefined) return 'json'
  const [type = '', ...parameters] = String(contentType ?? '').split(';')
  const mode = MODES[type.trim().toLowerCase()]
  // A structured event may repeat its attributes in headers (HTTP binding §3.2), so its content type decides.
  if (isBinaryMode(headers) && (mode === undefined || mode === 'json')) return 'cloudevent-binary'
  if (mode === undefined) {
    throw new DomainError(
      'CONTENT_TYPE_UNSUPPORTED',
      `${contentType === undefined ? 'no content type was sent' : `${JSON.stringify(type.slice(0, 80))} is not taken`}: ` +
        `send ${Object.keys(MODES).join(', ')}, or a CloudEvent in binary mode with its ce- headers`,
    )
  }
  for (const parameter of parameters) {
    const [name = '', value = ''] = parameter.split('=')
    if (name.trim().toLowerCase() !== 'charset') continue
    if (!/^"?utf-?8"?$/i.test(value.trim())) {
      throw new DomainError(
        'CONTENT_TYPE_UNSUPPORTED',
        'JSON is sent in UTF-8: drop the charset, or send charset=utf-8',
      )
    }
  }
  return mode
}

export interface EventsBody {
  readonly events: readonly EventInput[]
  /** What tells CloudEvents apart, one by one; absent for events of ours. */
  readonly keys?: readonly string[]
  /** It carries a list, even if a list of one. */
  readonly batch: boolean
}

/**
 * Reads a body: gate, then member by member.
 * @throws DomainError JSON_*, EVENT_*, CLOUDEVENT_INVALID, BATCH_EMPTY, BATCH_TOO_LARGE; in a batch with the index
 */
export function readEvents(mode: Mode, headers: Headers, body: Buffer): EventsBody {
  if (mode === 'json') return readJson(body)
  if (mode === 'ndjson') return { events: readLines(body), batch: true }
  if (mode === 'cloudevent') return ofCloudEvents([fromStructured(parseStrict(body))], false)
  if (mode === 'cloudevent-binary') return ofCloudEvents([fromBinary(headers, body)], false)
  return ofCloudEvents(readBatch(body), true)
}

/** An error that blames an event, with a pointer that begins at it, as whoever sent the body looks for its place. */
export function inBody(error: unknown, { keys, batch }: EventsBody): unknown {
  if (!(error instanceof DomainError) || error.index === undefined) return error
  const { code, message, index } = error
  const pointer = keys ? pointerInCloudEvent(error.pointer ?? '') : (error.pointer ?? '')
  return batch ? inBatch(error, index, `/${index}${pointer}`) : new DomainError(code, message, { pointer })
}

/** What an Idempotency-Key stands for: the body and, where attributes came beside it, those too. */
export function identityOf(mode: Mode, headers: Headers, body: Buffer): Buffer {
  if (mode !== 'cloudevent-binary') return body
  const attributes = Object.entries(headers)
    .filter(([name]) => name.startsWith('ce-') || name === 'content-type')
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return Buffer.concat([Buffer.from(`${JSON.stringify(attributes)}\n`), body])
}

function readJson(body: Buffer): EventsBody {
  if (!isArray(body)) return { events: [checkEvent(parseStrict(body), '')], batch: false }
  const events = indexed(() => {
    const values = parseStrict(body) as unknown[]
    checkCount(values.length)
    return values.map((value, index) => checkEvent(value, `/${index}`))
  })
  return { events, batch: true }
}

function readLines(body: Buffer): EventInput[] {
  const events: EventInput[] = []
  indexed(() => {
    for (const { index, value } of parseStrictLines(body)) {
      if (index === MAX_EVENTS) checkCount(index + 1)
      events.push(checkEvent(value, `/${index}`))
    }
  })
  checkCount(events.length)
  return events
}

function readBatch(body: Buffer): CloudEvent[] {
  return indexed(() => {
    const batch = parseStrict(body)
    if (Array.isArray(batch)) checkCount(batch.length)
    return fromBatch(batch)
  })
}

function ofCloudEvents(parsed: readonly CloudEvent[], batch: boolean): EventsBody {
  return { events: parsed.map(({ event }) => event), keys: parsed.map(({ key }) => keyText(key)), batch }
}

/** Longer keys than a row takes are told apart by their digest. */
function keyText({ source, id }: CloudEvent['key']): string {
  const text = JSON.stringify([source, id])
  return text.length <= 255 && /^[\x20-\x7e]*$/.test(text) ? text : `sha256 ${hash('sha256', text)}`
}

function isArray(body: Buffer): boolean {
  for (const byte of body) {
    if (byte === 0x5b) return true
    if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d) return false
  }
  return false
}

function checkCount(count: number): void {
  if (count === 0)
    throw new DomainError('BATCH_EMPTY', 'there is no event in the body: send at least one', { pointer: '' })
  if (count > MAX_EVENTS) {
    throw new DomainError('BATCH_TOO_LARGE', `more than ${MAX_EVENTS} events: split them over several requests`, {
      pointer: '',
    })
  }
}

/** Errors inside a batch name the event: its index opens their pointer. */
function indexed<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof DomainError) || error.index !== undefined || error.pointer === undefined) throw error
    const first = /^\/(\d+)(?:\/|$)/.exec(error.pointer)?.[1]
    if (first === undefined) throw error
    throw inBatch(error, Number(first), error.pointer)
  }
}

function inBatch({ code, message }: DomainError, index: number, pointer: string): DomainError {
  return new DomainError(code, `event ${index}: ${message}`, { pointer, index })
}
