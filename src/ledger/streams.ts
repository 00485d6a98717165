import type { ExpressionBuilder } from 'kysely'
import type { Tx } from '../db/database.js'
import type { Tables } from '../db/types.js'
import { readLeaf, type EventView } from './entry.js'
import type { Envelope } from './envelope.js'

/** An entry of a command: where it stands, who submitted it, and what happened. */
export interface StreamEntry extends Envelope {
  readonly stream: string
  readonly version: number
  readonly event: EventView
}

/** All entries of one stream, in order. */
export async function readStream(tx: Tx, tenant: string, stream: string): Promise<StreamEntry[]> {
  const rows = await streamRows(tx, tenant).where('stream', '=', stream).orderBy('streams.version').execute()
  return rows.map(({ leaf }) => streamEntry(leaf))
}

/** All entries of the streams of these names, in the order of the log. */
export async function readNamedStreams(tx: Tx, tenant: string, streams: readonly string[]): Promise<StreamEntry[]> {
  if (streams.length === 0) return []
  const rows = await streamRows(tx, tenant).where('stream', 'in', streams).orderBy('streams.seq').execute()
  return rows.map(({ leaf }) => streamEntry(leaf))
}

/**
 * The entries of all streams whose names begin with one of `prefixes` (`role/`), in the order of the log.
 * @param afterSeq only those behind it; all by default
 */
export async function readStreams(
  tx: Tx,
  tenant: string,
  prefixes: readonly string[],
  afterSeq = -1,
): Promise<StreamEntry[]> {
  const rows = await streamRows(tx, tenant)
    .where('streams.seq', '>', afterSeq)
    .where((where) => beginningWith(where, prefixes))
    .orderBy('streams.seq')
    .execute()
  return rows.map(({ leaf }) => streamEntry(leaf))
}

/** The places of those entries, in order: for who reads them in pieces. */
export async function streamSeqs(tx: Tx, tenant: string, prefixes: readonly string[]): Promise<number[]> {
  const rows = await tx
    .selectFrom('streams')
    .select('seq')
    .where('tenant', '=', tenant)
    .where((where) => beginningWith(where, prefixes))
    .orderBy('seq')
    .execute()
  return rows.map(({ seq }) => seq)
}

/** Streams whose names begin so: ranges, because row security lets only leakproof operators use the key. */
export function beginningWith(where: ExpressionBuilder<Tables, 'streams'>, prefixes: readonly string[]) {
  return where.or(
    prefixes.map((prefix) => where.and([where('stream', '>=', prefix), where('stream', '<', behind(prefix))])),
  )
}

/** Reads a leaf of a stream back. */
export function streamEntry(leaf: Uint8Array): StreamEntry {
  const { entry, event } = readLeaf(leaf)
  const { stream, version } = entry
  if (stream === undefined || version === undefined) throw new Error(`entry ${entry.seq} is on no stream`)
  return { ...entry, stream, version, event }
}

function streamRows(tx: Tx, tenant: string) {
  return tx
    .selectFrom('streams')
    .innerJoin('entries', (join) =>
      join.onRef('entries.tenant', '=', 'streams.tenant').onRef('entries.seq', '=', 'streams.seq'),
    )
    .select('leaf')
    .where('streams.tenant', '=', tenant)
}

/** The first text behind all that begin with `prefix`, by bytes. */
function behind(prefix: string): string {
  return prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1)
}
