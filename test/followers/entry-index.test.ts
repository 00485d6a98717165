import { afterAll, beforeAll, expect, test } from 'vitest'
import { entryIndex, rebuildIndex } from '../../src/followers/entry-index.js'
import { Appender } from '../../src/ledger/appender.js'
import { inTenant } from '../../src/db/database.js'
import { command } from '../../src/ledger/append.js'
import { Follower } from '../../src/ledger/subscribe.js'
import { host } from '../../src/principal.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { createTenants, report } from '../support/log.js'

let database: TestDatabase
let appender: Appender

beforeAll(async () => {
  database = await testDatabase()
  appender = new Appender(database.db)
})

afterAll(async () => {
  await appender.close()
  await database.close()
})

const indexed = async (tenant: string) => ({
  entries: await database.db.operator
    .selectFrom('entry_index')
    .selectAll()
    .where('tenant', '=', tenant)
    .orderBy('seq')
    .execute(),
  refs: await database.db.operator
    .selectFrom('entry_refs')
    .selectAll()
    .where('tenant', '=', tenant)
    .orderBy('reference')
    .orderBy('role')
    .orderBy('seq')
    .execute(),
})

const cursor = async (tenant: string) =>
  database.db.operator
    .selectFrom('subscriptions')
    .select(['next_seq', 'owner', 'until', 'epoch'])
    .where('tenant', '=', tenant)
    .executeTakeFirstOrThrow()

test('an entry is found by all that it names', async () => {
  const [tenant = ''] = await createTenants(database, 'named', 1)
  await report(appender, tenant, [
    {
      type: 'role.granted',
      actor: { id: 'person:01A', type: 'user' },
      targets: [{ id: 'project:9', type: 'project' }, { id: 'person:01B' }, { id: 'project:9', type: 'other' }],
      sealed: [
        { group: 'actor', subject: 'person:01A', commit: 'A' },
        { group: 'co-author', subject: 'person:01C', commit: 'B' },
      ],
      outcome: 'denied',
      occurredAt: '2026-02-28T23:59:59.123456789-23:30',
    },
    { type: 'a.b', occurredAt: '0001-01-01T00:00:00+00:01' },
    { type: 'a.c', occurredAt: '9999-12-31T23:59:59.999999-00:01' },
  ])
  await command(database.db.command, { by: host(tenant), stream: 'change/1' }, { initial: 0, evolve: (n) => n }, () => [
    { type: 'change.requested' },
  ])
  await new Follower(database.db, entryIndex()).catchUp([tenant])

  const { entries, refs } = await indexed(tenant)
  expect(entries).toMatchObject([
    { seq: 0, type: 'log.created', occurred_at: null, actor: null, source: null },
    {
      seq: 1,
      type: 'role.granted',
      actor: 'person:01A',
      outcome: 'denied',
      stream: null,
      source: 'test',
      occurred_at: '2026-03-01T23:29:59.123Z',
    },
    { seq: 2, type: 'a.b' },
    { seq: 3, type: 'a.c' },
    { seq: 4, type: 'change.requested', stream: 'change/1', source: null },
  ])
  expect(refs.map(({ reference, role, seq }) => [reference, role, seq])).toEqual([
    ['person:01A', 'actor', 1],
    ['person:01A', 'subject', 1],
    ['person:01B', 'target', 1],
    ['person:01C', 'subject', 1],
    ['project:9', 'target', 1],
  ])
  const superuser = await database.superuser()
  const { rows } = await superuser.query(
    `select seq, to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US AD') as at from entry_index
     where tenant = $1 and occurred_at is not null order by seq`,
    [tenant],
  )
  expect(rows).toEqual([
    { seq: 1, at: '2026-03-01 23:29:59.123456 AD' },
    { seq: 2, at: '0001-12-31 23:59:00.000000 BC' },
    { seq: 3, at: '10000-01-01 00:00:59.999999 AD' },
  ])
  const recorded = await superuser.query(
    `select count(*)::int as n from entry_index i join entries e using (tenant, seq)
     where tenant = $1 and i.recorded_at = e.recorded_at`,
    [tenant],
  )
  expect(recorded.rows).toEqual([{ n: 5 }])
})

test('an index that is dropped and rebuilt holds the same rows', async () => {
  const tenants = await createTenants(database, 'rebuilt', 3)
  for (const tenant of tenants) {
    await report(
      appender,
      tenant,
      Array.from({ length: 300 }, (_, n) => ({
        type: n % 3 ? 'user.login' : 'user.logout',
        actor: { id: `person:${n % 7}` },
        targets: [{ id: `host:${n % 5}` }],
      })),
    )
  }
  await new Follower(database.db, entryIndex()).catchUp(tenants)
  const before = await Promise.all(tenants.map(indexed))
  expect(before.map(({ entries, refs }) => [entries.length, refs.length])).toEqual([
    [301, 600],
    [301, 600],
    [301, 600],
  ])

  const { epoch } = await cursor('rebuilt-0')
  const superuser = await database.superuser()
  await superuser.query(`delete from entry_index where tenant = 'rebuilt-0' and seq % 2 = 0`)
  await superuser.query(`update entry_refs set reference = 'nobody' where tenant = 'rebuilt-1' and seq = 5`)
  await rebuildIndex(database.db, 'rebuilt-0')
  expect((await indexed('rebuilt-0')).entries).toEqual(before[0]?.entries)
  expect((await cursor('rebuilt-0')).epoch).toBeGreaterThan(epoch)
  await rebuildIndex(database.db)
  expect(await Promise.all(tenants.map(indexed))).toEqual(before)
})

test('a cursor that was set back by hand brings the same rows, not twice', async () => {
  const [tenant = ''] = await createTenants(database, 'back', 1)
  await report(appender, tenant, [{ type: 'a.b', actor: { id: 'service:x' } }, { type: 'a.c' }, { type: 'a.d' }])
  const follower = new Follower(database.db, entryIndex())
  await follower.catchUp([tenant])
  const before = await indexed(tenant)
  const superuser = await database.superuser()
  await superuser.query('update subscriptions set next_seq = 1 where tenant = $1', [tenant])
  await follower.catchUp([tenant])
  expect(await indexed(tenant)).toEqual(before)
  expect(await cursor(tenant)).toMatchObject({ next_seq: 4, owner: null, until: null })
})

test('one tenant sees nothing of the index of another', async () => {
  const [mine = '', other = ''] = await createTenants(database, 'apart', 2)
  await report(appender, mine, [{ type: 'a.b', actor: { id: 'service:x' } }])
  await report(appender, other, [{ type: 'a.b', actor: { id: 'service:x' } }])
  await new Follower(database.db, entryIndex()).catchUp([mine, other])
  const seen = await inTenant(database.db.reader, mine, async (tx) => ({
    entries: await tx.selectFrom('entry_index').select('tenant').distinct().execute(),
    refs: await tx.selectFrom('entry_refs').select('tenant').distinct().execute(),
  }))
  expect(seen).toEqual({ entries: [{ tenant: mine }], refs: [{ tenant: mine }] })
})
