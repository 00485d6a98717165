import type { Database, Db } from '../db/database.js'
import { DomainError } from '../errors.js'
import { command, type Fold } from '../ledger/append.js'
import { leafType } from '../ledger/envelope.js'
import { readLeaf } from '../ledger/entry.js'
import { service, type Principal } from '../principal.js'
import { parkedIn, parkedStream, type Step } from './routes.js'

/** An entry that Temporal refused for good. It holds up the later entries of its stream, and of no other. */
export interface Parked {
  readonly stream: string
  /** Of the entry that was refused. */
  readonly seq: number
  readonly type: string
  readonly code: string
  /** When it was parked: RFC 3339, UTC. */
  readonly at: string
  /** How many entries of the stream lie behind it. */
  readonly behind: number
}

const parkedFold: Fold<boolean> = {
  initial: false,
  evolve: (_, { type }) => type === 'dispatch.parked',
}

/** Puts an entry that cannot be dispatched on record, once. */
export async function park(
  database: Database,
  tenant: string,
  { stream, seq, type }: Pick<Step, 'stream' | 'seq' | 'type'>,
  code: string,
): Promise<void> {
  const target = { by: service(tenant), stream: parkedStream(stream) }
  await command(database.command, target, parkedFold, (parked) =>
    parked ? [] : [{ type: 'dispatch.parked', cause: seq, data: { stream, seq, type, code }, outcome: 'failure' }],
  )
}

/**
 * Has the dispatcher try a parked stream again.
 * @throws DomainError DISPATCH_NOT_PARKED
 */
export async function retryParked(database: Database, by: Principal, stream: string): Promise<void> {
  await command(database.command, { by, stream: parkedStream(stream) }, parkedFold, (parked) => {
    if (!parked) throw new DomainError('DISPATCH_NOT_PARKED', `no entry of the stream ${stream} is parked`)
    return [{ type: 'dispatch.retried', data: { stream } }]
  })
}

/** Streams of a tenant whose entries are parked, as the log says now. */
export async function parkedStreams(db: Db, tenant: string): Promise<Set<string>> {
  const rows = await lastEntries(db, tenant)
  return new Set(rows.flatMap(({ stream, leaf }) => (leafType(leaf) === 'dispatch.parked' ? [parkedIn(stream)] : [])))
}

/** What is parked of one tenant, by stream. */
export async function listParked(db: Db, tenant: string): Promise<Parked[]> {
  const parked: Parked[] = []
  for (const { leaf } of await lastEntries(db, tenant)) {
    const { entry, event } = readLeaf(leaf)
    if (event.type !== 'dispatch.parked') continue
    const { stream, seq, type, code } = event.data as unknown as Omit<Parked, 'at' | 'behind'>
    const { count } = await db
      .selectFrom('streams')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .where('tenant', '=', tenant)
      .where('stream', '=', stream)
      .where('seq', '>', seq)
      .executeTakeFirstOrThrow()
    parked.push({ stream, seq, type, code, at: entry.at, behind: count })
  }
  return parked
}

async function lastEntries(db: Db, tenant: string): Promise<{ stream: string; leaf: Buffer }[]> {
  return db
    .selectFrom('streams')
    .innerJoin('entries', (join) =>
      join.onRef('entries.tenant', '=', 'streams.tenant').onRef('entries.seq', '=', 'streams.seq'),
    )
    .distinctOn('streams.stream')
    .select(['streams.stream', 'leaf'])
    .where('streams.tenant', '=', tenant)
    .where('streams.stream', '>=', parkedStream(''))
    .where('streams.stream', '<', 'dispatch0')
    .orderBy('streams.stream')
    .orderBy('streams.version', 'desc')
    .execute()
}
