import { DomainError } from '../errors.js'

/** The largest leaf in bytes: a C2SP entry bundle stores a leaf's length as a uint16. */
export const MAX_LEAF_BYTES = 65_535

/** The version of the leaf's format that is written. */
export const LEAF_VERSION = 1

export const TENANT = /^[a-z][a-z0-9-]{1,62}$/
/** Principals (`person:01J…`, `service:billing`) and credentials (`via`: `token:01J…`, `session:01J…`, `host`). */
export const PRINCIPAL = /^[A-Za-z0-9._:@-]{1,128}$/
/** A stream's name; at most `MAX_STREAM_BYTES` long, which the grammar does not say. */
export const STREAM = /^[a-z][a-z0-9-]*(?:\/[A-Za-z0-9._:@-]+)+$/
export const MAX_STREAM_BYTES = 255
const LOG = /^[0-9a-f]{32}$/
const AT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

/** The leaf's `entry` member: what the log itself attests. */
export interface Envelope {
  /** Recorded time, `2026-11-20T10:00:00.123Z`: exactly three fractional digits, UTC. */
  at: string
  /** The principal that submitted it. */
  by: string
  /** The log's identity, 32 hex digits. */
  log: string
  seq: number
  stream?: string
  tenant: string
  /** Its number in the stream, from 1; given exactly where `stream` is. */
  version?: number
  /** The credential used. */
  via: string
}

const OPENING = '{"entry":{"at":"'

/** What a leaf holds before its `event` member, so that leaf = prefix + eventText + `}`. All of it is ASCII. */
export function leafPrefix(envelope: Envelope): string {
  const parts = envelopeParts(envelope)
  return parts.open + checked(envelope.at, AT, 'at') + parts.afterAt + place(envelope.seq, 0) + parts.afterSeq
}

/** A prefix without its time and place: `open + at + afterAt + seq + afterSeq`. */
export interface EnvelopeParts {
  open: string
  afterAt: string
  afterSeq: string
  /** Bytes of the whole leaf but for its event, at the longest `seq`: what `checkLeafSize` counts with. */
  overhead: number
}

/**
 * The prefix but for what changes from entry to entry, to be kept per tenant, principal and credential.
 * @throws RangeError when a value breaks its grammar: values come from credentials and tables, so that is a bug
 */
export function envelopeParts(envelope: Omit<Envelope, 'at' | 'seq'>): EnvelopeParts {
  const { stream, version } = envelope
  if ((stream === undefined) !== (version === undefined)) throw new RangeError('a stream and a version come together')
  const by = checked(envelope.by, PRINCIPAL, 'by')
  const log = checked(envelope.log, LOG, 'log')
  const tenant = checked(envelope.tenant, TENANT, 'tenant')
  const via = checked(envelope.via, PRINCIPAL, 'via')
  const afterAt = `","by":"${by}","log":"${log}","seq":`
  const ofStream = stream === undefined ? '' : `,"stream":"${checkedStream(stream)}"`
  const ofVersion = version === undefined ? '' : `,"version":${place(version, 1)}`
  const afterSeq = `${ofStream},"tenant":"${tenant}","v":${LEAF_VERSION}${ofVersion},"via":"${via}"},"event":`
  const overhead = OPENING.length + AT_LENGTH + afterAt.length + LONGEST_SEQ + afterSeq.length + '}'.length
  return { open: OPENING, afterAt, afterSeq, overhead }
}

/** Characters of a recorded time. */
const AT_LENGTH = 24
/** Digits of 2^53 - 1: the size is checked before the place is known. */
const LONGEST_SEQ = 16

/**
 * Refuses an event whose leaf would be too large wherever it came to stand in the log.
 * @param overhead `EnvelopeParts.overhead`
 * @param eventBytes bytes of the canonical `event` member
 * @throws DomainError EVENT_TOO_LARGE, saying how large and the limit
 */
export function checkLeafSize(
  overhead: number,
  eventBytes: number,
  where: { pointer?: string; index?: number } = {},
): void {
  const size = overhead + eventBytes
  if (size <= MAX_LEAF_BYTES) return
  const message =
    `the entry would be ${size} bytes long, and the limit is ${MAX_LEAF_BYTES} ` +
    `(${overhead} of them are the log's own): store large content elsewhere and report its digest`
  throw new DomainError('EVENT_TOO_LARGE', message, where)
}

const ENVELOPE =
  /^\{"entry":\{"at":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)","by":"([A-Za-z0-9._:@-]{1,128})","log":"([0-9a-f]{32})","seq":(0|[1-9]\d{0,15})(?:,"stream":"([a-z][a-z0-9-]*(?:\/[A-Za-z0-9._:@-]+)+)")?,"tenant":"([a-z][a-z0-9-]{1,62})","v":1(?:,"version":([1-9]\d{0,15}))?,"via":"([A-Za-z0-9._:@-]{1,128})"\},"event":/

/** More than the longest prefix there can be. */
const PREFIX_BYTES = 1024

/**
 * Reads a leaf's `entry` member from the opening bytes, by their grammar alone and without parsing what follows.
 * @returns undefined when the bytes do not open as a leaf of version 1 does
 */
export function parseEnvelope(leaf: Uint8Array): Envelope | undefined {
  const match = ENVELOPE.exec(latin1(leaf, 0, PREFIX_BYTES))
  if (match === null) return undefined
  const [, at = '', by = '', log = '', seq = '', stream, tenant = '', version, via = ''] = match
  if ((stream === undefined) !== (version === undefined)) return undefined
  if (stream !== undefined && stream.length > MAX_STREAM_BYTES) return undefined
  const envelope: Envelope = { at, by, log, seq: Number(seq), tenant, via }
  if (stream !== undefined) envelope.stream = stream
  if (version !== undefined) envelope.version = Number(version)
  const safe = Number.isSafeInteger(envelope.seq) && Number.isSafeInteger(envelope.version ?? 1)
  return safe ? envelope : undefined
}

const CLOSING = /"type":"([A-Za-z0-9_.-]{1,128})"\}\}$/
const CLOSING_BYTES = 160

/**
 * The event's type, read from the closing bytes: members are sorted, so `type` closes every leaf.
 * @returns undefined when the bytes do not close as a leaf does
 */
export function leafType(leaf: Uint8Array): string | undefined {
  return CLOSING.exec(latin1(leaf, leaf.length - CLOSING_BYTES, leaf.length))?.[1]
}

/**
 * @throws RangeError when no leaf could name this tenant, principal, credential or stream: they come from credentials and
 * tables, so that is a bug
 */
export function checkPrincipal(from: {
  tenant: string
  by: string
  via: string
  stream?: { name: string } | undefined
}): void {
  checked(from.tenant, TENANT, 'tenant')
  checked(from.by, PRINCIPAL, 'by')
  checked(from.via, PRINCIPAL, 'via')
  if (from.stream) checkedStream(from.stream.name)
}

function latin1(bytes: Uint8Array, start: number, end: number): string {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  return buffer.toString('latin1', Math.max(0, start), Math.min(end, buffer.length))
}

function checked(value: string, grammar: RegExp, name: string): string {
  if (!grammar.test(value)) throw new RangeError(`${name} breaks its grammar: ${JSON.stringify(value)}`)
  return value
}

function checkedStream(stream: string): string {
  if (stream.length > MAX_STREAM_BYTES) throw new RangeError(`a stream's name of ${stream.length} bytes`)
  return checked(stream, STREAM, 'stream')
}

function place(value: number, least: number): string {
  if (!Number.isSafeInteger(value) || value < least) throw new RangeError(`no place in a log: ${value}`)
  return String(value)
}
