import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { command } from '../../src/ledger/append.js'
import { Appender } from '../../src/ledger/appender.js'
import { EntriesListener } from '../../src/ledger/listen.js'
import { LiveFeed } from '../../src/ledger/live.js'
import type { EntryView } from '../../src/ledger/view.js'
import { host } from '../../src/principal.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { createTenants, report } from '../support/log.js'

let database: TestDatabase
let appender: Appender
let listener: EntriesListener

beforeAll(async () => {
  database = await testDatabase()
  appender = new Appender(database.db)
  listener = new EntriesListener(database.db)
})

afterAll(async () => {
  await listener.close()
  await appender.close()
  await database.close()
})

const never = 3_600_000
const upTo = (size: number) => Array.from({ length: size }, (_, n) => n)
const some = (count: number) => Array.from({ length: count }, (_, n) => ({ type: 'a.b', data: { n } }))

async function take(feed: AsyncIterable<EntryView>, count: number, pauseMs = 0): Promise<number[]> {
  const seqs: number[] = []
  for await (const { seq } of feed) {
    seqs.push(seq)
    if (seqs.length === count) break
    if (pauseMs > 0) await delay(pauseMs)
  }
  return seqs
}

test('many followers of one log get every entry in order as it comes, from where they left off', async () => {
  const [tenant = ''] = await createTenants(database, 'fan', 1)
  const live = new LiveFeed(database.db, { listener, pollMs: never })
  await vi.waitFor(() => expect(listener.connected).toBe(true), { timeout: 10_000 })
  const feeds = [0, 0, 5, 100].map((from) => take(live.entries(tenant, from), 301 - from))
  const early = feeds.length
  await vi.waitFor(() => expect(live.followers).toBe(early))
  for (let n = 0; n < 30; n++) await report(appender, tenant, some(10))
  feeds.push(take(live.entries(tenant, 7), 294))
  const seen = await Promise.all(feeds)
  expect(seen.map((seqs) => seqs[0])).toEqual([0, 0, 5, 100, 7])
  for (const seqs of seen) expect(seqs).toEqual(upTo(301).slice(seqs[0]))
  expect(live.followers).toBe(0)

  const next = take(live.entries(tenant, undefined), 1)
  await vi.waitFor(() => expect(live.followers).toBe(1))
  await command(database.db.command, { by: host(tenant), stream: 'change/1' }, { initial: 0, evolve: (n) => n }, () => [
    { type: 'change.requested' },
  ])
  expect(await next).toEqual([301])
  live.close()
})

test('who is slow reads what is no longer kept, without a gap', async () => {
  const [tenant = ''] = await createTenants(database, 'slow', 1)
  const live = new LiveFeed(database.db, { listener, pollMs: 100, kept: 5 })
  const slow = take(live.entries(tenant, 0), 601, 1)
  const quick = take(live.entries(tenant, 0), 601)
  for (let n = 0; n < 6; n++) await report(appender, tenant, some(100))
  expect(await quick).toEqual(upTo(601))
  expect(await slow).toEqual(upTo(601))
  live.close()
})

test('without notices it polls, and after a cut connection it hears again', async () => {
  const [tenant = ''] = await createTenants(database, 'cut', 1)
  const superuser = await database.superuser()
  const own = new EntriesListener(database.db)
  await vi.waitFor(() => expect(own.connected).toBe(true), { timeout: 10_000 })
  const live = new LiveFeed(database.db, { listener: own, pollMs: never })
  const feed = take(live.entries(tenant, 0), 4)
  await vi.waitFor(() => expect(live.followers).toBe(1))
  await report(appender, tenant, some(1))
  const { rows } = await superuser.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query like 'listen %'`,
  )
  expect(rows.length).toBeGreaterThan(0)
  await report(appender, tenant, some(1))
  await vi.waitFor(() => expect(own.connected).toBe(true), { timeout: 10_000 })
  await report(appender, tenant, some(1))
  expect(await feed).toEqual(upTo(4))
  live.close()
  await own.close()

  const polling = new LiveFeed(database.db, { listener: own, pollMs: 20 })
  const polled = take(polling.entries(tenant, 4), 1)
  await vi.waitFor(() => expect(polling.followers).toBe(1))
  await report(appender, tenant, some(1))
  expect(await polled).toEqual([4])
  polling.close()
})

test('a feed ends when its follower leaves, or all are closed', async () => {
  const [tenant = ''] = await createTenants(database, 'ended', 1)
  const live = new LiveFeed(database.db, { listener, pollMs: never })
  const controller = new AbortController()
  const left = take(live.entries(tenant, 0, controller.signal), 99)
  const stays = take(live.entries(tenant, 0), 99)
  await vi.waitFor(() => expect(live.followers).toBe(2))
  await delay(50)
  controller.abort()
  expect(await left).toEqual([0])
  expect(live.followers).toBe(1)
  live.close()
  expect(await stays).toEqual([0])
  expect(live.followers).toBe(0)
  expect(await take(live.entries(tenant, 0), 99)).toEqual([])
})

test('a feed shows its own log only', async () => {
  const [one = '', two = ''] = await createTenants(database, 'apart', 2)
  const live = new LiveFeed(database.db, { listener, pollMs: 50 })
  const controller = new AbortController()
  const seen: EntryView[] = []
  const feed = (async () => {
    for await (const entry of live.entries(one, 0, controller.signal)) seen.push(entry)
  })()
  await report(appender, two, [{ type: 'not.yours' }])
  await report(appender, one, [{ type: 'yours.indeed' }])
  await vi.waitFor(() => expect(seen).toHaveLength(2))
  await delay(100)
  controller.abort()
  await feed
  expect(seen.map(({ event }) => event.type)).toEqual(['log.created', 'yours.indeed'])
  live.close()
})
