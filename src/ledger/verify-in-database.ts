import type pg from 'pg'
import type { Database } from '../db/database.js'
import { tenantUnknown } from './errors.js'
import { findingCodes, Findings, MOST_KEPT, type FindingCode } from './findings.js'
import { SNAPSHOT, type TenantVerification, type Verification, type VerifyOptions } from './verify.js'

/**
 * The second opinion: the same rules in SQL, with the database's own `sha256()`, `lag()` and patterns, and no line shared
 * with `verify` but the names of the findings. Slower, and without `expect`.
 * @throws DomainError TENANT_UNKNOWN
 */
export async function verifyInDatabase(
  database: Database,
  { tenant: only, from = 0, onFinding, onProgress, signal }: Omit<VerifyOptions, 'expect'> = {},
): Promise<Verification> {
  const began = performance.now()
  const findings = new Findings(onFinding)
  const client = database.client('operator')
  client.on('error', () => undefined)
  const abort = () => void client.end()
  try {
    await client.connect()
    signal?.throwIfAborted()
    signal?.addEventListener('abort', abort)
    await client.query(SNAPSHOT)
    const logs = await client.query<LogRow>(logsText, [only ?? null])
    if (only !== undefined && logs.rows.length === 0) throw tenantUnknown(only)
    const total = logs.rows.reduce((sum, log) => sum + Math.max(0, (log.next_seq ?? 0) - from), 0)
    const tenants: TenantVerification[] = []
    let entries = 0
    for (const log of logs.rows) {
      if (log.log === null) findings.report('TENANT_UNKNOWN', log.tenant, from, findingCodes.TENANT_UNKNOWN)
      if (log.shared) findings.report('LOG_SHARED', log.tenant, 0, findingCodes.LOG_SHARED)
      const checked = await checkLog(client, log, from, findings)
      tenants.push(checked)
      entries += checked.entries
      onProgress?.({ entries, total })
    }
    await client.query('commit')
    return {
      tenants,
      entries,
      findings: findings.kept,
      findingCount: findings.count,
      durationMs: Math.round(performance.now() - began),
    }
  } catch (error) {
    signal?.throwIfAborted()
    throw error
  } finally {
    signal?.removeEventListener('abort', abort)
    await client.end().catch(() => undefined)
  }
}

interface LogRow {
  readonly tenant: string
  readonly log: string | null
  readonly next_seq: number | null
  readonly shared: boolean
}

const logsText = `
  select tenant, t.log, h.next_seq, exists (select from tenants o where o.log = t.log and o.id <> t.id) as shared
  from (
    select id as tenant from tenants union select tenant from heads
    union select distinct tenant from entries union select distinct tenant from streams) every
  left join tenants t on t.id = tenant left join heads h using (tenant)
  where $1::text is null or tenant = $1
  order by tenant`

/**
 * Reads the openings of rows `r` as `entry`: cut at the quotes, judged piece by piece and put together again. One pattern
 * with groups for all of it takes PostgreSQL a millisecond a row; `offset 0` keeps each piece from being computed again for
 * every use. `escape` writes ASCII as it is, and never fails.
 */
const readEntry = `
  cross join lateral (select encode(substr(leaf, 1, 1024), 'escape') as opening offset 0) o
  cross join lateral (select string_to_array(opening, '"') as p offset 0) pieces
  cross join lateral (select coalesce(p[18] = 'stream', false) as has_stream) s
  cross join lateral (
    select p[6] as at, p[14] as log, trim(both ':,' from p[17]) as seq,
      case when has_stream then p[20] end as stream, case when has_stream then trim(both ':,' from p[29]) end as version,
      case when has_stream then p[24] else p[20] end as tenant, p[10] as by, case when has_stream then p[32] else p[26] end as via offset 0
  ) e
  cross join lateral (
    select coalesce(starts_with(opening, '{"entry":{"at":"' || at || '","by":"' || by || '","log":"' || log || '","seq":' || e.seq
        || case when has_stream then ',"stream":"' || stream || '"' else '' end || ',"tenant":"' || e.tenant || '","v":1'
        || case when has_stream then ',"version":' || version else '' end || ',"via":"' || via || '"},"event":')
      and (e.seq = r.seq::text or e.seq ~ '^(0|[1-9][0-9]*)$')
      and (e.tenant = $1 or e.tenant ~ '^[a-z][a-z0-9-]+$' and octet_length(e.tenant) <= 63)
      and (log = $3 or log ~ '^[0-9a-f]+$' and octet_length(log) = 32)
      and translate(at, '123456789', '000000000') = '0000-00-00T00:00:00.000Z'
      and by || via !~ '[^A-Za-z0-9._:@-]' and octet_length(by) between 1 and 128 and octet_length(via) between 1 and 128
      and (not has_stream or version ~ '^[1-9][0-9]*$' and octet_length(stream) <= 255
        and stream ~ '^[a-z][a-z0-9-]*(/[A-Za-z0-9._:@-]+)+$'), false) as readable
    offset 0
  ) g`

/** Whether the leaf of a row closes with its type, as `closed`. */
const readClosing = `
  cross join lateral (
    select string_to_array(encode(substr(leaf, greatest(1, octet_length(leaf) - 159)), 'escape'), '"') as c offset 0) tail
  cross join lateral (
    select c[cardinality(c)] = '}}' and c[cardinality(c) - 2] = ':' and c[cardinality(c) - 3] = 'type'
      and c[cardinality(c) - 1] !~ '[^A-Za-z0-9_.-]'
      and octet_length(c[cardinality(c) - 1]) between 1 and 128 as closed) l`

/** $1 tenant, $2 from, $3 the tenant's log, empty where there is none. */
const entriesText = `
  with hashed as materialized (
    select r.seq, chain_hash, recorded_at, sha256('\\x00'::bytea || leaf) as leaf_hash, readable, closed,
      case when readable then e.tenant end as its_tenant, case when readable then e.seq end as its_seq,
      case when readable then e.log end as its_log, case when readable then e.at end as its_at,
      case when readable then stream end as its_stream, case when readable then version end as its_version,
      to_char(recorded_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') as at,
      case when r.seq = 0 then substr(leaf, 1, 4096) end as first
    from (select seq, chain_hash, recorded_at, leaf from entries where tenant = $1 and seq >= $2::int8) r
    ${readEntry} ${readClosing}
  ), neighbours as (
    select h.*, lag(seq) over w as before, lag(chain_hash) over w as previous,
      coalesce(its_at, left(at, 23) || 'Z') collate "C" as attested,
      lag(coalesce(its_at, left(at, 23) || 'Z') collate "C") over w as attested_before
    from hashed h window w as (order by seq)
  ), linked as (
    select n.*, sha256(before_hash || leaf_hash) as right_hash,
      before_hash is null or sha256(before_hash || leaf_hash) = chain_hash as holds
    from neighbours n cross join lateral (select case
      when seq = 0 then decode(repeat('00', 32), 'hex')
      when seq = $2::int8 then (select chain_hash from entries where tenant = $1 and seq = $2::int8 - 1 limit 1)
      when seq = before + 1 then previous end as before_hash) b
  ), judged as (
    select l.*, not holds and coalesce(
      case when lead(seq) over w is null then right_hash = (select chain_hash from heads where tenant = $1)
      else lead(seq) over w = seq + 1 and not lead(holds) over w
        and sha256(right_hash || lead(leaf_hash) over w) = lead(chain_hash) over w end, false) as hash_changed
    from linked l window w as (order by seq)
  ), blamed as (
    select j.*, coalesce(lag(hash_changed) over (order by seq), false) as explained from judged j
  ), rows as (
    select seq, stream, version, lag(version) over w as version_before, lag(seq) over w as seq_before
    from streams where tenant = $1 window w as (partition by stream order by version)
  )
  select seq, code, count(*) over () as total from (
    select seq, unnest(array_remove(array[
      case when seq < 0 or octet_length(chain_hash) is distinct from 32 or recorded_at is null then 'ROW_MALFORMED' end,
      case when not readable or closed is not true then 'LEAF_FORMAT' end,
      case when readable and (its_tenant <> $1 or its_seq <> seq::text or its_at is distinct from left(at, 23) || 'Z'
        or right(at, 3) <> '000') then 'ENVELOPE_MISMATCH' end,
      case when seq = 0 and (position('"type":"log.created"}}'::bytea in first) = 0
        or $3 <> '' and position(convert_to('"data":{"log":"' || $3 || '"}', 'UTF8') in first) = 0) then 'FIRST_ENTRY' end,
      case when seq > coalesce(before + 1, $2::int8) then 'SEQ_GAP' end,
      case when seq = before then 'SEQ_DUPLICATE' end,
      case when seq = before + 1 and attested < attested_before then 'TIME_BACKWARDS' end,
      case when hash_changed then 'HASH_CHANGED' when not holds and not explained then 'LINK_BROKEN' end
    ], null)) as code, before
    from blamed
    union all
    select min(seq), 'LOG_MISMATCH', null from hashed
    where its_log <> $3 and its_tenant = $1 and its_seq = seq::text and its_at = left(at, 23) || 'Z' group by its_log
    union all
    select seq, 'STREAM_ROW_MISSING', null from hashed h
    where its_stream is not null and not exists (select from rows r where r.seq = h.seq)
    union all
    select r.seq, 'STREAM_ROW_MISMATCH', null from rows r left join hashed h on h.seq = r.seq
    where r.seq >= $2::int8
      and not coalesce(not readable or (its_stream = r.stream and its_version = r.version::text), false)
    union all
    select seq, 'STREAM_VERSION', null from rows
    where version <> coalesce(version_before, 0) + 1 or seq <= seq_before
  ) found
  order by seq, code limit ${MOST_KEPT}`

/** Where a gap begins, the finding names; the query above names the entry behind it. */
const gapText = 'select max(seq) + 1 as seq from entries where tenant = $1 and seq < $2'

const headText = `
  select count(e.seq) filter (where e.seq >= $2::int8) as entries, h.next_seq, h.chain_hash as head_hash, l.chain_hash, l.seq,
    h.recorded_at = l.recorded_at as same_time
  from (select seq, chain_hash, recorded_at from entries where tenant = $1 order by seq desc limit 1) l
  full join (select next_seq, chain_hash, recorded_at from heads where tenant = $1) h on true
  left join entries e on e.tenant = $1
  group by h.next_seq, h.chain_hash, l.chain_hash, l.seq, same_time`

interface FoundRow {
  readonly seq: number
  readonly code: FindingCode
  readonly total: number
}

async function checkLog(
  client: pg.Client,
  { tenant, log }: LogRow,
  from: number,
  findings: Findings,
): Promise<TenantVerification> {
  const report = (code: FindingCode, seq: number) => findings.report(code, tenant, seq, findingCodes[code])
  const found = await client.query<FoundRow>(entriesText, [tenant, from, log ?? ''])
  for (const { seq, code } of found.rows) {
    if (code !== 'SEQ_GAP') {
      if (code !== 'LOG_MISMATCH' || log !== null) report(code, seq)
      continue
    }
    const { rows } = await client.query<{ seq: number | null }>(gapText, [tenant, seq])
    report(code, rows[0]?.seq ?? 0)
  }
  findings.more(tenant, Math.max(0, (found.rows[0]?.total ?? 0) - found.rows.length))

  const ends = await client.query<{
    entries: number
    next_seq: number | null
    head_hash: Buffer | null
    chain_hash: Buffer | null
    seq: number | null
    same_time: boolean | null
  }>(headText, [tenant, from])
  const end = ends.rows[0]
  const nextSeq = (end?.seq ?? -1) + 1
  const lastChanged = found.rows.some(({ seq, code }) => code === 'HASH_CHANGED' && seq === end?.seq)
  if (end?.next_seq === undefined || end.next_seq === null) report('HEAD_MISSING', nextSeq)
  else if (end.next_seq > nextSeq) report('TAIL_MISSING', nextSeq)
  else if (end.next_seq < nextSeq) report('HEAD_MISMATCH', end.next_seq)
  else {
    if (end.chain_hash && end.head_hash?.equals(end.chain_hash) === false && !lastChanged)
      report('HEAD_MISMATCH', nextSeq - 1)
    if (
      end.same_time === false &&
      !found.rows.some(({ seq, code }) => code === 'ENVELOPE_MISMATCH' && seq === end.seq)
    ) {
      report('HEAD_MISMATCH', nextSeq - 1)
    }
  }
  if (log !== null && nextSeq === 0) report('FIRST_ENTRY', 0)
  return {
    tenant,
    log: log ?? '',
    from,
    nextSeq,
    chainHash: end?.chain_hash?.toString('hex') ?? '0'.repeat(64),
    entries: end?.entries ?? 0,
    findings: findings.of(tenant),
  }
}
