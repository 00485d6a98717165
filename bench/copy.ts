import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import type pg from 'pg'
import copyStreams from 'pg-copy-streams'
import { envelopeParts } from '../src/ledger/envelope.js'
import { timestamptz } from '../src/ledger/wire.js'
import { principal, preparedOf, TENANTS } from './store.js'

const COLUMNS = 5
const HEADER = Buffer.from('5047434f50590aff0d0a000000000000000000', 'hex')
const TRAILER = Buffer.from('ffff', 'hex')

/** The bytes that binary COPY wants for `count` entries like ours, in chunks: made before the clock starts. */
export function copyChunks(count: number): Buffer[] {
  const chunks: Buffer[] = [HEADER]
  const now = Date.now()
  const hash = Buffer.alloc(32, 7)
  for (let n = 0; n < count; n++) {
    const { tenant, id, via } = principal(n)
    const parts = envelopeParts({ by: id, via, log: '0'.repeat(32), tenant })
    const seq = Math.floor(n / TENANTS)
    const prefix = parts.open + new Date(now).toISOString() + parts.afterAt + String(seq) + parts.afterSeq
    const leaf = Buffer.concat([Buffer.from(prefix), preparedOf(n).body, Buffer.from('}')])
    chunks.push(row([Buffer.from(tenant), int8(seq), int8(timestamptz(now)), leaf, hash]))
  }
  chunks.push(TRAILER)
  return grouped(chunks)
}

function int8(value: number): Buffer {
  const buffer = Buffer.alloc(8)
  buffer.writeBigInt64BE(BigInt(value))
  return buffer
}

function row(columns: readonly Buffer[]): Buffer {
  const lengths = columns.map((column) => {
    const length = Buffer.alloc(4)
    length.writeInt32BE(column.length)
    return length
  })
  const count = Buffer.alloc(2)
  count.writeInt16BE(COLUMNS)
  return Buffer.concat([count, ...columns.flatMap((column, n) => [lengths[n] ?? Buffer.alloc(4), column])])
}

function grouped(parts: readonly Buffer[]): Buffer[] {
  const chunks: Buffer[] = []
  for (let n = 0; n < parts.length; n += 100) chunks.push(Buffer.concat(parts.slice(n, n + 100)))
  return chunks
}

/** A table with the same columns and the same key, and nothing else. */
export async function makePlainTable(admin: pg.Client): Promise<void> {
  await admin.query('drop table if exists plain')
  await admin.query(`create table plain (tenant text collate "C" not null, seq bigint not null, recorded_at timestamptz not null,
    leaf bytea not null, chain_hash bytea not null, primary key (tenant, seq))`)
}

export async function copyIn(admin: pg.Client, chunks: readonly Buffer[]): Promise<void> {
  await pipeline(Readable.from(chunks), admin.query(copyStreams.from('copy plain from stdin (format binary)')))
}
