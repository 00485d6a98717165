import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { inTenant, loginRoles, type LoginRole } from '../../src/db/database.js'
import { loginOf } from '../../src/keyring/installation.js'
import { createTenant } from '../../src/keyring/tenants.js'
import { testDatabase, type TestDatabase } from '../support/database.js'

/**
 * Who may do what with which table: s(elect), i(nsert), u(pdate), d(elete); in brackets only these columns. Nobody
 * truncates, references or puts triggers. A table without a line here fails the test, and so does a line without a table.
 */
const matrix = `
  table                  writer                                command                               reader  keyring                                           operator
  tenants                s(id,log)                             s                                     s       s i                                               s
  entries                s(tenant,seq,chain_hash) i            s i                                   s       s i                                               s
  heads                  s u(next_seq,chain_hash,recorded_at)  s u(next_seq,chain_hash,recorded_at)  s       s i u(next_seq,chain_hash,recorded_at,key_epoch)  s
  streams                s i                                   s i                                   s       s i                                               s
  idempotency            s i u d                               -                                     -       -                                                 -
  source_positions       s i u                                 -                                     s       -                                                 s
  installation           s                                     s                                     s       s u(backed_up_key_ids,backed_up_at)               s
  sealed_groups          i                                     i                                     -       s i d                                             -
  subjects               -                                     s                                     s       s i u(erased_seq)                                 -
  subject_keys           -                                     -                                     -       s i u(wrapped) d                                  -
  tenant_keys            -                                     -                                     -       s i u(wrapped) d                                  -
  identifiers            -                                     -                                     -       s i u(generation,sealed) d                        -
  tokens                 -                                     s i u(revoked_at)                     s       s i u(revoked_at)                                 -
  subscriptions          -                                     s                                     s       s                                                 s i u d
  entry_index            -                                     s                                     s       s                                                 s i u d
  entry_refs             -                                     s                                     s       s                                                 s i u d
  reports                -                                     s                                     s       s                                                 s i u d
  open_processes         -                                     s                                     s       s                                                 s i u d
  verifications          -                                     s                                     s       s                                                 s i u d
  kysely_migration       -                                     -                                     -       -                                                 s
  kysely_migration_lock  -                                     -                                     -       -                                                 -
`

const PRIVILEGES = { select: 's', insert: 'i', update: 'u', delete: 'd' } as const

/** Kysely's notes of which migrations ran belong to whoever migrates: no tenant's rows, so no row security. */
const isBookkeeping = (table: string) => table.startsWith('kysely_')
const isPartition = (table: string) => /^entries_\d+$/.test(table)

let own: TestDatabase
let superuser: pg.Client
let tables: string[]

beforeAll(async () => {
  own = await testDatabase()
  superuser = await own.superuser()
  for (const tenant of ['acme', 'other']) await createTenant(own.db, own.installation, tenant)
  const { rows } = await superuser.query<{ name: string }>(
    `select relname as name from pg_class
     where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f', 'S') order by 1`,
  )
  tables = rows.map(({ name }) => name)
})

afterAll(() => own.close())

/** What a role may do with a table, in the words of the matrix. */
async function granted(role: string, table: string): Promise<string> {
  const { rows } = await superuser.query<{ privilege: keyof typeof PRIVILEGES; whole: boolean; columns: string[] }>(
    `select privilege, has_table_privilege($1, $2, privilege) as whole,
       case when privilege = 'delete' then '{}' else array(
         select attname::text from pg_attribute
         where attrelid = $2::regclass and attnum > 0 and not attisdropped
           and has_column_privilege($1, $2, attname, case privilege when 'delete' then 'select' else privilege end)
         order by attnum) end as columns
     from unnest(array['select', 'insert', 'update', 'delete']) with ordinality as p(privilege, nth) order by nth`,
    [role, table],
  )
  const words = rows
    .filter(({ whole, columns }) => whole || columns.length > 0)
    .map(({ privilege, whole, columns }) => PRIVILEGES[privilege] + (whole ? '' : `(${columns.join(',')})`))
  return words.join(' ') || '-'
}

describe('by the catalogue', () => {
  const [header = [], ...expected] = matrix
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/ {2,}/))
  const roles = header.slice(1)

  test('the matrix has a line for each table and a column for each login', () => {
    expect(roles).toEqual([...loginRoles])
    const named = expected.map(([table]) => String(table))
    expect(named.sort()).toEqual(tables.filter((table) => !isPartition(table)))
  })

  test.each(expected)('%s is granted as written down', async (table = '', ...cells) => {
    const found: string[] = []
    for (const role of roles) found.push(await granted(`countersign_${role}`, table))
    expect(found).toEqual(cells)
    // The logins have what their groups have, and no more.
    const logins: string[] = []
    for (const role of loginRoles) logins.push(await granted(loginOf(own.installation, role).user, table))
    expect(logins).toEqual(cells)
    expect(await granted('public', table)).toBe('-')
  })

  test('nobody may touch a partition past its table', async () => {
    const hidden = tables.filter(isPartition)
    expect(hidden).toHaveLength(16)
    for (const table of hidden) {
      for (const role of [...roles.map((role) => `countersign_${role}`), 'public']) {
        expect(`${table} ${role} ${await granted(role, table)}`).toBe(`${table} ${role} -`)
      }
    }
  })

  test('nobody may truncate, refer to a table or put a trigger on it, or make anything in the schema', async () => {
    const { rows } = await superuser.query<{ what: string }>(
      `select format('%s %s %s', role, privilege, relname) as what
       from pg_class, unnest($1::text[]) as role, unnest(array['truncate', 'references', 'trigger']) as privilege
       where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f')
         and has_table_privilege(role, pg_class.oid, privilege)
       union all
       select format('%s creates in the schema', role) from unnest($1::text[]) as role
       where has_schema_privilege(role, 'public', 'create')
       union all
       select format('%s makes temporary tables', role) from unnest($1::text[]) as role
       where has_database_privilege(role, current_database(), 'temporary')`,
      [loginRoles.map((role) => loginOf(own.installation, role).user)],
    )
    expect(rows).toEqual([])
  })

  test('row security is on and forced on every table, partitions too', async () => {
    const { rows } = await superuser.query<{ name: string; policies: number }>(
      `select relname as name, (select count(*) from pg_policy where polrelid = c.oid) as policies from pg_class c
       where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and relrowsecurity and relforcerowsecurity
       order by 1`,
    )
    expect(rows.map(({ name }) => name)).toEqual(tables.filter((table) => !isBookkeeping(table)))
    // Without a policy nobody sees a row: what a partition is asked for directly.
    expect(rows.filter(({ policies }) => policies === 0).map(({ name }) => name)).toEqual(tables.filter(isPartition))
  })

  test('no role bypasses row security, no function runs with rights of its own', async () => {
    const { rows: roles } = await superuser.query<{ rolname: string }>(
      `select rolname from pg_roles where rolname like 'countersign%'
       and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication)`,
    )
    expect(roles).toEqual([])
    const { rows: functions } = await superuser.query<{ name: string }>(
      `select oid::regprocedure::text as name from pg_proc where pronamespace = 'public'::regnamespace and prosecdef`,
    )
    expect(functions).toEqual([])
    const { rows: memberships } = await superuser.query<{ member: string; role: string }>(
      `select member::regrole::text, roleid::regrole::text as role from pg_auth_members
       where member::regrole::text = any($1) order by 1, 2`,
      [loginRoles.map((role) => loginOf(own.installation, role).user)],
    )
    expect(memberships).toEqual(
      loginRoles
        .map((role) => ({ member: loginOf(own.installation, role).user, role: `countersign_${role}` }))
        .sort((a, b) => (a.member < b.member ? -1 : 1)),
    )
  })

  test('history is guarded by triggers that always fire, on every partition', async () => {
    const { rows } = await superuser.query<{ name: string; trigger: string }>(
      `select relname as name, tgname || ' ' || tgenabled::text || ' ' ||
         regexp_replace(pg_get_triggerdef(t.oid), '^.* (BEFORE .*) ON .* FOR EACH (\\w+) .*$', '\\1 \\2') as trigger
       from pg_trigger t join pg_class c on c.oid = tgrelid
       where relnamespace = 'public'::regnamespace and not tgisinternal order by 1, 2`,
    )
    const whole = ['append_only A BEFORE DELETE OR UPDATE ROW', 'no_truncate A BEFORE TRUNCATE STATEMENT']
    const kept = ['append_only A BEFORE DELETE ROW', 'no_truncate A BEFORE TRUNCATE STATEMENT']
    const guarded = ['entries', ...tables.filter(isPartition), 'streams']
    expect(rows).toEqual(
      [...guarded.map((name) => [name, whole] as const), ...['heads', 'tenants'].map((name) => [name, kept] as const)]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .flatMap(([name, triggers]) => triggers.map((trigger) => ({ name, trigger }))),
    )
  })
})

/** SQLSTATEs: insufficient_privilege (row security too), and our own for history. */
const DENIED = '42501'
const APPEND_ONLY = 'CS002'

describe('with the real logins', () => {
  async function connected<T>(role: LoginRole, work: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = own.db.client(role)
    await client.connect()
    try {
      return await work(client)
    } finally {
      await client.end()
    }
  }

  const attempt = (role: LoginRole, text: string) =>
    connected(role, async (client) => {
      await client.query(`select set_config('countersign.tenant', 'acme', false)`)
      return client.query(text)
    })

  const everybody: [LoginRole, string][] = loginRoles.flatMap((role) =>
    [
      `update entries set leaf = '{}'`,
      `update entries set recorded_at = now() where tenant = 'acme' and seq = 0`,
      'delete from entries',
      'truncate entries',
      'delete from streams',
      `update streams set seq = 0`,
      'truncate streams',
      'delete from heads',
      'truncate heads',
      `update heads set tenant = 'other'`,
      `update tenants set log = md5('x')`,
      'delete from tenants',
      'truncate tenants cascade',
      'select * from entries_0',
      `insert into entries_0 select * from entries`,
      'alter table entries disable trigger all',
      'alter table entries no force row level security',
      'drop table entries',
      'create table mine (id int)',
      'create function mine() returns int language sql as $$ select 1 $$',
      'set role countersign_owner',
      `set session_replication_role = 'replica'`,
      'select * from kysely_migration_lock',
      'delete from kysely_migration',
    ].map((text): [LoginRole, string] => [role, text]),
  )
  const some: [LoginRole, string][] = [
    ['writer', 'select leaf from entries'],
    ['writer', 'select * from entries'],
    ['writer', 'select settings from tenants'],
    ['writer', 'update heads set key_epoch = 1'],
    ['writer', `insert into heads values ('third', 0, sha256(''), now())`],
    ['writer', 'select * from sealed_groups'],
    ['command', 'update heads set key_epoch = 1'],
    ['command', 'select * from sealed_groups'],
    ['command', 'delete from tokens'],
    ['command', `update tokens set permissions = '{*/*:*}'`],
    ['reader', `insert into entries select * from entries`],
    ['reader', 'update heads set next_seq = 0'],
    ['reader', 'update tokens set revoked_at = null'],
    ['reader', 'select * from idempotency'],
    ['reader', 'delete from entry_index'],
    ['operator', `insert into entries select * from entries`],
    ['operator', 'select * from tokens'],
    ['operator', 'update heads set next_seq = 0'],
    ['keyring', `update tokens set principal = 'service:host'`],
    ['keyring', 'update subject_keys set generation = 2'],
    ['keyring', `update installation set id = repeat('0', 32)`],
    ...(['writer', 'command', 'reader', 'operator'] as const).flatMap((role) =>
      ['subject_keys', 'tenant_keys', 'identifiers'].flatMap((table): [LoginRole, string][] => [
        [role, `select * from ${table}`],
        [role, `delete from ${table}`],
      ]),
    ),
  ]

  test.each([...everybody, ...some])('the %s is refused: %s', async (role, text) => {
    await expect(attempt(role, text)).rejects.toMatchObject({ code: DENIED })
  })

  test.each(['reader', 'command', 'keyring'] as const)('the %s sees its tenant, and none without one', async (role) => {
    const count = (tenant: string | undefined, table: string) =>
      connected(role, async (client) => {
        if (tenant !== undefined) await client.query(`select set_config('countersign.tenant', $1, false)`, [tenant])
        const { rows } = await client.query<{ tenant: string }>(
          `select ${table === 'tenants' ? 'id' : 'tenant'} as tenant from ${table}`,
        )
        return rows.map((row) => row.tenant)
      })
    for (const table of ['tenants', 'entries', 'heads']) {
      expect(await count('acme', table)).toEqual(['acme'])
      expect(await count('', table)).toEqual([])
      expect(await count(undefined, table)).toEqual([])
      expect(await count('nobody', table)).toEqual([])
    }
  })

  test('a command cannot write into the log of another tenant', async () => {
    const insert = (tenant: string) =>
      attempt('command', `insert into entries values ('${tenant}', 9, now(), '{}', sha256(''))`)
    await expect(insert('other')).rejects.toMatchObject({ code: DENIED })
    await expect(attempt('command', `update heads set next_seq = 9 where tenant = 'other'`)).resolves.toMatchObject({
      rowCount: 0,
    })
    await expect(
      attempt('command', `insert into sealed_groups values ('other', 1, 'a', 'b', 1, repeat('x', 61)::bytea)`),
    ).rejects.toMatchObject({
      code: DENIED,
    })
  })

  test('a transaction that binds a tenant leaves none behind', async () => {
    const bound = await inTenant(own.db.reader, 'acme', (tx) => tx.selectFrom('heads').select('tenant').execute())
    expect(bound).toEqual([{ tenant: 'acme' }])
    expect(await own.db.reader.selectFrom('heads').select('tenant').execute()).toEqual([])
  })

  test('the operator and the writer see the heads of all tenants', async () => {
    for (const role of ['operator', 'writer'] as const) {
      const { rows } = await connected(role, (client) =>
        client.query<{ tenant: string }>('select tenant from heads order by tenant'),
      )
      expect(rows.map(({ tenant }) => tenant)).toEqual(['acme', 'other'])
    }
  })
})

describe('as the owner of the tables', () => {
  /** The owner can lift row security off itself; then the triggers stand in its way. */
  async function asOwner(...texts: string[]): Promise<pg.QueryResult | undefined> {
    let last: pg.QueryResult | undefined
    await superuser.query('begin; set local role countersign_owner')
    try {
      for (const text of texts) last = await superuser.query(text)
      return last
    } finally {
      await superuser.query('rollback')
    }
  }

  const LIFTED = ['entries', 'streams', 'heads', 'tenants'].map(
    (name) => `alter table ${name} no force row level security`,
  )

  test.each([
    `update entries set leaf = '{}'`,
    'delete from entries',
    'truncate entries',
    ...Array.from({ length: 16 }, (_, n) => `truncate entries_${n}`),
    'delete from heads',
    'truncate heads',
    'truncate streams',
    'delete from tenants',
    'truncate tenants cascade',
  ])('%s is refused', async (text) => {
    await expect(asOwner(...LIFTED, text)).rejects.toMatchObject({ code: APPEND_ONLY })
  })

  test.each([`update streams set seq = 3`, 'delete from streams'])('%s is refused', async (text) => {
    const row = `insert into streams values ('acme', 'a/b', 1, 1)`
    await expect(asOwner(...LIFTED, row, text)).rejects.toMatchObject({ code: APPEND_ONLY })
  })

  test('nothing is seen or changed as long as row security is forced', async () => {
    for (const text of [
      `update entries set leaf = '{}'`,
      'delete from entries',
      'select from entries',
      'delete from heads',
    ]) {
      expect(await asOwner(text)).toMatchObject({ rowCount: 0 })
    }
  })

  test('a replication session meets the triggers too', async () => {
    await superuser.query(`begin; set local session_replication_role = 'replica'`)
    try {
      await expect(superuser.query(`delete from entries where tenant = 'acme'`)).rejects.toMatchObject({
        code: APPEND_ONLY,
      })
    } finally {
      await superuser.query('rollback')
    }
  })
})

describe('the rules of the schema', () => {
  test.each([
    ['a chain hash of 31 bytes', `insert into entries values ('acme', 9, now(), '{}', substr(sha256(''), 2))`, '23514'],
    ['a seq below 0', `insert into entries values ('acme', -1, now(), '{}', sha256(''))`, '23514'],
    ['a leaf of one byte', `insert into entries values ('acme', 9, now(), '{', sha256(''))`, '23514'],
    [
      'a leaf of 65,536 bytes',
      `insert into entries values ('acme', 9, now(), repeat(' ', 65536)::bytea, sha256(''))`,
      '23514',
    ],
    ['a place that is taken', `insert into entries values ('acme', 0, now(), '{}', sha256(''))`, '23505'],
    ['a version 0', `insert into streams values ('acme', 'a/b', 0, 1)`, '23514'],
    [
      'a log that another tenant has',
      `insert into tenants select 'third', log, '{}', now() from tenants limit 1`,
      '23505',
    ],
    ['a name that is none', `insert into tenants values ('No', md5(''), '{}', now())`, '23514'],
    ['a head of nobody', `insert into heads values ('third', 0, sha256(''), now())`, '23503'],
    ['a head before the beginning', `update heads set next_seq = -1`, '23514'],
    ['a second installation', `insert into installation (one, id, key_ids) values (false, md5(''), '{}')`, '23514'],
  ])('refuse %s', async (_, text, code) => {
    await superuser.query('begin')
    try {
      await expect(superuser.query(text)).rejects.toMatchObject({ code })
    } finally {
      await superuser.query('rollback')
    }
  })
})
