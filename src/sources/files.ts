import { createHash, createHmac, type Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { pipeline } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { DomainError } from '../errors.js'
import type { EventInput } from '../ledger/event.js'
import type { OpenSource, Source, SourceItem } from './source.js'

export interface FileOptions {
  path: string
  /**
   * 32 bytes, always the same in an installation: what was imported is recognised by an HMAC under it, because a bare
   * hash of a line that holds a name could be guessed.
   */
  fingerprintKey: Buffer
  /** Names the source, instead of its first record. */
  name?: string | undefined
}

/** What a kind of file holds. */
export interface FileKind {
  kind: 'cloudtrail' | 'ndjson'
  /** One record's bytes as an event. @throws DomainError when they cannot be one */
  map: (record: Buffer) => EventInput
  /** Takes a file apart that is one document and not one record a line; undefined where it is not. */
  split?: (opening: Buffer) => ((document: Buffer) => { pointer: string; bytes: Buffer }[]) | undefined
}

/** A record with its number, from 1: of its line, or of its place in the document. */
interface FileRecord {
  number: number
  where: string
  /** Undefined for a line beyond the limit, which is read past and not kept. */
  bytes: Buffer | undefined
  /** JSON pointer of the record in its document. */
  pointer: string
}

const MOST_LINE_BYTES = 16 * 1024 * 1024
const MOST_DOCUMENT_BYTES = 256 * 1024 * 1024
const OPENING_BYTES = 4096

/**
 * A file of records, plain or gzipped, as a source. It is known by its first record, not by its name: a copy, a renamed
 * file or one that has grown since is the same source, and only what is new in it is imported. The position holds the
 * number of the last record and an HMAC of all that was read up to it, so a file that was changed there is noticed.
 */
export async function fileSource(kind: FileKind, options: FileOptions): Promise<Source> {
  const reading = { ...options, kind }
  let name = options.name
  if (name === undefined) {
    let first: FileRecord | undefined
    for await (const record of recordsOf(reading)) {
      if (record.bytes?.length === 0) continue
      first = record
      break
    }
    const fingerprint = first === undefined ? 'empty' : seal(reading, update(createHash('sha256'), first))
    name = `${kind.kind}:${fingerprint}`
  }
  const source = name
  return { name: source, label: options.path, open: async (after) => openFile(reading, source, after) }
}

interface Reading extends FileOptions {
  kind: FileKind
}

async function openFile(reading: Reading, name: string, after: string | null): Promise<OpenSource> {
  const position = parsePosition(name, after)
  const records = recordsOf(reading)[Symbol.asyncIterator]()
  const read = createHash('sha256')
  let already = 0
  while (already < position.number) {
    const next = await records.next()
    if (next.done === true) throw shorter(reading, name, already, position.number)
    update(read, next.value)
    already = next.value.number
  }
  if (position.number > 0 && seal(reading, read) !== position.seal) throw changed(reading, name, position.number)
  const count = await countRecords(reading)
  return {
    already,
    total: count === undefined ? undefined : Math.max(0, count - already),
    notes: [],
    items: readItems(reading, name, records, read),
  }
}

async function* readItems(
  reading: Reading,
  name: string,
  records: AsyncIterator<FileRecord>,
  read: Hash,
): AsyncGenerator<SourceItem> {
  try {
    for (let next = await records.next(); next.done !== true; next = await records.next()) {
      const record = next.value
      update(read, record)
      if (record.bytes?.length === 0) continue
      const position = `${record.number}:${seal(reading, read)}`
      yield { ...toItem(reading.kind, name, record), position, where: record.where, bytes: record.bytes?.length ?? 0 }
    }
  } finally {
    await records.return?.()
  }
}

function toItem(
  kind: FileKind,
  name: string,
  { bytes, number, pointer }: FileRecord,
): { event: EventInput } | { refused: { code: string; message: string; pointer?: string } } {
  try {
    if (bytes === undefined) {
      throw new DomainError('SOURCE_LINE_TOO_LONG', `the line is longer than ${MOST_LINE_BYTES} bytes: no event is`)
    }
    const event = kind.map(bytes)
    const source = { name, delivery: 'at-least-once', position: String(number), replayable: true } as const
    return { event: event.source === undefined ? { ...event, source } : event }
  } catch (error) {
    if (!(error instanceof DomainError)) throw error
    const at = `${pointer}${error.pointer ?? ''}`
    return { refused: { code: error.code, message: error.message, ...(at === '' ? {} : { pointer: at }) } }
  }
}

async function* recordsOf({ path, kind }: Reading): AsyncGenerator<FileRecord> {
  const compressed = (await readOpening(path, 2)).equals(Buffer.from([0x1f, 0x8b]))
  const stream = (): AsyncIterable<Buffer> => bytesOf(path, compressed)
  let opening = Buffer.alloc(0)
  for await (const chunk of stream()) {
    opening = Buffer.concat([opening, chunk])
    if (opening.length >= OPENING_BYTES) break
  }
  const take = kind.split?.(opening.subarray(0, OPENING_BYTES))
  if (take === undefined) yield* linesOf(path, stream())
  else {
    for (const [index, { pointer, bytes }] of take(await whole(path, stream())).entries()) {
      yield { number: index + 1, where: `${path}: record ${index + 1}`, bytes, pointer }
    }
  }
}

async function* bytesOf(path: string, compressed: boolean): AsyncGenerator<Buffer> {
  const file = createReadStream(path)
  const stream: AsyncIterable<Buffer> = compressed ? pipeline(file, createGunzip(), () => undefined) : file
  try {
    yield* stream
  } catch (error) {
    throw unreadable(path, error)
  }
}

async function* linesOf(path: string, stream: AsyncIterable<Buffer>): AsyncGenerator<FileRecord> {
  let number = 0
  let parts: Buffer[] = []
  let length = 0
  const record = (): FileRecord => {
    number += 1
    const bytes = length > MOST_LINE_BYTES ? undefined : Buffer.concat(parts)
    const blank = bytes !== undefined && bytes.every((byte) => byte === 0x20 || byte === 0x0d || byte === 0x09)
    parts = []
    length = 0
    return { number, where: `${path}:${number}`, bytes: blank ? Buffer.alloc(0) : bytes, pointer: '' }
  }
  const keep = (part: Buffer): void => {
    length += part.length
    if (length <= MOST_LINE_BYTES) parts.push(part)
    else parts = []
  }
  for await (const chunk of stream) {
    let from = 0
    for (let feed = chunk.indexOf(0x0a); feed >= 0; feed = chunk.indexOf(0x0a, from)) {
      keep(chunk.subarray(from, feed))
      yield record()
      from = feed + 1
    }
    keep(chunk.subarray(from))
  }
  if (length > 0) yield record()
}

async function whole(path: string, stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of stream) {
    parts.push(part)
    length += part.length
    if (length > MOST_DOCUMENT_BYTES) {
      throw new DomainError(
        'SOURCE_DOCUMENT_TOO_LARGE',
        `${path} is one document of more than ${MOST_DOCUMENT_BYTES} bytes: write its records one a line`,
      )
    }
  }
  return Buffer.concat(parts)
}

/** Counts the line feeds of a plain file of lines, for progress only; undefined where that would mean reading it all twice as slowly. */
async function countRecords(reading: Reading): Promise<number | undefined> {
  const opening = await readOpening(reading.path, OPENING_BYTES)
  if (opening[0] === 0x1f || reading.kind.split?.(opening) !== undefined) return undefined
  let lines = 0
  let last = 0x0a
  for await (const chunk of createReadStream(reading.path) as AsyncIterable<Buffer>) {
    for (let at = chunk.indexOf(0x0a); at >= 0; at = chunk.indexOf(0x0a, at + 1)) lines += 1
    last = chunk.at(-1) ?? last
  }
  return last === 0x0a ? lines : lines + 1
}

/** @throws DomainError SOURCE_FILE_UNREADABLE */
async function readOpening(path: string, bytes: number): Promise<Buffer> {
  try {
    if ((await stat(path)).isDirectory()) throw new Error('it is a folder')
    const file = await open(path, 'r')
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, 0)
      return buffer.subarray(0, bytesRead)
    } finally {
      await file.close()
    }
  } catch (error) {
    throw unreadable(path, error)
  }
}

function unreadable(path: string, error: unknown): DomainError {
  const why = error instanceof Error ? error.message : String(error)
  return new DomainError('SOURCE_FILE_UNREADABLE', `${path} cannot be read: ${why}`)
}

function update(hash: Hash, { bytes }: FileRecord): Hash {
  // A line beyond the limit is told apart from an empty one; a missing last line feed makes no difference.
  return hash.update(bytes ?? 'too long').update('\n')
}

function seal({ fingerprintKey }: FileOptions, read: Hash): string {
  return createHmac('sha256', fingerprintKey).update(read.copy().digest()).digest('hex').slice(0, 32)
}

function parsePosition(name: string, text: string | null): { number: number; seal: string } {
  if (text === null) return { number: 0, seal: '' }
  const match = /^(\d{1,15}):([0-9a-f]{32})$/.exec(text)
  if (match === null) {
    throw new DomainError('SOURCE_POSITION_UNKNOWN', `the position of source ${name} is not one of a file: ${text}`)
  }
  return { number: Number(match[1]), seal: match[2] ?? '' }
}

function changed({ path }: FileOptions, name: string, number: number): DomainError {
  return new DomainError(
    'SOURCE_REWRITTEN',
    `${path} begins like source ${name}, but was changed at or before record ${number}, the last one imported. Import the ` +
      `unchanged file, or this one under another source name.`,
  )
}

function shorter({ path }: FileOptions, name: string, holds: number, imported: number): DomainError {
  return new DomainError(
    'SOURCE_REWRITTEN',
    `${path} holds ${holds} lines, but ${imported} of source ${name} were imported: it was cut short. Import the whole ` +
      `file, or this one under another source name.`,
  )
}
