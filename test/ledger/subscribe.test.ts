import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { command } from '../../src/ledger/append.js'
import { Appender } from '../../src/ledger/appender.js'
import { EntriesListener } from '../../src/ledger/listen.js'
import { leafType, parseEnvelope } from '../../src/ledger/envelope.js'
import { Follower, type Consumer, type FollowerOptions } from '../../src/ledger/subscribe.js'
import { claim, enrol, lagOf, LeaseLost, move, renew } from '../../src/ledger/subscriptions.js'
import { host } from '../../src/principal.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { applying } from '../support/follower-process.js'
import { createTenants, report } from '../support/log.js'
import { root } from '../support/root.js'

let database: TestDatabase
let appender: Appender

beforeAll(async () => {
  database = await testDatabase()
  appender = new Appender(database.db)
  const superuser = await database.superuser()
  await superuser.query(`
    create table applied (nth bigint generated always as identity, consumer text, tenant text, seq bigint, by text);
    grant select, insert on applied to countersign_operator`)
})

afterAll(async () => {
  await appender.close()
  await database.close()
})

const someEvents = (count: number) => Array.from({ length: count }, (_, n) => ({ type: 'test.happened', data: { n } }))

/** What was applied per tenant, in the order of applying. */
async function applied(consumer: string): Promise<Map<string, { seqs: number[]; by: Set<string> }>> {
  const superuser = await database.superuser()
  const { rows } = await superuser.query<{ tenant: string; seq: number; by: string }>(
    'select tenant, seq, by from applied where consumer = $1 order by nth',
    [consumer],
  )
  await superuser.end()
  const found = new Map<string, { seqs: number[]; by: Set<string> }>()
  for (const { tenant, seq, by } of rows) {
    const of = found.get(tenant) ?? { seqs: [], by: new Set() }
    of.seqs.push(seq)
    of.by.add(by)
    found.set(tenant, of)
  }
  return found
}

const upTo = (size: number) => Array.from({ length: size }, (_, n) => n)

async function until(holds: () => Promise<boolean>): Promise<void> {
  await vi.waitFor(async () => expect(await holds()).toBe(true), { timeout: 30_000, interval: 20 })
}

const caughtUp = (consumer: string, tenants?: readonly string[]) => async (): Promise<boolean> => {
  const [lag] = await lagOf(database.db.operator, [consumer], tenants)
  return lag?.entries === 0
}

async function following(
  consumer: Parameters<typeof applying>,
  options: FollowerOptions,
  work: () => Promise<void>,
): Promise<void> {
  const follower = new Follower(database.db, applying(...consumer), options)
  follower.start()
  try {
    await work()
  } finally {
    await follower.stop()
  }
}

test('two followers share twenty logs that grow: every entry is applied once, in order', async () => {
  const tenants = await createTenants(database, 'shared', 20)
  const listeners = [new EntriesListener(database.db), new EntriesListener(database.db)]
  const bounds = { tenants: 5, entries: 40, bytes: 20_000 }
  const followers = listeners.map(
    (listener, n) => new Follower(database.db, applying('pair', `f${n}`), { listener, bounds, pollMs: 200 }),
  )
  for (const follower of followers) follower.start()
  let appended = 0
  for (let round = 0; round < 30; round++) {
    await Promise.all(
      tenants.map(async (tenant, n) => {
        const events = someEvents(((round * 7 + n) % 5) + 1)
        appended += events.length
        await report(appender, tenant, events)
      }),
    )
  }
  await until(caughtUp('pair', tenants))
  for (const follower of followers) await follower.stop()
  for (const listener of listeners) await listener.close()

  const found = await applied('pair')
  let total = 0
  const by = new Map<string, number>()
  for (const tenant of tenants) {
    const of = found.get(tenant)
    expect(of?.seqs).toEqual(upTo(of?.seqs.length ?? 0))
    total += of?.seqs.length ?? 0
    for (const name of of?.by ?? []) by.set(name, (by.get(name) ?? 0) + 1)
  }
  expect(total).toBe(appended + tenants.length)
  expect([...by.keys()].sort()).toEqual(['f0', 'f1'])
  const { rows } = await (
    await database.superuser()
  ).query(`select * from subscriptions where consumer = 'pair' and (owner is not null or until is not null)`)
  expect(rows).toEqual([])
  process.stdout.write(`followed ${total} entries of ${tenants.length} logs with two followers, none twice\n`)
})

test('who is killed is taken over when his lease has run out, and nothing is applied twice', async () => {
  const tenants = await createTenants(database, 'killed', 4)
  for (const tenant of tenants) await report(appender, tenant, someEvents(10))
  const script = join(root, 'dist/test/support/follower-process.js')
  const child = fork(script, [database.url, database.keyFile, 'killed', 'child', 'stuck'])
  await once(child, 'message')
  const { rows } = await (
    await database.superuser()
  ).query<{ owner: string }>(`select distinct owner from subscriptions where consumer = 'killed' and owner is not null`)
  expect(rows).toHaveLength(1)
  child.kill('SIGKILL')
  await once(child, 'exit')
  await following(['killed', 'heir'], { pollMs: 50, leaseMs: 1_000 }, async () => {
    await until(caughtUp('killed', tenants))
  })
  const found = await applied('killed')
  for (const tenant of tenants) expect(found.get(tenant)).toEqual({ seqs: upTo(11), by: new Set(['heir']) })
})

test('a lease is kept while work goes on, however long', async () => {
  const [tenant = ''] = await createTenants(database, 'long', 1)
  let acted = 0
  const slowly = async (): Promise<void> => {
    acted++
    await delay(1_500)
  }
  await following(['long', 'slow', slowly], { pollMs: 20, leaseMs: 300 }, async () => {
    await following(['long', 'eager', slowly], { pollMs: 20, leaseMs: 300 }, async () => {
      await until(caughtUp('long', [tenant]))
    })
  })
  const found = await applied('long')
  expect(found.get(tenant)?.seqs).toEqual([0])
  expect(acted).toBe(found.size)
})

test('a stale owner can move no cursor, and keeps nothing of what it wrote', async () => {
  const { operator } = database.db
  const [one = '', two = ''] = await createTenants(database, 'stale', 2)
  await enrol(operator, 'stale', [one, two])
  const bounds = { tenants: 10, entries: 100, bytes: 100_000 }
  const options = { bounds, not: [], after: '', leaseMs: 60_000 }
  const stale = { consumer: 'stale', owner: 'stale' }
  const fresh = { consumer: 'stale', owner: 'fresh' }
  const before = await claim(operator, stale, [one, two], { ...options, leaseMs: 0 })
  expect(before.map(({ tenant, entries }) => [tenant, entries.length])).toEqual([
    [one, 1],
    [two, 1],
  ])
  const after = await claim(operator, fresh, [one], options)
  expect(after.map(({ epoch }) => epoch)).toEqual([2])
  expect(await claim(operator, stale, [one], options)).toEqual([])

  const consumer = applying('stale', 'stale')
  const attempt = operator.transaction().execute(async (tx) => {
    await consumer.write?.(tx, before)
    await move(tx, stale, before)
  })
  await expect(attempt).rejects.toEqual(new LeaseLost(new Set([one])))
  expect((await applied('stale')).size).toBe(0)

  // The same owner with an epoch from before, as after a pause: refused as well.
  await operator.transaction().execute((tx) => move(tx, fresh, after))
  await report(appender, one, someEvents(1))
  const again = await claim(operator, fresh, [one], options)
  const old = again.map((slice) => ({ ...slice, epoch: slice.epoch - 1 }))
  await expect(operator.transaction().execute((tx) => move(tx, fresh, old))).rejects.toThrow(LeaseLost)
  await renew(operator, stale, [one], 60_000)
  expect(await operator.transaction().execute((tx) => move(tx, fresh, again))).toEqual([])
})

test('notices wake a follower; without any, and for new tenants, it polls', async () => {
  const [first = ''] = await createTenants(database, 'woken', 1)
  const listener = new EntriesListener(database.db)
  await until(async () => listener.connected)
  await following(['woken', 'w'], { listener, pollMs: 3_600_000 }, async () => {
    await until(caughtUp('woken'))
    await report(appender, first, someEvents(1))
    await until(caughtUp('woken'))
    await command(
      database.db.command,
      { by: host(first), stream: 'change/1' },
      { initial: 0, evolve: (n) => n },
      () => [{ type: 'change.requested' }],
    )
    await until(caughtUp('woken'))

    const superuser = await database.superuser()
    const { rows } = await superuser.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and query like 'listen %'`,
    )
    expect(rows.length).toBeGreaterThan(0)
    await report(appender, first, someEvents(1))
    await until(caughtUp('woken'))
    await until(async () => listener.connected)
  })
  await listener.close()

  await following(['polled', 'p'], { pollMs: 50 }, async () => {
    await until(caughtUp('polled'))
    await createTenants(database, 'late', 1)
    await until(caughtUp('polled'))
    await report(appender, 'late-0', someEvents(3))
    await until(caughtUp('polled'))
  })
  expect((await applied('polled')).get('late-0')?.seqs).toEqual(upTo(4))
})

test('a log that fails rests and is tried again; the others go on', async () => {
  const tenants = await createTenants(database, 'poison', 5)
  for (const tenant of tenants) await report(appender, tenant, someEvents(5))
  let poisoned = true
  const troubles: string[] = []
  const good = applying('poison', 'p')
  const consumer = {
    ...good,
    write: async (...[tx, slices]: Parameters<NonNullable<typeof good.write>>) => {
      await good.write?.(tx, slices)
      if (poisoned && slices.some(({ tenant }) => tenant === 'poison-2')) throw new Error('indigestible')
    },
  }
  const follower = new Follower(database.db, consumer, {
    pollMs: 50,
    restMs: { first: 20, most: 100 },
    onTrouble: (error, tenant) => troubles.push(`${tenant}: ${(error as Error).message}`),
  })
  follower.start()
  const others = tenants.filter((tenant) => tenant !== 'poison-2')
  await until(caughtUp('poison', others))
  await until(async () => troubles.length >= 3)
  expect(new Set(troubles)).toEqual(new Set(['poison-2: indigestible']))
  expect((await applied('poison')).has('poison-2')).toBe(false)
  const [lag] = await lagOf(database.db.operator, ['poison'], tenants)
  expect(lag).toMatchObject({ tenants: 1, entries: 6, maxEntries: 6 })
  expect(lag?.seconds).toBeGreaterThan(0)
  poisoned = false
  await until(caughtUp('poison', tenants))
  await follower.stop()
  expect((await applied('poison')).get('poison-2')?.seqs).toEqual(upTo(6))

  poisoned = true
  await report(appender, 'poison-2', someEvents(1))
  await expect(new Follower(database.db, consumer).catchUp(['poison-2'])).rejects.toThrow('indigestible')
})

test('what happens outside the database comes before the cursor moves, and again when it failed', async () => {
  const [tenant = ''] = await createTenants(database, 'acting', 1)
  await report(appender, tenant, someEvents(2))
  const acted: number[][] = []
  const act = async ({ entries }: { entries: readonly { seq: number }[] }): Promise<void> => {
    acted.push(entries.map(({ seq }) => seq))
    if (acted.length === 1) throw new Error('not there')
  }
  await following(
    ['acting', 'a', (slice) => (slice.tenant === tenant ? act(slice) : Promise.resolve())],
    {
      pollMs: 20,
      restMs: { first: 10, most: 10 },
    },
    async () => {
      await until(caughtUp('acting', [tenant]))
    },
  )
  expect(acted).toEqual([
    [0, 1, 2],
    [0, 1, 2],
  ])
  expect((await applied('acting')).get(tenant)?.seqs).toEqual([0, 1, 2])
})

test('who wants some types only is given those, and goes past the others', async () => {
  const tenants = await createTenants(database, 'typed', 3)
  const events = (count: number) =>
    Array.from({ length: count }, (_, n) => ({
      type: ['report.generated', 'x.report.generated', 'a.b', 'log.closed'][n % 4] ?? '',
      data: { type: 'report.generated' },
    }))
  for (const tenant of tenants.slice(1)) await report(appender, tenant, events(90))
  const consumer = { ...applying('typed', 't'), types: ['report.generated', 'log.closed'] }
  const bounds = { tenants: 2, entries: 20, bytes: 4_000 }
  await new Follower(database.db, consumer, { bounds }).catchUp(tenants)
  const found = await applied('typed')
  const expected = upTo(91).filter((seq) => seq % 4 === 1 || (seq % 4 === 0 && seq > 0))
  expect(tenants.map((tenant) => found.get(tenant)?.seqs)).toEqual([undefined, expected, expected])
  expect(await caughtUp('typed', tenants)()).toBe(true)
})

test('who wants streams only is given the ends of their entries, and goes past the others', async () => {
  const tenants = await createTenants(database, 'streamed', 3)
  const large = { text: '"stream":"change/1"'.repeat(500) }
  const expected: string[] = []
  for (const tenant of tenants.slice(1)) {
    for (let n = 0; n < 12; n++) {
      await report(appender, tenant, someEvents(40))
      const stream = `change/${'x'.repeat(n * 20)}${n}`
      await command(
        database.db.command,
        { by: { ...host(tenant), id: `service:${'y'.repeat(n * 10)}` }, stream },
        { initial: 0, evolve: (count) => count },
        () => [{ type: 'change.requested', data: n % 2 === 0 ? large : { n } }, { type: 'change.voted' }],
      )
      expected.push(`${tenant} ${stream} change.requested`, `${tenant} ${stream} change.voted`)
    }
  }
  await report(appender, 'streamed-2', someEvents(5))
  const found: string[] = []
  const consumer: Consumer = {
    name: 'streamed',
    streams: true,
    act: async ({ tenant, entries }) => {
      for (const { seq, leaf } of entries) {
        const envelope = parseEnvelope(leaf)
        if (envelope?.stream === undefined) continue
        expect(envelope).toMatchObject({ seq, tenant })
        expect(leaf.length).toBeLessThan(1_200)
        found.push(`${tenant} ${envelope.stream} ${leafType(leaf)}`)
      }
    },
  }
  await new Follower(database.db, consumer, { bounds: { tenants: 2, entries: 100, bytes: 1 } }).catchUp(tenants)
  expect(found.sort()).toEqual(expected.sort())
  expect(await caughtUp('streamed', tenants)()).toBe(true)
})

test('who stops early goes on from there, and what failed before it got anywhere rests', async () => {
  const [tenant = ''] = await createTenants(database, 'early', 1)
  await report(appender, tenant, someEvents(9))
  const acted: number[][] = []
  const consumer: Consumer = {
    ...applying('early', 'e'),
    act: async ({ entries }) => {
      acted.push(entries.map(({ seq }) => seq))
      const first = entries[0]?.seq ?? 0
      return first < 6 ? first + 3 : undefined
    },
  }
  await new Follower(database.db, consumer).catchUp([tenant])
  expect(acted).toEqual([upTo(10), upTo(10).slice(3), upTo(10).slice(6)])
  expect((await applied('early')).get(tenant)?.seqs).toEqual(upTo(10))
})

test('a follower survives that its connections are cut', async () => {
  const tenants = await createTenants(database, 'cut', 3)
  const troubles: unknown[] = []
  await following(['cut', 'c'], { pollMs: 20, onTrouble: (error) => troubles.push(error) }, async () => {
    const superuser = await database.superuser()
    for (let round = 0; round < 10; round++) {
      for (const tenant of tenants) await report(appender, tenant, someEvents(20))
      await superuser.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name = 'countersign operator'`,
      )
    }
    await vi.waitFor(
      async () => {
        expect(await caughtUp('cut', tenants)()).toBe(true)
      },
      { timeout: 30_000, interval: 50 },
    )
  })
  const found = await applied('cut')
  for (const tenant of tenants) expect(found.get(tenant)?.seqs).toEqual(upTo(201))
})
