import type pg from 'pg'
import type { Head } from './batch.js'

/** What a submission must know of the log before it is chained; the swap of the head proves that it still holds. */
export interface Questions {
  readonly tenant: string
  readonly principal: string
  readonly keys: readonly string[]
  readonly source: string | undefined
  readonly stream: string | undefined
}

export interface Answers {
  /** By key: what was remembered. */
  readonly keys: ReadonlyMap<string, { mac: Buffer | undefined; firstSeq: number; count: number }>
  /** Where the source stands; undefined before its first submission. */
  readonly position: string | undefined
  /** How many events the stream has; undefined where nobody looked. */
  readonly version: number | undefined
}

/** How long an idempotency key is remembered. */
export const REMEMBERED_DAYS = 7

export async function readHeads(
  client: pg.ClientBase,
  lanes: readonly { readonly tenant: string }[],
): Promise<Map<string, Head>> {
  if (lanes.length === 0) return new Map()
  const { rows } = await client.query<{
    tenant: string
    log: string
    next_seq: number
    chain_hash: Buffer
    recorded_at: string
    key_epoch: number
  }>({
    name: 'heads',
    text: `select h.tenant, t.log, h.next_seq, h.chain_hash, h.recorded_at, h.key_epoch
           from heads h join tenants t on t.id = h.tenant where h.tenant = any($1)`,
    values: [lanes.map((lane) => lane.tenant)],
  })
  return new Map(
    rows.map((row) => [
      row.tenant,
      {
        tenant: row.tenant,
        log: row.log,
        nextSeq: row.next_seq,
        chainHash: row.chain_hash,
        recordedAtMs: Date.parse(row.recorded_at),
        keyEpoch: row.key_epoch,
      },
    ]),
  )
}

/** Answers the questions of many submissions at once, in their order. */
export async function readAnswers(client: pg.ClientBase, questions: readonly Questions[]): Promise<Answers[]> {
  const asked = questions.flatMap(({ tenant, principal, keys }, n) =>
    keys.map((key) => ({ n, tenant, principal, key })),
  )
  const remembered = questions.map(
    () => new Map<string, { mac: Buffer | undefined; firstSeq: number; count: number }>(),
  )
  if (asked.length > 0) {
    const { rows } = await client.query<{
      n: number
      key: string
      mac: Buffer | null
      first_seq: number
      count: number
    }>({
      name: 'remembered',
      text: `select a.n, i.key, i.mac, i.first_seq, i.count
             from unnest($1::int4[], $2::text[], $3::text[], $4::text[]) as a(n, tenant, principal, key)
             join idempotency i on i.tenant = a.tenant and i.principal = a.principal and i.key = a.key
             where i.created_at > now() - interval '${REMEMBERED_DAYS} days'`,
      values: [
        asked.map((a) => a.n),
        asked.map((a) => a.tenant),
        asked.map((a) => a.principal),
        asked.map((a) => a.key),
      ],
    })
    for (const { n, key, mac, first_seq: firstSeq, count } of rows) {
      remembered[n]?.set(key, { mac: mac ?? undefined, firstSeq, count })
    }
  }
  const sources = questions.filter((question) => question.source !== undefined)
  const positions = new Map<string, string>()
  if (sources.length > 0) {
    const { rows } = await client.query<{ tenant: string; source: string; position: string }>({
      name: 'positions',
      text: `select p.tenant, p.source, p.position
             from (select distinct * from unnest($1::text[], $2::text[])) as a(tenant, source)
             join source_positions p using (tenant, source)`,
      values: [sources.map((question) => question.tenant), sources.map((question) => question.source)],
    })
    for (const { tenant, source, position } of rows) positions.set(`${tenant} ${source}`, position)
  }
  const streams = questions.filter((question) => question.stream !== undefined)
  const versions = new Map<string, number>()
  if (streams.length > 0) {
    const { rows } = await client.query<{ tenant: string; stream: string; version: number }>({
      name: 'versions',
      text: `select a.tenant, a.stream, coalesce((
               select version from streams s where s.tenant = a.tenant and s.stream = a.stream
               order by version desc limit 1), 0) as version
             from (select distinct * from unnest($1::text[], $2::text[])) as a(tenant, stream)`,
      values: [streams.map((question) => question.tenant), streams.map((question) => question.stream)],
    })
    for (const { tenant, stream, version } of rows) versions.set(`${tenant} ${stream}`, version)
  }
  return questions.map(({ tenant, source, stream }, n) => ({
    keys: remembered[n] ?? new Map(),
    position: source === undefined ? undefined : positions.get(`${tenant} ${source}`),
    version: stream === undefined ? undefined : versions.get(`${tenant} ${stream}`),
  }))
}

/** Which of these places hold exactly these entries: the truth after an answer was lost. */
export async function readLanded(
  client: pg.ClientBase,
  places: readonly { tenant: string; seq: number; chainHash: Buffer }[],
): Promise<boolean[]> {
  const { rows } = await client.query<{ n: number }>({
    name: 'landed',
    text: `select a.n from unnest($1::int4[], $2::text[], $3::int8[], $4::bytea[]) as a(n, tenant, seq, chain_hash)
           join entries e on e.tenant = a.tenant and e.seq = a.seq and e.chain_hash = a.chain_hash`,
    values: [
      places.map((_, n) => n),
      places.map((place) => place.tenant),
      places.map((place) => place.seq),
      places.map((place) => place.chainHash),
    ],
  })
  const landed = new Set(rows.map((row) => row.n))
  return places.map((_, n) => landed.has(n))
}
