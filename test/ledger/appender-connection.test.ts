import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import type pg from 'pg'
import type { Database } from '../../src/db/database.js'
import { openAsInstallation } from '../../src/keyring/set-up.js'
import { createTenant } from '../../src/keyring/tenants.js'
import { Appender, type AppenderOptions } from '../../src/ledger/appender.js'
import type { Receipt, Submission } from '../../src/ledger/appender-lane.js'
import { prepare } from '../../src/ledger/prepare.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { eventually } from '../support/processes.js'
import { Proxy } from '../support/proxy.js'
import { verifyChains } from '../support/verify-chain.js'

let server: TestDatabase
let admin: pg.Client
let proxy: Proxy
let database: Database
let appender: Appender
let tenant: string
let tenants = 0

beforeAll(async () => {
  server = await testDatabase()
  admin = await server.superuser()
})

beforeEach(async () => {
  tenant = `tenant-${++tenants}`
  await createTenant(server.db, server.installation, tenant)
  proxy = await Proxy.to(server.url)
  database = openAsInstallation(proxy.url, server.installation)
  appender = newAppender()
})

let trouble = 0
function newAppender(options: AppenderOptions = {}): Appender {
  trouble = 0
  return new Appender(database, { ...options, onTrouble: () => trouble++ })
}

async function restart(options?: AppenderOptions): Promise<void> {
  await appender.close()
  appender = newAppender(options)
}

afterEach(async () => {
  await appender.close()
  await database.close()
  await proxy.close()
  await verifyChains(admin)
})

afterAll(async () => {
  await server.close()
})

function submission(n: number, more: Partial<Submission> = {}): Submission {
  const event = prepare(
    { type: 'thing.happened', data: { n }, source: { name: 'test' } },
    { by: { tenant, id: 'service:test', via: 'token:01TEST', permissions: [] } },
    0,
  )
  return { tenant, by: 'service:test', via: 'token:01TEST', events: [event], ...more }
}

const keyed = (n: number): Submission =>
  submission(n, { idempotency: { key: `k${n}`, mac: createHash('sha256').digest() } })

const moving = (n: number): Submission =>
  submission(n, { position: { source: 'doors', after: n === 0 ? null : `${n - 1}`, now: `${n}` } })

async function found(): Promise<number[]> {
  const entries = (await verifyChains(admin)).get(tenant) ?? []
  return entries.slice(1).map(({ event }) => Number(event.data?.['n']))
}

const kinds = [
  ['plain', submission],
  ['keyed', keyed],
  ['positioned', moving],
] as const

/** The name of every appending statement begins so, and no other's does. */
const APPEND = 'append_'

const seqs = (receipts: readonly Receipt[]) => receipts.map((receipt) => receipt.repeated || receipt.entries[0]?.seq)

test.each(kinds)('an answer that was lost after the commit is read back: %s', async (_, of) => {
  await appender.submit(of(0))
  proxy.loseAnswers(APPEND)
  expect(seqs(await Promise.all([1, 2, 3].map((n) => appender.submit(of(n)))))).toEqual([2, 3, 4])
  expect(trouble).toBeGreaterThan(0)
  expect(await found()).toEqual([0, 1, 2, 3])
})

test.each(kinds)('what a lost connection still carries writes nothing a second time: %s', async (_, of) => {
  await appender.submit(of(0))
  const { held, release } = proxy.holdQuestions(APPEND)
  const calls = [1, 2, 3].map((n) => appender.submit(of(n)))
  await held
  const receipts = await Promise.all(calls)
  // The first connection's statement reaches the server only now.
  await release()
  expect(seqs(receipts)).toEqual([2, 3, 4])
  expect(await found()).toEqual([0, 1, 2, 3])
})

test.each(kinds)('a commit that comes late is found: %s', async (_, of) => {
  await appender.submit(of(0))
  const { held, release } = proxy.holdQuestions(APPEND)
  const calls = [1, 2, 3].map((n) => appender.submit(of(n)))
  await held
  // Nobody gets through to look until the lost connection's statement has been carried out after all.
  proxy.shut()
  await release()
  const landed = await found()
  proxy.reopen()
  expect(landed).toEqual([0, 1, 2, 3])
  expect(seqs(await Promise.all(calls))).toEqual([2, 3, 4])
  expect(await found()).toEqual([0, 1, 2, 3])
})

test('whoever cannot wait is told that the outcome is not known, and a repeat with the key finds out', async () => {
  await restart({ patienceMs: 600 })
  await appender.submit(keyed(0))
  const { held, release } = proxy.holdQuestions(APPEND)
  const call = Promise.allSettled([appender.submit(keyed(1))])
  await held
  proxy.shut()
  const late = Promise.allSettled([appender.submit(keyed(2))])
  expect([...(await call), ...(await late)]).toMatchObject([
    { status: 'rejected', reason: { code: 'OUTCOME_UNKNOWN', retryAfterS: 2 } },
    { status: 'rejected', reason: { code: 'STORE_UNAVAILABLE', retryAfterS: 2 } },
  ])
  expect(appender.queued).toEqual({ events: 0, bytes: 0 })
  await release()
  proxy.reopen()
  expect(await appender.submit(keyed(1))).toMatchObject({ repeated: true, firstSeq: 2 })
  expect(await appender.submit(keyed(2))).toMatchObject({ repeated: false })
  expect(await found()).toEqual([0, 1, 2])
})

test('submissions that rest on each other keep their order while connections are cut', async () => {
  const COUNT = 600
  await restart({ patienceMs: 60_000 })
  const calls: Promise<Receipt>[] = []
  for (let n = 0; n < COUNT; n++) {
    calls.push(appender.submit(moving(n)))
    if (n % 10 === 0) await sleep(1)
    if (n % 60 === 30) {
      proxy.shut()
      proxy.reopen()
    }
  }
  const places = seqs(await Promise.all(calls))
  const inOrder = Array.from({ length: COUNT }, (_, n) => n)
  expect(places).toEqual(inOrder.map((n) => n + 1))
  expect(trouble).toBeGreaterThan(0)
  expect(await found()).toEqual(inOrder)
})

test('a database that is gone is waited for, and callers who cannot wait are told', async () => {
  await appender.submit(submission(0))
  proxy.shut()
  const patient = [1, 2].map((n) => appender.submit(submission(n)))
  await sleep(700)
  expect(appender.connected).toBe(false)
  proxy.reopen()
  await Promise.all(patient)
  expect(await found()).toEqual([0, 1, 2])
})

test('closing while the database is gone answers everybody, and ends', async () => {
  await restart({ patienceMs: 500 })
  await appender.submit(submission(0))
  proxy.shut()
  await eventually(() => !appender.connected)
  const calls = Promise.allSettled([submission, keyed, moving].map((of) => appender.submit(of(0))))
  await restart()
  for (const outcome of await calls) {
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'STORE_UNAVAILABLE' } })
  }
  proxy.reopen()
  await appender.submit(submission(1))
  expect(await found()).toEqual([0, 1])
})

test('a submission that its process gave up on is not sent later', async () => {
  await restart({ patienceMs: 300 })
  await appender.submit(submission(0))
  proxy.shut()
  await eventually(() => !appender.connected)
  await expect(appender.submit(moving(0))).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  await expect(appender.submit(submission(1))).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  proxy.reopen()
  await appender.submit(submission(2))
  expect(await found()).toEqual([0, 2])
})
