import type pg from 'pg'
import { isLendingSocket } from '../db/lending-socket.js'

/**
 * One row of a binary COPY where it lies on the wire: `starts[i]` and `lengths[i]` of column i in `bytes`, length -1 for
 * null. All of it is valid until the handler returns; the bytes may be scribbled on.
 */
export interface CopiedRow {
  bytes: Buffer
  /** Over the same memory as `bytes`. */
  view: DataView
  readonly starts: number[]
  readonly lengths: number[]
}

/**
 * Streams a query's rows by COPY in binary, at the pace of `onRow`. The rows are read where they lie on the wire: a stream
 * that hands them on costs as much per row as hashing one (measured).
 * @param select without parameters; COPY takes none
 * @param onChunk after each piece of the wire, with the rows so far
 * @returns how many rows there were
 */
export async function copyRows(
  client: pg.Client,
  select: string,
  columns: number,
  onRow: (row: CopiedRow) => void,
  onChunk?: (rows: number) => void,
): Promise<number> {
  const reader = new RowReader(columns, onRow)
  return new Promise((resolve, reject) => {
    client.query(
      new CopyOut(`copy (${select}) to stdout (format binary)`, reader, onChunk, (error) => {
        if (error) reject(error)
        else resolve(reader.rows)
      }),
    )
  })
}

/** Cuts the messages of a binary COPY into rows: the protocol promises one row per message, the header before the first. */
class RowReader {
  rows = 0
  private readonly columns: number
  private readonly onRow: (row: CopiedRow) => void
  private readonly row: CopiedRow

  constructor(columns: number, onRow: (row: CopiedRow) => void) {
    this.columns = columns
    this.onRow = onRow
    const none = Array.from({ length: columns }, () => 0)
    this.row = { bytes: NOTHING, view: viewOf(NOTHING), starts: [...none], lengths: [...none] }
  }

  /** Takes the message's content at `bytes[at, end)`. */
  read(bytes: Buffer, view: DataView, at: number, end: number): void {
    const { columns, row, onRow } = this
    const { starts, lengths } = row
    if (this.rows === 0 && end - at >= HEADER_BYTES && SIGNATURE.compare(bytes, at, at + SIGNATURE.length) === 0) {
      at += HEADER_BYTES
    }
    while (at < end) {
      const count = view.getInt16(at)
      at += 2
      if (count === END) return
      if (count !== columns) throw new Error(`a COPY row of ${count} columns instead of ${columns}`)
      for (let column = 0; column < columns; column++) {
        const length = view.getInt32(at)
        at += 4
        starts[column] = at
        lengths[column] = length
        if (length > 0) at += length
      }
      if (at > end) throw new Error('a COPY row ends behind its message')
      row.bytes = bytes
      row.view = view
      this.rows++
      onRow(row)
    }
  }
}

const NOTHING = Buffer.alloc(0)
/** PGCOPY\n\xff\r\n\0; then flags (4) and length of the extension (4), both zero. */
const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1')
const HEADER_BYTES = SIGNATURE.length + 8
/** Where a row's count of columns would be, at the end. */
const END = -1

/** Messages: a code, then an int32 length that counts itself. */
const MESSAGE_HEADER_BYTES = 5
const COPY_DATA = 0x64
const COPY_DONE = 0x63
const ERROR = 0x45

/**
 * A query that reads the answer to COPY off the socket itself and hands the connection back to `pg` behind it, at the
 * first error too.
 */
class CopyOut implements pg.Submittable {
  private readonly text: string
  private readonly reader: RowReader
  private readonly onChunk: ((rows: number) => void) | undefined
  private done: ((error?: Error) => void) | undefined
  private stream: pg.Connection['stream'] | undefined
  private theirs: ((chunk: Buffer) => void) | undefined
  /** A message that straddles two pieces of the wire, as far as it has come. Its memory is kept. */
  private rest = Buffer.allocUnsafe(64 * 1024)
  private restView = viewOf(this.rest)
  private restBytes = 0

  constructor(
    text: string,
    reader: RowReader,
    onChunk: ((rows: number) => void) | undefined,
    done: (error?: Error) => void,
  ) {
    this.text = text
    this.reader = reader
    this.onChunk = onChunk
    this.done = done
  }

  submit(connection: pg.Connection): void {
    this.stream = connection.stream
    const [listener, ...others] = this.stream.listeners('data')
    if (!listener || others.length > 0) throw new Error('the connection is not as pg leaves it')
    this.theirs = listener as (chunk: Buffer) => void
    this.stream.off('data', this.theirs)
    this.stream.on('data', this.ours)
    if (isLendingSocket(this.stream)) this.stream.lends = true
    connection.query(this.text)
  }

  handleError(error: Error): void {
    this.handBack(NOTHING)
    this.finish(error)
  }

  handleReadyForQuery(): void {
    this.finish()
  }

  handleCommandComplete(): void {
    // The rows have been counted.
  }

  private finish(error?: Error): void {
    this.done?.(error)
    this.done = undefined
  }

  private readonly ours = (chunk: Buffer): void => {
    try {
      this.take(chunk)
      this.onChunk?.(this.reader.rows)
    } catch (error) {
      // Whoever threw did not finish reading: the connection is of no use any more.
      this.finish(error instanceof Error ? error : new Error(String(error)))
      this.stream?.destroy()
    }
  }

  private take(chunk: Buffer): void {
    let at = 0
    if (this.restBytes > 0) {
      at = this.complete(chunk)
      if (at < 0) return
    }
    const view = viewOf(chunk)
    while (at + MESSAGE_HEADER_BYTES <= chunk.length) {
      const end = at + 1 + view.getUint32(at + 1)
      if (end > chunk.length) break
      if (!this.message(chunk, view, at, end)) return
      at = end
    }
    this.keep(chunk, at, chunk.length)
  }

  /** Takes one whole message. @returns whether there is more for us; if not, the connection is handed back */
  private message(bytes: Buffer, view: DataView, at: number, end: number, behind: Buffer = NOTHING): boolean {
    const code = view.getUint8(at)
    if (code === COPY_DATA) {
      this.reader.read(bytes, view, at + MESSAGE_HEADER_BYTES, end)
      return true
    }
    if (code !== COPY_DONE && code !== ERROR) return true
    const left = bytes.subarray(code === ERROR ? at : end, bytes === this.rest ? end : bytes.length)
    this.handBack(behind.length === 0 ? left : Buffer.concat([left, behind]))
    return false
  }

  /** @returns where in `chunk` it goes on behind the message that was incomplete, or -1 where nothing is left for us */
  private complete(chunk: Buffer): number {
    let at = 0
    for (const known of [false, true]) {
      const wanted = known ? 1 + this.restView.getUint32(1) : MESSAGE_HEADER_BYTES
      const piece = Math.min(Math.max(0, wanted - this.restBytes), chunk.length - at)
      this.keep(chunk, at, at + piece)
      at += piece
      if (this.restBytes < wanted) return -1
    }
    const end = this.restBytes
    this.restBytes = 0
    return this.message(this.rest, this.restView, 0, end, chunk.subarray(at)) ? at : -1
  }

  private keep(bytes: Buffer, start: number, end: number): void {
    const needed = this.restBytes + end - start
    if (needed > this.rest.length) {
      const larger = Buffer.allocUnsafe(2 * needed)
      this.rest.copy(larger, 0, 0, this.restBytes)
      this.rest = larger
      this.restView = viewOf(larger)
    }
    bytes.copy(this.rest, this.restBytes, start, end)
    this.restBytes = needed
  }

  private handBack(behind: Buffer): void {
    const { stream, theirs } = this
    if (!stream || !theirs) return
    this.theirs = undefined
    if (isLendingSocket(stream)) stream.lends = false
    stream.off('data', this.ours)
    stream.on('data', theirs)
    // A copy: pg keeps views of what it is given, and ours is written over.
    if (behind.length > 0) theirs(Buffer.from(behind))
  }
}

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}
