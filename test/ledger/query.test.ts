import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { DomainError } from '../../src/errors.js'
import { entryIndex } from '../../src/followers/entry-index.js'
import { createTenant } from '../../src/keyring/tenants.js'
import { Appender } from '../../src/ledger/appender.js'
import type { LeafEvent } from '../../src/ledger/event.js'
import type { EntryFilter } from '../../src/ledger/filter.js'
import type { Order } from '../../src/ledger/page-cursor.js'
import { getEntry, headOf, lastVerification, listEntries, streamEntries, streamRows } from '../../src/ledger/query.js'
import { instantUs } from '../../src/ledger/rfc3339.js'
import { Follower } from '../../src/ledger/subscribe.js'
import { command } from '../../src/ledger/append.js'
import { viewOf, type EntryRow, type EntryView } from '../../src/ledger/view.js'
import { host } from '../../src/principal.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { createTenants, report } from '../support/log.js'

let database: TestDatabase
let appender: Appender
let all: EntryView[]

const TENANT = 'acme'
const people = ['person:01A', 'person:01B', 'person:01C', 'service:x']
const things = ['project:1', 'project:2', 'project:3', 'person:01A']
const types = ['role.granted', 'role.revoked', 'role.granted.again', 'role-x.granted', 'user.login', 'roles.listed']
const outcomes = ['success', 'failure', 'denied'] as const
const streams = ['change/1', 'change/2']

const someEvent: fc.Arbitrary<LeafEvent> = fc.record(
  {
    type: fc.constantFrom(...types),
    actor: fc.constantFrom(...people).map((id) => ({ id })),
    targets: fc
      .array(fc.constantFrom(...things), { minLength: 1, maxLength: 4 })
      .map((ids) => ids.map((id) => ({ id }))),
    sealed: fc
      .uniqueArray(fc.constantFrom('person:01A', 'person:01B', 'person:01C'), { minLength: 1, maxLength: 3 })
      .map((subjects) => subjects.map((subject, n) => ({ subject, group: `g${n}`, commit: 'c' }))),
    outcome: fc.constantFrom(...outcomes),
    occurredAt: fc.integer({ min: 0, max: 3000 }).map((s) => new Date(1_700_000_000_000 + s * 1000).toISOString()),
  },
  { requiredKeys: ['type'] },
)

beforeAll(async () => {
  database = await testDatabase()
  appender = new Appender(database.db)
  await createTenant(database.db, database.installation, TENANT)
  await createTenant(database.db, database.installation, 'other')
  const batches = fc.sample(fc.array(someEvent, { minLength: 1, maxLength: 12 }), { numRuns: 100, seed: 7 })
  for (const [n, events] of batches.entries()) {
    await report(appender, TENANT, events)
    if (n % 5 === 0) await report(appender, 'other', events)
    if (n % 10 === 0) {
      const stream = streams[(n / 10) % 2] ?? ''
      await command(database.db.command, { by: host(TENANT), stream }, { initial: 0, evolve: (of) => of }, () => [
        { type: 'change.requested', targets: [{ id: 'project:1' }] },
      ])
    }
    await delay(1)
  }
  await new Follower(database.db, entryIndex()).catchUp()
  const superuser = await database.superuser()
  const { rows } = await superuser.query<EntryRow>(
    'select seq, leaf, chain_hash from entries where tenant = $1 order by seq',
    [TENANT],
  )
  all = rows.map(viewOf)
})

afterAll(async () => {
  await appender.close()
  await database.close()
})

/** What a filter means, said without an index. */
function matches(filter: EntryFilter, { seq, at, stream, event }: EntryView): boolean {
  const { type } = filter
  const occurred = event.occurredAt === undefined ? undefined : instantUs(event.occurredAt)
  const given: [unknown, () => boolean][] = [
    [type, () => (type?.endsWith('.*') ? event.type.startsWith(type.slice(0, -1)) : event.type === type)],
    [filter.actor, () => event.actor?.id === filter.actor],
    [filter.target, () => event.targets?.some(({ id }) => id === filter.target) ?? false],
    [filter.subject, () => event.sealed?.some(({ subject }) => subject === filter.subject) ?? false],
    [filter.stream, () => stream === filter.stream],
    [filter.outcome, () => event.outcome === filter.outcome],
    [filter.fromSeq, () => seq >= (filter.fromSeq ?? 0)],
    [filter.toSeq, () => seq <= (filter.toSeq ?? 0)],
    [filter.from, () => instantUs(at) >= instantUs(filter.from ?? '')],
    [filter.to, () => instantUs(at) < instantUs(filter.to ?? '')],
    [filter.occurredFrom, () => occurred !== undefined && occurred >= instantUs(filter.occurredFrom ?? '')],
    [filter.occurredTo, () => occurred !== undefined && occurred < instantUs(filter.occurredTo ?? '')],
  ]
  return given.every(([value, holds]) => value === undefined || holds())
}

async function pages(filter: EntryFilter, order: Order, limit: number): Promise<number[]> {
  const found: number[] = []
  for (let cursor: string | undefined; ;) {
    const page = await listEntries(database.db, TENANT, filter, { order, limit, cursor })
    expect(page.entries.length).toBeLessThanOrEqual(limit)
    expect(page.indexedUpTo).toBe(all.length - 1)
    expect(page.head).toEqual({ size: all.length })
    found.push(...page.entries.map((entry) => entry.seq))
    cursor = page.next
    if (cursor === undefined) return found
  }
}

test('every filter finds what reading all entries finds, page by page and as a stream', async () => {
  const between = (first: string, last: string) => {
    const [from, to] = [Date.parse(first) - 5, Date.parse(last) + 5]
    return fc
      .tuple(fc.integer({ min: from, max: to }), fc.constantFrom('000Z', '999Z', 'Z'))
      .map(([ms, tail]) => new Date(ms).toISOString().replace('Z', tail))
  }
  const seq = fc.integer({ min: 0, max: all.length + 5 })
  const recorded = between(all[0]?.at ?? '', all.at(-1)?.at ?? '')
  const occurred = between('2023-11-14T22:13:20.000Z', '2023-11-14T23:03:20.000Z')
  const ordered = <T>(pair: fc.Arbitrary<[T, T]>, value: (end: T) => number | bigint) =>
    pair.map(([a, b]): [T, T] => (value(a) <= value(b) ? [a, b] : [b, a]))
  const members = fc.record({
    type: fc.constantFrom(...types, 'role.*', 'role.granted.*', 'user.*', 'change.*', 'nothing.*', 'log.created'),
    actor: fc.constantFrom(...people, 'nobody'),
    target: fc.constantFrom(...things),
    subject: fc.constantFrom('person:01A', 'person:01B', 'project:1'),
    stream: fc.constantFrom(...streams),
    outcome: fc.constantFrom(...outcomes, 'unheard-of'),
    seqs: ordered(fc.tuple(seq, seq), Number),
    recorded: ordered(fc.tuple(recorded, recorded), instantUs),
    claimed: ordered(fc.tuple(occurred, occurred), instantUs),
    half: fc.constantFrom('first', 'last', undefined),
  })
  const names = ['type', 'actor', 'target', 'subject', 'stream', 'outcome', 'seqs', 'recorded', 'claimed'] as const
  const filters = fc
    .tuple(members, fc.subarray([...names], { maxLength: 3 }))
    .map(([given, kept]) => {
      const some: Partial<typeof given> = { half: given.half }
      for (const name of kept) Object.assign(some, { [name]: given[name] })
      return some
    })
    .map(({ seqs, recorded, claimed, half, ...rest }): EntryFilter => ({
      ...rest,
      ...(seqs && half !== 'last' ? { fromSeq: seqs[0] } : {}),
      ...(seqs && half !== 'first' ? { toSeq: seqs[1] } : {}),
      ...(recorded && half !== 'last' ? { from: recorded[0] } : {}),
      ...(recorded && half !== 'first' ? { to: recorded[1] } : {}),
      ...(claimed && half !== 'last' ? { occurredFrom: claimed[0] } : {}),
      ...(claimed && half !== 'first' ? { occurredTo: claimed[1] } : {}),
    }))
  let found = 0
  await fc.assert(
    fc.asyncProperty(
      filters,
      fc.constantFrom<Order>('asc', 'desc'),
      fc.constantFrom(1, 7, 100, 1000),
      async (filter, order, limit) => {
        const matching = all.filter((entry) => matches(filter, entry))
        if (order === 'desc') matching.reverse()
        const expected = matching.map((entry) => entry.seq)
        const few = expected.length / limit > 8 ? 100 : limit
        expect(await pages(filter, order, few)).toEqual(expected)
        const streamed: EntryView[] = []
        const { entries } = await streamEntries(database.db, TENANT, filter, { order, pageSize: Math.max(few, 100) })
        for await (const entry of entries) streamed.push(entry)
        expect(streamed.map((entry) => entry.seq)).toEqual(expected)
        expect(streamed[0]).toEqual(matching[0])
        found += expected.length
      },
    ),
    { numRuns: 80, seed: 11 },
  )
  process.stdout.write(`80 filters over ${all.length} entries found ${found}, as reading all of them does\n`)
})

test('pages have no gap and no repeat while entries are appended', async () => {
  const [tenant = ''] = await createTenants(database, 'growing', 1)
  const follower = new Follower(database.db, entryIndex(), { pollMs: 5 })
  follower.start()
  let done = false
  const appending = (async () => {
    for (let n = 0; n < 40; n++) {
      await report(
        appender,
        tenant,
        Array.from({ length: 10 }, (_, k) => ({ type: k % 2 ? 'a.odd' : 'a.even' })),
      )
    }
    done = true
  })()
  for (const filter of [{}, { type: 'a.even' }]) {
    const seen: number[] = []
    for (let cursor: string | undefined, ended = false; !ended;) {
      const page = await listEntries(database.db, tenant, { ...filter, fromSeq: 1 }, { limit: 7, cursor })
      seen.push(...page.entries.map((entry) => entry.seq))
      // A reader who has reached the end asks again from there once there is more.
      if (page.next !== undefined) cursor = page.next
      else if (page.entries.length > 0 && !done) seen.splice(seen.length - page.entries.length)
      else if (done && page.indexedUpTo === 400) ended = true
      else if (done) seen.splice(seen.length - page.entries.length)
    }
    const step = 'type' in filter ? 2 : 1
    expect(seen).toEqual(Array.from({ length: 400 / step }, (_, n) => 1 + n * step))
  }
  await appending
  await follower.stop()
})

test('a stream ends where the log ended when it began', async () => {
  const [tenant = ''] = await createTenants(database, 'streamed', 1)
  await report(appender, tenant, [{ type: 'a.b' }, { type: 'a.c' }, { type: 'a.b' }])
  const { range, head, indexedUpTo, rows } = await streamRows(database.db, tenant, {}, { pageSize: 2 })
  expect({ range, head, indexedUpTo }).toEqual({ range: { first: 0, last: 3 }, head: { size: 4 }, indexedUpTo: -1 })
  const seen: number[] = []
  for await (const row of rows) {
    seen.push(row.seq)
    await report(appender, tenant, [{ type: 'a.b' }])
  }
  expect(seen).toEqual([0, 1, 2, 3])

  await new Follower(database.db, entryIndex()).catchUp([tenant])
  const filtered = await streamRows(database.db, tenant, { type: 'a.b' }, { pageSize: 2, patienceMs: 50 })
  const iterator = filtered.rows[Symbol.asyncIterator]()
  await iterator.next()
  await iterator.next()
  const superuser = await database.superuser()
  await superuser.query('update subscriptions set next_seq = 0 where tenant = $1', [tenant])
  await expect(iterator.next()).rejects.toMatchObject({ code: 'INDEX_BEHIND' })
})

test('a page of large entries is shorter than its limit, and leads on', async () => {
  const [tenant = ''] = await createTenants(database, 'large', 1)
  for (let n = 0; n < 10; n++) {
    await report(
      appender,
      tenant,
      Array.from({ length: 20 }, () => ({ type: 'a.b', data: { text: 'x'.repeat(60_000) } })),
    )
  }
  const seen: number[] = []
  const sizes: number[] = []
  for (let cursor: string | undefined; ;) {
    const page = await listEntries(database.db, tenant, {}, { limit: 1000, cursor })
    seen.push(...page.entries.map((entry) => entry.seq))
    sizes.push(page.entries.length)
    cursor = page.next
    if (cursor === undefined) break
  }
  expect(seen).toEqual(Array.from({ length: 201 }, (_, n) => n))
  expect(Math.max(...sizes)).toBeLessThan(150)
})

test('a reader can wait for its own write, and not for ever', async () => {
  const [tenant = ''] = await createTenants(database, 'waiting', 1)
  const seq = await report(appender, tenant, [{ type: 'a.mine' }])
  const ask = (atLeast: number, patienceMs: number) =>
    listEntries(database.db, tenant, { type: 'a.mine' }, { atLeast, patienceMs })
  await expect(ask(seq, 50)).rejects.toMatchObject({ code: 'INDEX_BEHIND', retryAfterS: 1 })
  const unwaiting = await listEntries(database.db, tenant, { type: 'a.mine' })
  expect(unwaiting).toEqual({ entries: [], indexedUpTo: -1, head: { size: 2 } })
  const answer = ask(seq, 10_000)
  await new Follower(database.db, entryIndex()).catchUp([tenant])
  expect((await answer).entries.map((entry) => entry.seq)).toEqual([seq])

  const controller = new AbortController()
  const given = listEntries(database.db, tenant, {}, { atLeast: 99, signal: controller.signal })
  controller.abort()
  await expect(given).rejects.toMatchObject({ name: 'AbortError' })
})

test('one tenant reads nothing of another', async () => {
  const mine = await listEntries(database.db, 'other', { actor: 'person:01A' }, { limit: 1000 })
  expect(mine.entries.length).toBeGreaterThan(0)
  const size = (await headOf(database.db, 'other')).size
  expect(size).toBeLessThan(all.length)
  await expect(getEntry(database.db, 'other', size)).rejects.toMatchObject({ code: 'ENTRY_UNKNOWN' })
  expect((await getEntry(database.db, TENANT, size)).chainHash).toBe(all[size]?.chainHash)
  const { next } = await listEntries(database.db, TENANT, {}, { limit: 5 })
  await expect(listEntries(database.db, 'other', {}, { cursor: next })).rejects.toMatchObject({
    code: 'CURSOR_INVALID',
  })
})

test('a cursor goes on with its own question only, and as it came', async () => {
  const filter = { type: 'role.*' }
  const { next = '' } = await listEntries(database.db, TENANT, filter, { limit: 5 })
  expect(next).toMatch(/^[A-Za-z0-9_-]+$/)
  const tampered = [
    ...Array.from(next, (letter, n) => next.slice(0, n) + (letter === 'A' ? 'B' : 'A') + next.slice(n + 1)),
    `${next}=`,
    `${next} `,
    next.slice(0, -1),
    'x',
    '',
    Buffer.from('[1,5]').toString('base64url'),
    Buffer.from('{}').toString('base64url'),
    Buffer.from('null').toString('base64url'),
    Buffer.from('[1,-1,"x"]').toString('base64url'),
    'x'.repeat(100_000),
  ]
  for (const cursor of tampered) {
    await expect(listEntries(database.db, TENANT, filter, { cursor })).rejects.toMatchObject({ code: 'CURSOR_INVALID' })
  }
  const others: [EntryFilter, Order][] = [
    [filter, 'desc'],
    [{}, 'asc'],
    [{ ...filter, actor: 'person:01A' }, 'asc'],
  ]
  for (const [other, order] of others) {
    await expect(listEntries(database.db, TENANT, other, { cursor: next, order })).rejects.toMatchObject({
      code: 'CURSOR_INVALID',
    })
  }
})

test.each<[EntryFilter, string]>([
  [{ type: 'role' }, 'FILTER_INVALID'],
  [{ type: '*' }, 'FILTER_INVALID'],
  [{ type: 'role.gr*' }, 'FILTER_INVALID'],
  [{ type: 'ro%.granted' }, 'FILTER_INVALID'],
  [{ actor: '' }, 'FILTER_INVALID'],
  [{ actor: 'a\0b' }, 'FILTER_INVALID'],
  [{ target: '\ud800' }, 'FILTER_INVALID'],
  [{ fromSeq: -1 }, 'RANGE_INVALID'],
  [{ toSeq: 1.5 }, 'RANGE_INVALID'],
  [{ fromSeq: 5, toSeq: 4 }, 'RANGE_INVALID'],
  [{ from: 'yesterday' }, 'RANGE_INVALID'],
  [{ from: '2026-01-01T00:00:00' }, 'RANGE_INVALID'],
  [{ from: '2026-01-02T00:00:00Z', to: '2026-01-01T00:00:00Z' }, 'RANGE_INVALID'],
  [{ occurredFrom: '2026-01-01T00:00:01Z', occurredTo: '2026-01-01T01:00:00+01:00' }, 'RANGE_INVALID'],
])('the filter %j is refused', async (filter, code) => {
  await expect(listEntries(database.db, TENANT, filter)).rejects.toMatchObject({ code })
})

test('a limit is 1 to 1000, and a tenant one that exists', async () => {
  for (const limit of [0, 1001, 1.5, Number.NaN]) {
    await expect(listEntries(database.db, TENANT, {}, { limit })).rejects.toMatchObject({ code: 'RANGE_INVALID' })
  }
  await expect(listEntries(database.db, 'nobody', {})).rejects.toBeInstanceOf(DomainError)
  await expect(headOf(database.db, 'nobody')).rejects.toMatchObject({ code: 'TENANT_UNKNOWN' })
})

test('an entry, the head and the last verification are told', async () => {
  const entry = await getEntry(database.db, TENANT, 0)
  expect(entry).toMatchObject({
    seq: 0,
    by: 'service:host',
    via: 'host',
    reported: false,
    event: { type: 'log.created' },
  })
  expect(entry.leaf.toString()).toMatch(/^\{"entry":\{"at":/)
  expect(entry.leafHash).toMatch(/^[0-9a-f]{64}$/)
  expect(all.find(({ stream }) => stream === 'change/1')).toMatchObject({ version: 1, reported: false })
  expect(all[1]).toMatchObject({ reported: true, by: 'service:test', via: 'token:test' })
  for (const seq of [-1, 0.5, 1e9, Number.NaN]) {
    await expect(getEntry(database.db, TENANT, seq)).rejects.toMatchObject({ code: 'ENTRY_UNKNOWN' })
  }
  const head = await headOf(database.db, TENANT)
  expect(head).toMatchObject({ size: all.length, chainHash: all.at(-1)?.chainHash, recordedAt: all.at(-1)?.at })
  expect(await lastVerification(database.db, TENANT)).toBeUndefined()
  const verification = {
    tenant: TENANT,
    from_seq: 0,
    next_seq: 5,
    chain_hash: Buffer.alloc(32, 1),
    findings: 0,
    duration_ms: 12,
  }
  await database.db.operator
    .insertInto('verifications')
    .values([
      { ...verification, verified_at: '2026-01-01T00:00:00.000Z' },
      { ...verification, verified_at: '2026-01-02T00:00:00.000Z', findings: 2 },
    ])
    .execute()
  expect(await lastVerification(database.db, TENANT)).toEqual({
    verifiedAt: '2026-01-02T00:00:00.000Z',
    fromSeq: 0,
    nextSeq: 5,
    chainHash: '01'.repeat(32),
    findings: 2,
    durationMs: 12,
  })
})

test('filters rest on leakproof operators alone', async () => {
  const superuser = await database.superuser()
  const { rows } = await superuser.query<{ type: string; operator: string }>(`
    select t.typname as type, o.oprname as operator
    from pg_operator o join pg_proc p on p.oid = o.oprcode join pg_type t on t.oid = o.oprleft
    where o.oprleft = o.oprright and t.typname in ('text', 'int8', 'timestamptz') and o.oprname in ('=', '<', '<=', '>=')
      and not p.proleakproof`)
  expect(rows).toEqual([])
})
