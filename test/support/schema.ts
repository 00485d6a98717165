import type pg from 'pg'

/**
 * Writes down the schema that the migrations add up to: everything that decides what is stored and who may do what, read
 * from the catalogue in an order and a form that PostgreSQL 15 and 18 share. It can be read, not replayed.
 */
export async function dumpSchema(client: pg.Client): Promise<string> {
  await client.query(`set search_path = public`)
  const sections = [
    ['Roles', await lines(client, rolesText)],
    ['Privileges on the schema', (await lines(client, schemaText)).sort()],
    ['Functions', await lines(client, functionsText)],
    ['Domains', await lines(client, domainsText)],
    ...(await tables(client)),
  ] as const
  return sections.map(([title, body]) => `-- ${title}\n${body.join('\n')}\n`).join('\n')
}

/** The migrator's own bookkeeping is its business. */
const OURS = `c.relnamespace = 'public'::regnamespace and c.relname !~ '^kysely_'`

const rolesText = `
  select format('%s: %s', rolname, concat_ws(', ', case when rolcanlogin then 'login' else 'no login' end,
    case when rolsuper then 'superuser' end, case when rolbypassrls then 'bypasses row security' end,
    case when rolcreaterole then 'creates roles' end, case when rolcreatedb then 'creates databases' end,
    'member of ' || (select string_agg(m.roleid::regrole::text, ', ' order by m.roleid::regrole::text)
      from pg_auth_members m where m.member = r.oid))) as line
  from pg_roles r
  where rolname in ('countersign_owner', 'countersign_writer', 'countersign_command', 'countersign_reader',
    'countersign_keyring', 'countersign_operator')
  order by rolname collate "C"`

const schemaText = `
  select format('grant %s on schema public to %s', lower(privilege_type), grantee::regrole) as line
  from pg_namespace n cross join aclexplode(n.nspacl)
  where nspname = 'public' and grantee <> nspowner and grantee <> 0 and grantee::regrole::text like 'countersign_%'
  union all
  select format('grant %s on schema public to public', lower(privilege_type))
  from pg_namespace n cross join aclexplode(n.nspacl) where nspname = 'public' and grantee = 0`

const functionsText = `
  select regexp_replace(pg_get_functiondef(p.oid), '\\s+$', '') || e';\\n-- owner ' || proowner::regrole
    || coalesce((select e'\\n-- ' || string_agg(format('%s to %s', lower(privilege_type),
        case grantee when 0 then 'public' else grantee::regrole::text end), ', ' order by grantee)
      from aclexplode(p.proacl) where grantee <> proowner), '') as line
  from pg_proc p where pronamespace = 'public'::regnamespace order by p.oid::regprocedure::text collate "C"`

const domainsText = `
  select format('%s as %s %s, owner %s', typname, format_type(typbasetype, typtypmod),
    (select string_agg(pg_get_constraintdef(oid), ' ' order by conname collate "C") from pg_constraint where contypid = t.oid and contype <> 'n'),
    typowner::regrole) as line
  from pg_type t where typtype = 'd' and typnamespace = 'public'::regnamespace order by typname collate "C"`

async function tables(client: pg.Client): Promise<[string, string[]][]> {
  const { rows } = await client.query<{ oid: number; name: string; parent: string | null }>(
    `select c.oid, c.relname as name, (select inhparent::regclass::text from pg_inherits where inhrelid = c.oid) as parent
     from pg_class c where ${OURS} and relkind in ('r', 'p', 'v', 'm', 'f', 'S') order by c.relname collate "C"`,
  )
  const dumped = new Map<string, string[]>()
  const partitions = new Map<string, string[]>()
  for (const { oid, name, parent } of rows) {
    const body = await table(client, oid)
    if (parent === null) dumped.set(name, body)
    else {
      // Partitions differ in their number alone; where one does not, it stands by itself.
      const text = body.map((line) => line.replaceAll(new RegExp(`\\b${name}(?=\\b|_)`, 'g'), `${parent}_N`)).join('\n')
      const same = text.replace(/remainder \d+/, 'remainder N')
      partitions.set(same, [...(partitions.get(same) ?? []), name])
    }
  }
  for (const [text, names] of partitions) {
    names.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
    const title = names.length === 1 ? names[0] : `${names[0]} to ${names.at(-1)}, ${names.length} alike`
    dumped.set(title ?? '', text.split('\n'))
  }
  return [...dumped].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, body]) => [`Table ${name}`, body])
}

async function table(client: pg.Client, oid: number): Promise<string[]> {
  const found = [...(await lines(client, headText, [oid])), ...(await lines(client, columnsText, [oid]))]
  for (const text of [constraintsText, indexesText, policiesText, triggersText, grantsText]) {
    found.push(...(await lines(client, text, [oid])).sort())
  }
  return found
}

const headText = `
  select concat_ws(', ', case relkind when 'r' then 'table' when 'p' then 'partitioned table' else 'kind ' || relkind::text end,
    'owner ' || relowner::regrole, case relpersistence when 'p' then null else 'persistence ' || relpersistence::text end,
    case when relrowsecurity then 'row security' end, case when relforcerowsecurity then 'forced' end,
    array_to_string(reloptions, ', '), pg_get_partkeydef(oid), pg_get_expr(relpartbound, oid)) as line
  from pg_class where oid = $1`

const columnsText = `
  select format('  %s %s%s%s%s', quote_ident(attname), format_type(atttypid, atttypmod),
    case when attcollation <> t.typcollation then ' collate ' || quote_ident((select collname from pg_collation where oid = attcollation)) else '' end,
    case when attnotnull then ' not null' else '' end,
    coalesce(case attgenerated when 's' then ' generated always as ' else ' default ' end || pg_get_expr(adbin, adrelid), '')) as line
  from pg_attribute a join pg_type t on t.oid = atttypid left join pg_attrdef d on adrelid = attrelid and adnum = attnum
  where attrelid = $1 and attnum > 0 and not attisdropped order by attnum`

/** From 18 on, "not null" is a constraint with a name; it stands with the column. */
const constraintsText = `
  select format('constraint %s %s', quote_ident(conname), pg_get_constraintdef(oid)) as line
  from pg_constraint where conrelid = $1 and contype <> 'n' order by contype, conname collate "C"`

const indexesText = `
  select pg_get_indexdef(indexrelid) as line from pg_index i
  where indrelid = $1 and not exists (select from pg_constraint where conindid = indexrelid and conrelid = $1 and contype in ('p', 'u'))`

const policiesText = `
  select format('policy %s for %s to %s%s%s', quote_ident(polname),
    case polcmd when '*' then 'all' when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' else 'delete' end,
    (select string_agg(case role when 0 then 'public' else role::regrole::text end, ', ' order by role::regrole::text)
      from unnest(polroles) as role),
    coalesce(' using (' || pg_get_expr(polqual, polrelid) || ')', ''),
    coalesce(' with check (' || pg_get_expr(polwithcheck, polrelid) || ')', ''))
    || case when polpermissive then '' else ' restrictive' end as line
  from pg_policy where polrelid = $1 order by polname collate "C"`

const triggersText = `
  select regexp_replace(pg_get_triggerdef(oid), 'ON public\\.', 'ON ') || case tgenabled
    when 'A' then ', always' when 'O' then '' when 'D' then ', DISABLED' else ', replica only' end as line
  from pg_trigger where tgrelid = $1 and not tgisinternal order by tgname collate "C"`

const grantsText = `
  select line from (
    select format('grant %s to %s', string_agg(lower(privilege_type), ', ' order by privilege_type),
      case grantee when 0 then 'public' else grantee::regrole::text end) as line
    from pg_class c cross join aclexplode(c.relacl) where c.oid = $1 and grantee <> relowner group by grantee
    union all
    select format('grant %s (%s) to %s', lower(privilege_type), string_agg(quote_ident(attname), ', ' order by attnum),
      case grantee when 0 then 'public' else grantee::regrole::text end)
    from pg_attribute a cross join aclexplode(a.attacl) where attrelid = $1 group by privilege_type, grantee) granted`

async function lines(client: pg.Client, text: string, values: unknown[] = []): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(text, values)
  return rows.map(({ line }) => line)
}
