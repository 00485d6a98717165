/** What a batch may hold beside entries. */
export const optionalSections = ['streams', 'sealed', 'keys', 'positions'] as const
export type Section = (typeof optionalSections)[number]

/** The columns of a table of parameters, in the order of their arrays: name and type. */
type Columns = readonly (readonly [name: string, type: string])[]

const headColumns: Columns = [
  ['tenant', 'text'],
  ['from_seq', 'int8'],
  ['from_hash', 'bytea'],
  ['next_seq', 'int8'],
  ['at', 'timestamptz'],
  ['chain_hash', 'bytea'],
]

const rowColumns: Columns = [
  ['n', 'int4'],
  ['seq', 'int8'],
  ['leaf', 'bytea'],
  ['chain_hash', 'bytea'],
]

const sectionColumns: Record<Section, Columns> = {
  streams: [
    ['n', 'int4'],
    ['name', 'text'],
    ['version', 'int8'],
    ['seq', 'int8'],
  ],
  sealed: [
    ['n', 'int4'],
    ['seq', 'int8'],
    ['group_name', 'text'],
    ['subject', 'text'],
    ['generation', 'int4'],
    ['ciphertext', 'bytea'],
  ],
  keys: [
    ['n', 'int4'],
    ['principal', 'text'],
    ['key', 'text'],
    ['mac', 'bytea'],
    ['first_seq', 'int8'],
    ['count', 'int4'],
  ],
  positions: [
    ['n', 'int4'],
    ['source', 'text'],
    ['position', 'text'],
    ['seq', 'int8'],
  ],
}

/**
 * Arrays as a select list. Unnested there they come row by row; in `from`, each array would be copied whole first.
 * @param first the number of the first array's parameter
 */
function unnested(columns: Columns, first: number): string {
  const items = columns.map(([name, type], n) => `unnest($${first + n}::${type}[]) as ${name}`)
  return items.join(', ')
}

/** @param rows the section's arrays, unnested */
const sectionInserts: Record<Section, (rows: string) => string> = {
  streams: (rows) => `
    insert into streams (tenant, stream, version, seq)
    select m.tenant, s.name, s.version, s.seq
    from (select ${rows}) s join moved m using (n)`,
  sealed: (rows) => `
    insert into sealed_groups (tenant, seq, "group", subject, generation, ciphertext)
    select m.tenant, s.seq, s.group_name, s.subject, s.generation, s.ciphertext
    from (select ${rows}) s join moved m using (n)`,
  // The swap proves that nobody remembered the key meanwhile: what conflicts here has expired.
  keys: (rows) => `
    insert into idempotency (tenant, principal, key, mac, first_seq, count)
    select m.tenant, k.principal, k.key, k.mac, k.first_seq, k.count
    from (select ${rows}) k join moved m using (n)
    on conflict (tenant, principal, key) do update
    set mac = excluded.mac, first_seq = excluded.first_seq, count = excluded.count, created_at = now()`,
  // One source may stand in a batch more than once; its last position is the one that counts.
  positions: (rows) => `
    insert into source_positions (tenant, source, position, seq)
    select distinct on (m.tenant, p.source) m.tenant, p.source, p.position, p.seq
    from (select ${rows}) p join moved m using (n)
    order by m.tenant, p.source, p.seq desc
    on conflict (tenant, source) do update
    set position = excluded.position, seq = excluded.seq, moved_at = now()`,
}

/** The channel on which every batch of the appender, and `wake` for commands, names the tenants it touched, or `*` where they are too many to name. */
export const ENTRIES_CHANNEL = 'countersign_entries'
/** PostgreSQL's limit is 8000. */
export const MAX_PAYLOAD_BYTES = 7_900

const NOTIFY = `, pg_notify('${ENTRIES_CHANNEL}',
    case when sum(octet_length(tenant) + 1) < ${MAX_PAYLOAD_BYTES} then string_agg(tenant, ' ') else '*' end)`

/** Raises where a head `h` would get a time that no clock but a wrong one can have given. */
const clockIsRight = (tenant: string, at: string) =>
  `case when ${at} > clock_timestamp() + interval '5 s' and ${at} > h.recorded_at + interval '5 s'
          then ledger_clock_is_ahead(${tenant}, ${at}) else true end`

const statements = new Map<string, { name: string; text: string }>()

/**
 * Heads whose tenant has a stream in this batch that is not where its first event here expects it. What the batch was
 * chained onto is committed before this statement's snapshot, so what it reads of a stream is as new as the head.
 */
const conflicting = (streams: string) => `conflicting as materialized (
    select f.n
    from (select n, name, min(version) - 1 as expected from (select ${streams}) s group by n, name) f
    where f.expected <> coalesce((
      select version from streams t
      where t.tenant = ($1::text[])[f.n + 1] and t.stream = f.name order by version desc limit 1), 0)
  ), `

/**
 * One statement: locks the heads that still are what the batch was chained onto, in tenant order and without waiting;
 * moves them and inserts what belongs to them; says which it moved, by their number in the batch. Whoever it does not
 * name wrote nothing.
 */
export function appendStatement(sections: readonly Section[], notify: boolean): { name: string; text: string } {
  const name = ['append', ...sections, ...(notify ? ['notify'] : [])].join('_')
  const known = statements.get(name)
  if (known) return known
  let parameter = 1
  const rowsOf = (columns: Columns) => {
    const rows = unnested(columns, parameter)
    parameter += columns.length
    return rows
  }
  const [heads, entries] = [rowsOf(headColumns), rowsOf(rowColumns)]
  const kept = sections.map((section) => ({ section, rows: rowsOf(sectionColumns[section]) }))
  const streams = kept.find(({ section }) => section === 'streams')
  const inserts = kept.map(
    ({ section, rows }) => `, ${section}_kept as (${sectionInserts[section](rows)}
  )`,
  )
  // A row that is locked stays where it is: its place finds it again without the index.
  const text = `/* ${name} */
  with ${streams ? conflicting(streams.rows) : ''}moved as (
    update heads h
    set next_seq = m.next_seq, chain_hash = m.chain_hash, recorded_at = m.at
    from (
      select l.ctid as place, w.*
      from (select generate_series(0, cardinality($1::text[]) - 1) as n, ${heads}) w
      join heads l on l.tenant = w.tenant and l.next_seq = w.from_seq and l.chain_hash = w.from_hash
      ${streams ? 'where not exists (select from conflicting c where c.n = w.n)' : ''}
      order by l.tenant
      for update of l skip locked
    ) m
    where h.ctid = m.place
      and ${clockIsRight('m.tenant', 'm.at')}
    returning m.n, h.tenant, m.at
  ), inserted as (
    insert into entries (tenant, seq, recorded_at, leaf, chain_hash)
    select m.tenant, e.seq, m.at, e.leaf, e.chain_hash
    from (select ${entries}) e join moved m using (n)
  )${inserts.join('')}
  select array_agg(n) as moved${notify ? NOTIFY : ''}
  from moved having count(*) > 0`
  const statement = { name, text }
  statements.set(name, statement)
  return statement
}

/**
 * The same for what holds one entry and nothing else, without arrays: a caller on its own waits for this from beginning
 * to end. Its parameters are the head's and the leaf.
 */
export const appendOne = {
  name: 'append_one',
  text: `/* append_one */
  with moved as (
    update heads h
    set next_seq = $4::int8, chain_hash = $6::bytea, recorded_at = $5::timestamptz
    where h.ctid = (
        select l.ctid from heads l
        where l.tenant = $1::text and l.next_seq = $2::int8 and l.chain_hash = $3::bytea
        for update skip locked)
      and ${clockIsRight('$1::text', '$5::timestamptz')}
    returning h.tenant
  )
  insert into entries (tenant, seq, recorded_at, leaf, chain_hash)
  select tenant, $2::int8, $5::timestamptz, $7::bytea, $6::bytea from moved
  returning '{0}'::int4[] as moved, pg_notify('${ENTRIES_CHANNEL}', tenant)`,
} as const
