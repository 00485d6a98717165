import { createHash } from 'node:crypto'
import type pg from 'pg'

/** An entry as it was found, and its leaf read as JSON. */
export interface FoundEntry {
  readonly seq: number
  readonly at: string
  readonly leaf: Buffer
  readonly chainHash: Buffer
  readonly entry: {
    at: string
    by: string
    log: string
    seq: number
    stream?: string
    tenant: string
    version?: number
    via: string
  }
  readonly event: Record<string, unknown> & { type: string; data?: Record<string, unknown> }
}

const sha256 = (...parts: readonly Uint8Array[]): Buffer =>
  parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()

/**
 * Verifies every log of a database, and that what stands beside the logs agrees with them: heads, streams, sealed groups,
 * remembered keys, positions. It shares no code with what it checks.
 * @param admin a superuser's connection that reads int8 as numbers
 * @returns the entries by tenant, in order
 * @throws Error naming the first thing that is wrong
 */
export async function verifyChains(admin: pg.ClientBase): Promise<Map<string, FoundEntry[]>> {
  const logs = new Map<string, FoundEntry[]>()
  const tenants = await admin.query<{ id: string; log: string }>('select id, log from tenants order by id')
  for (const { id, log } of tenants.rows) logs.set(id, await verifyChain(admin, id, log))
  await verifyBeside(admin, logs)
  return logs
}

async function verifyChain(admin: pg.ClientBase, tenant: string, log: string): Promise<FoundEntry[]> {
  const wrong = (seq: number, what: string) => new Error(`tenant ${tenant}, entry ${seq}: ${what}`)
  const { rows } = await admin.query<{ seq: number; at: string; leaf: Buffer; chain_hash: Buffer }>(
    'select seq, recorded_at as at, leaf, chain_hash from entries where tenant = $1 order by seq',
    [tenant],
  )
  let previous: Buffer = Buffer.alloc(32)
  let before = ''
  const entries = rows.map((row, index): FoundEntry => {
    const { seq, leaf, chain_hash: chainHash } = row
    const at = row.at
    if (seq !== index) throw wrong(index, `the entry there is ${seq}`)
    previous = sha256(previous, sha256(Buffer.from([0]), leaf))
    if (!previous.equals(chainHash)) throw wrong(seq, 'the chain hash does not follow')
    const { entry, event } = JSON.parse(leaf.toString()) as Pick<FoundEntry, 'entry' | 'event'>
    const { at: saidAt, log: saidLog, seq: saidSeq, tenant: saidTenant } = entry
    const said = JSON.stringify([saidAt, saidLog, saidSeq, saidTenant])
    if (said !== JSON.stringify([at, log, seq, tenant])) throw wrong(seq, `the leaf says it is ${said}`)
    if (at < before) throw wrong(seq, `${at} is earlier than ${before}`)
    before = at
    return { seq, at, leaf, chainHash, entry, event }
  })
  const head = await admin.query<{ next_seq: number; chain_hash: Buffer; at: string }>(
    'select next_seq, chain_hash, recorded_at as at from heads where tenant = $1',
    [tenant],
  )
  const end = head.rows[0]
  if (!end) throw wrong(0, 'there is no head')
  if (end.next_seq !== entries.length) throw wrong(entries.length, `the head is at ${end.next_seq}`)
  if (!end.chain_hash.equals(previous)) throw wrong(entries.length, 'the head has another chain hash')
  if (end.at !== before) throw wrong(entries.length, 'the head has another time')
  return entries
}

async function verifyBeside(admin: pg.ClientBase, logs: Map<string, FoundEntry[]>): Promise<void> {
  const all = [...logs.values()].flat()
  const streams = await admin.query<{ place: string }>(
    `select tenant || ' ' || stream || ' ' || version || ' ' || seq as place from streams`,
  )
  same(
    'streams',
    streams.rows.map(({ place }) => place),
    all.flatMap(({ seq, entry }) =>
      entry.stream === undefined ? [] : [`${entry.tenant} ${entry.stream} ${entry.version} ${seq}`],
    ),
  )
  const versions = await admin.query(
    'select tenant, stream from streams group by 1, 2 having min(version) <> 1 or max(version) <> count(*)',
  )
  if (versions.rows.length > 0) throw new Error(`streams with gaps: ${JSON.stringify(versions.rows)}`)
  const sealed = await admin.query<{ place: string }>(
    `select tenant || ' ' || seq || ' ' || "group" || ' ' || subject as place from sealed_groups`,
  )
  same(
    'sealed groups',
    sealed.rows.map(({ place }) => place),
    all.flatMap(({ seq, entry, event }) =>
      ((event['sealed'] ?? []) as { group: string; subject: string }[]).map(
        ({ group, subject }) => `${entry.tenant} ${seq} ${group} ${subject}`,
      ),
    ),
  )
  const strays = await admin.query(`
    select tenant, seq, 'position' as what from source_positions p
    where not exists (select from entries e where e.tenant = p.tenant and e.seq = p.seq)
    union all
    select tenant, first_seq, 'key' from idempotency i
    where (select count(*) from entries e where e.tenant = i.tenant and e.seq >= i.first_seq and e.seq < i.first_seq + i.count) <> i.count`)
  if (strays.rows.length > 0) throw new Error(`without entries: ${JSON.stringify(strays.rows)}`)
}

function same(what: string, beside: readonly string[], inLogs: readonly string[]): void {
  const expected = new Set(inLogs)
  const found = new Set(beside)
  const missing = inLogs.filter((place) => !found.has(place))
  const extra = beside.filter((place) => !expected.has(place))
  if (missing.length + extra.length > 0) {
    throw new Error(`${what}: missing ${JSON.stringify(missing)}, without an entry ${JSON.stringify(extra)}`)
  }
}
