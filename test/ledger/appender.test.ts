import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createTenant } from '../../src/keyring/tenants.js'
import { Appender, type AppenderOptions } from '../../src/ledger/appender.js'
import type { Receipt, Submission } from '../../src/ledger/appender-lane.js'
import { ENTRIES_CHANNEL } from '../../src/ledger/append-statement.js'
import type { PreparedEvent } from '../../src/ledger/batch.js'
import type { LeafEvent } from '../../src/ledger/event.js'
import { prepare } from '../../src/ledger/prepare.js'
import type { Principal } from '../../src/principal.js'
import { appenderProcess, appenderProcesses } from '../support/appender-process.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { eventually } from '../support/processes.js'
import { verifyChains, type FoundEntry } from '../support/verify-chain.js'

let server: TestDatabase
let admin: pg.Client
let tenants = 0
const open: Appender[] = []

beforeAll(async () => {
  server = await testDatabase()
  admin = await server.superuser()
})

afterEach(async () => {
  await Promise.all(open.splice(0).map((appender) => appender.close()))
  await verify()
})

afterAll(async () => {
  await server.close()
})

function verify(): Promise<Map<string, FoundEntry[]>> {
  return verifyChains(admin)
}

/** The entries of a tenant but for the one that opened its log. */
async function entriesOf(tenant: string): Promise<FoundEntry[]> {
  return (await verify()).get(tenant)?.slice(1) ?? []
}

async function newTenant(): Promise<string> {
  const tenant = `tenant-${++tenants}`
  await createTenant(server.db, server.installation, tenant)
  return tenant
}

function newAppender(options: AppenderOptions = {}): Appender {
  const appender = new Appender(server.db, options)
  open.push(appender)
  return appender
}

const by = (tenant: string): Principal => ({ tenant, id: 'service:test', via: 'token:01TEST', permissions: [] })

function event(tenant: string, data: Record<string, number | string> = {}, stream?: string): PreparedEvent {
  const leaf: LeafEvent = { type: 'thing.happened', data, ...(stream === undefined && { source: { name: 'test' } }) }
  return prepare(leaf, stream === undefined ? { by: by(tenant) } : { by: by(tenant), stream }, 0)
}

function submission(tenant: string, more: Partial<Submission> = {}): Submission {
  return { tenant, by: 'service:test', via: 'token:01TEST', events: [event(tenant)], ...more }
}

function inStream(tenant: string, name: string, expectedVersion: number, count = 1): Submission {
  const events = Array.from({ length: count }, (_, n) => event(tenant, { n: expectedVersion + n }, name))
  return submission(tenant, { events, stream: { name, expectedVersion } })
}

const keyed = (tenant: string, key: string, body = 'body'): Submission =>
  submission(tenant, { idempotency: { key, mac: createHash('sha256').update(body).digest() } })

const moving = (tenant: string, source: string, after: string | null, now: string): Submission =>
  submission(tenant, { events: [event(tenant, { now })], position: { source, after, now } })

function seqsOf(receipt: Receipt): number[] {
  return receipt.repeated ? [] : receipt.entries.map((entry) => entry.seq)
}

function pick<T>(items: readonly T[], n: number): T {
  const item = items[n % items.length]
  if (item === undefined) throw new Error('nothing to pick from')
  return item
}

/** Codes of what was refused, `undefined` for what was not. */
async function outcomes(calls: readonly Promise<unknown>[]): Promise<(string | undefined)[]> {
  const settled = await Promise.allSettled(calls)
  return settled.map((outcome) =>
    outcome.status === 'fulfilled' ? undefined : ((outcome.reason as { code?: string }).code ?? String(outcome.reason)),
  )
}

/** Does what a key's destruction does to the head: one more entry, and a higher epoch. */
async function raiseEpoch(tenant: string, appender: Appender): Promise<void> {
  await admin.query('update heads set key_epoch = key_epoch + 1 where tenant = $1', [tenant])
  await appender.submit(submission(tenant))
}

describe('order', () => {
  test('a receipt names place, time and chain hash of each event', async () => {
    const tenant = await newTenant()
    const receipt = await newAppender().submit(submission(tenant, { events: [event(tenant), event(tenant)] }))
    const found = await entriesOf(tenant)
    expect(receipt).toEqual({
      repeated: false,
      entries: found.map(({ seq, at, chainHash }) => ({ duplicate: false, seq, at, chainHash })),
    })
    expect(found).toHaveLength(2)
  })

  test('what one caller hands in lands in order, without waiting for answers', async () => {
    const appender = newAppender()
    const ids = await Promise.all(Array.from({ length: 5 }, newTenant))
    await Promise.all(
      Array.from({ length: 3000 }, (_, n) => {
        const tenant = pick(ids, n)
        return appender.submit(submission(tenant, { events: [event(tenant, { n })] }))
      }),
    )
    for (const tenant of ids) {
      const found = (await entriesOf(tenant)).map((entry) => Number(entry.event.data?.['n']))
      expect(found).toHaveLength(600)
      expect(found).toEqual(found.toSorted((a, b) => a - b))
    }
  })

  test('several processes extend the same logs through both doors, each in its own order', async () => {
    const processes = await appenderProcesses(server, 3)
    const ids = [await newTenant(), await newTenant()]
    await Promise.all(
      processes.flatMap((process, p) =>
        Array.from({ length: 120 }, (_, n) => {
          const tenant = pick(ids, n)
          const data = { p, n }
          return n % 6 < 2
            ? process.run('command', { tenant, stream: `thing/${n % 10}`, events: [{ type: 'thing.decided', data }] })
            : process.run('submit', { tenant, events: [{ type: 'thing.happened', data }] })
        }),
      ),
    )
    await Promise.all(processes.map((process) => process.close()))
    const logs = await verify()
    expect(ids.map((tenant) => logs.get(tenant)?.length)).toEqual([181, 181])
    for (const tenant of ids) {
      for (const p of [0, 1, 2]) {
        const ingested = (logs.get(tenant) ?? []).filter(({ event }) => event.data?.['p'] === p && event['source'])
        const order = ingested.map(({ event }) => Number(event.data?.['n']))
        expect(order).toHaveLength(40)
        expect(order).toEqual(order.toSorted((a, b) => a - b))
      }
    }
  })
})

describe('expected versions', () => {
  test('a stream is extended from the version that was seen, and from no other', async () => {
    const tenant = await newTenant()
    const appender = newAppender()
    await appender.submit(inStream(tenant, 'change/1', 0, 2))
    await appender.submit(inStream(tenant, 'change/1', 2))
    expect(
      await outcomes([
        appender.submit(inStream(tenant, 'change/1', 0)),
        appender.submit(inStream(tenant, 'change/1', 2)),
        appender.submit(inStream(tenant, 'change/1', 7)),
        appender.submit(inStream(tenant, 'change/2', 1)),
      ]),
    ).toEqual(Array(4).fill('LEDGER_STREAM_VERSION_CONFLICT'))
    expect((await entriesOf(tenant)).map(({ entry }) => entry.version)).toEqual([1, 2, 3])
  })

  test('submissions that rest on ones still in flight all land', async () => {
    const tenant = await newTenant()
    const appender = newAppender()
    const calls = Array.from({ length: 200 }, (_, n) => appender.submit(inStream(tenant, `change/${n % 4}`, n >> 2)))
    expect(await outcomes(calls)).toEqual(Array(200).fill(undefined))
  })

  test('of many that saw the same version one succeeds, in one process and in several', async () => {
    const tenant = await newTenant()
    const processes = await appenderProcesses(server, 3)
    const appender = newAppender()
    for (let version = 0; version < 10; version++) {
      const calls: Promise<unknown>[] = Array.from({ length: 8 }, () =>
        appender.submit(inStream(tenant, 'change/1', version)),
      )
      for (const process of processes) {
        const events = [{ type: 'thing.happened' }]
        calls.push(
          process.run('submit', { tenant, events, stream: { name: 'change/1', expectedVersion: version } }),
          process.run('command', { tenant, events, stream: 'change/1', expectedVersion: version }),
        )
      }
      const codes = await outcomes(calls)
      expect(codes.filter((code) => code === undefined)).toHaveLength(1)
      expect(new Set(codes)).toEqual(new Set([undefined, 'LEDGER_STREAM_VERSION_CONFLICT']))
    }
    await Promise.all(processes.map((process) => process.close()))
    expect(await entriesOf(tenant)).toHaveLength(10)
  })
})

describe('idempotency keys', () => {
  test('a repeat gets the first answer, another body is refused, another principal has its own keys', async () => {
    const tenant = await newTenant()
    const appender = newAppender()
    const first = await appender.submit(keyed(tenant, 'k'))
    expect(await appender.submit(keyed(tenant, 'k'))).toEqual({
      repeated: true,
      firstSeq: seqsOf(first)[0],
      count: 1,
    })
    await expect(appender.submit(keyed(tenant, 'k', 'other'))).rejects.toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' })
    expect(await appender.submit({ ...keyed(tenant, 'k'), by: 'service:other' })).toMatchObject({ repeated: false })
    expect(await entriesOf(tenant)).toHaveLength(2)
  })

  test('a repeat while the first is in flight is told so', async () => {
    const tenant = await newTenant()
    const appender = newAppender()
    const codes = await outcomes([appender.submit(keyed(tenant, 'k')), appender.submit(keyed(tenant, 'k', 'other'))])
    expect(codes).toEqual([undefined, 'IDEMPOTENCY_IN_FLIGHT'])
    expect(await appender.submit(keyed(tenant, 'k'))).toMatchObject({ repeated: true })
  })

  test('a key that was refused is free again', async () => {
    const tenant = await newTenant()
    const appender = newAppender()
    const refused = { ...keyed(tenant, 'k'), ...moving(tenant, 'doors', 'nowhere', '1') }
    await expect(appender.submit(refused)).rejects.toMatchObject({ code: 'SOURCE_MOVED' })
    expect(await appender.submit(keyed(tenant, 'k'))).toMatchObject({ repeated: false })
  })

  test('after seven days a key is forgotten and may be used again', async () => {
    const tenant = await newTenant()
    const appender = newAppender()
    await appender.submit(keyed(tenant, 'k'))
    const age = (interval: string) =>
      admin.query(`update idempotency set created_at = now() - $2::interval where tenant = $1`, [tenant, interval])
    await age('6 days 23 hours')
    expect(await appender.submit(keyed(tenant, 'k'))).toMatchObject({ repeated: true })
    await age('7 days 1 hour')
    expect(await appender.submit(keyed(tenant, 'k', 'other'))).toMatchObject({ repeated: false })
    expect(await appender.submit(keyed(tenant, 'k', 'other'))).toMatchObject({ repeated: true })
    expect(await entriesOf(tenant)).toHaveLength(2)
  })

  test('of processes that race with the same key one appends, the others get its answer', async () => {
    const tenant = await newTenant()
    const processes = await appenderProcesses(server, 3)
    const events = [{ type: 'thing.happened' }]
    for (let n = 0; n < 40; n++) {
      const receipts = await Promise.all(
        processes.map((process) =>
          process.run('submit', { tenant, events, idempotency: { key: `k${n}`, body: 'body' } }),
        ),
      )
      expect(receipts.filter((receipt) => !receipt.repeated)).toHaveLength(1)
      const seqs = receipts.map((receipt) => (receipt.repeated ? receipt.firstSeq : receipt.entries[0]?.seq))
      expect(new Set(seqs)).toEqual(new Set([n + 1]))
    }
    await Promise.all(processes.map((process) => process.close()))
    expect(await entriesOf(tenant)).toHaveLength(40)
  })

  test('events told apart by their own keys are appended once, whoever reports them in whatever company', async () => {
    const tenant = await newTenant()
    const processes = await appenderProcesses(server, 2)
    const keys = Array.from({ length: 56 }, (_, n) => `event-${n}`)
    const report = (p: number, from: number) => {
      const eventKeys = [...keys.slice(from, from + 20), keys[from] ?? '']
      const events = eventKeys.map((id) => ({ type: 'thing.happened', id }))
      return pick(processes, p).run('submit', { tenant, events, eventKeys })
    }
    const receipts = await Promise.all(Array.from({ length: 12 }, (_, n) => report(n, (n * 7) % 41)))
    await Promise.all(processes.map((process) => process.close()))
    const found = await entriesOf(tenant)
    expect(found).toHaveLength(keys.length)
    expect(new Set(found.map(({ event }) => event['id']))).toEqual(new Set(keys))
    const seqOf = new Map(found.map(({ seq, event }) => [event['id'], seq]))
    receipts.forEach((receipt, n) => {
      const from = (n * 7) % 41
      const expected = [...keys.slice(from, from + 20), keys[from] ?? ''].map((key) => seqOf.get(key))
      expect(seqsOf(receipt)).toEqual(expected)
      expect(!receipt.repeated && receipt.entries.at(-1)?.duplicate).toBe(true)
    })
  })
})

describe('positions', () => {
  test("a source's submissions land in order though none waits for the one before", async () => {
    const tenant = await newTenant()
    const appender = newAppender()
    const calls = Array.from({ length: 300 }, (_, n) =>
      appender.submit(moving(tenant, 'doors', n === 0 ? null : `${n - 1}`, `${n}`)),
    )
    expect(await outcomes(calls)).toEqual(Array(300).fill(undefined))
    const order = (await entriesOf(tenant)).map(({ event }) => event.data?.['now'])
    expect(order).toEqual(Array.from({ length: 300 }, (_, n) => `${n}`))
  })

  test('a position moves only from where it stands, and what rests on a refused move is refused too', async () => {
    const tenant = await newTenant()
    const appender = newAppender()
    const codes = await outcomes([
      appender.submit(moving(tenant, 'doors', null, '1')),
      appender.submit(moving(tenant, 'doors', null, '1')),
      appender.submit(moving(tenant, 'doors', '7', '8')),
      appender.submit(moving(tenant, 'doors', '8', '9')),
      appender.submit(moving(tenant, 'doors', '1', '2')),
      appender.submit(moving(tenant, 'gates', '1', '2')),
    ])
    const moved = 'SOURCE_MOVED'
    expect(codes).toEqual([undefined, moved, moved, moved, undefined, moved])
    expect((await entriesOf(tenant)).map(({ event }) => event.data?.['now'])).toEqual(['1', '2'])
  })

  test('two processes that read the same source import each position once', async () => {
    const tenant = await newTenant()
    const processes = await appenderProcesses(server, 2)
    await Promise.all(
      processes.map(async (process) => {
        let at = 0
        while (at < 60) {
          const position = { source: 'doors', after: at === 0 ? null : `${at}`, now: `${at + 1}` }
          const events = [{ type: 'thing.happened', data: { at: at + 1 } }]
          const [code] = await outcomes([process.run('submit', { tenant, events, position })])
          expect([undefined, 'SOURCE_MOVED']).toContain(code)
          const { rows } = await admin.query<{ position: string }>(
            'select position from source_positions where tenant = $1',
            [tenant],
          )
          at = Number(rows[0]?.position ?? 0)
        }
      }),
    )
    await Promise.all(processes.map((process) => process.close()))
    const order = (await entriesOf(tenant)).map(({ event }) => event.data?.['at'])
    expect(order).toEqual(Array.from({ length: 60 }, (_, n) => n + 1))
  })
})

describe('key epochs', () => {
  test('what was sealed under an older epoch is sent back, wherever it was', async () => {
    const tenant = await newTenant()
    const [appender, other] = [newAppender(), newAppender()]
    const sealed = submission(tenant, { epoch: 0 })
    await appender.submit(sealed)
    await raiseEpoch(tenant, other)
    // This appender has yet to learn of it, and finds out by losing the head.
    const calls = [appender.submit(sealed), appender.submit(submission(tenant)), appender.submit(sealed)]
    expect(await outcomes(calls)).toEqual(['KEY_EPOCH_MOVED', undefined, 'KEY_EPOCH_MOVED'])
    await appender.submit(submission(tenant, { epoch: 1 }))
    expect(await entriesOf(tenant)).toHaveLength(4)
  })
})

describe('clocks', () => {
  test('recorded time never goes backwards when a clock does', async () => {
    const tenant = await newTenant()
    let nowMs = Date.now()
    const appender = newAppender({ now: () => nowMs })
    await appender.submit(submission(tenant))
    for (const backMs of [1, 1000, 3_600_000, 0]) {
      nowMs -= backMs
      await appender.submit(submission(tenant))
    }
    nowMs += 3_600_500
    await appender.submit(submission(tenant))
    const times = (await entriesOf(tenant)).map(({ at }) => at)
    expect(times).toHaveLength(6)
    expect(new Set(times.slice(0, 5)).size).toBe(1)
  })

  test('a process whose clock is 6 s ahead writes nothing, and the log goes on', async () => {
    const tenant = await newTenant()
    let aheadMs = 6_000
    const appender = newAppender({ now: () => Date.now() + aheadMs })
    expect(await outcomes([appender.submit(submission(tenant)), appender.submit(submission(tenant))])).toEqual([
      'CLOCK_AHEAD',
      'CLOCK_AHEAD',
    ])
    expect(await entriesOf(tenant)).toHaveLength(0)
    await newAppender().submit(submission(tenant))
    aheadMs = 0
    await appender.submit(submission(tenant))
    expect(await entriesOf(tenant)).toHaveLength(2)
  })

  test('a clock that is a little ahead is borne with', async () => {
    const tenant = await newTenant()
    await newAppender({ now: () => Date.now() + 3_000 }).submit(submission(tenant))
    await newAppender().submit(submission(tenant))
    expect(await entriesOf(tenant)).toHaveLength(2)
  })
})

describe('what cannot be written', () => {
  test('an event that no table takes fails by itself, and its neighbours land in order', async () => {
    const ids = [await newTenant(), await newTenant()]
    const appender = newAppender()
    const calls = Array.from({ length: 60 }, (_, n) => {
      const tenant = pick(ids, n)
      const body = n % 20 === 6 ? Buffer.alloc(65_600, 'x') : event(tenant, { n }).body
      return appender.submit(submission(tenant, { events: [{ body, sealed: [] }] }))
    })
    const codes = await outcomes(calls)
    codes.forEach((code, n) => expect(code).toBe(n % 20 === 6 ? '23514' : undefined))
    for (const [parity, tenant] of ids.entries()) {
      const order = (await entriesOf(tenant)).map(({ event }) => Number(event.data?.['n']))
      expect(order).toEqual(Array.from({ length: 60 }, (_, n) => n).filter((n) => n % 2 === parity && n % 20 !== 6))
    }
  })

  test('a tenant that is not there', async () => {
    const appender = newAppender()
    await expect(appender.submit(submission('nobody'))).rejects.toMatchObject({ code: 'TENANT_UNKNOWN' })
    await createTenant(server.db, server.installation, 'nobody')
    await appender.submit(submission('nobody'))
  })

  test('what no leaf could carry is refused before it meets others', async () => {
    const tenant = await newTenant()
    const appender = newAppender()
    expect(() => appender.submit(submission(tenant, { by: 'service:"x"' }))).toThrow(RangeError)
    expect(() => appender.submit(submission(tenant, { via: '' }))).toThrow(RangeError)
    expect(() => appender.submit(inStream(tenant, 'Change', 0))).toThrow(RangeError)
    expect(() => appender.submit(submission(tenant, { events: [] }))).toThrow(RangeError)
    expect(() => appender.submit({ ...submission(tenant), tenant: 'ac\0me' })).toThrow(RangeError)
    expect(() => appender.submit(keyed(tenant, 'a\0b'))).toThrow(RangeError)
    expect(() => appender.submit(moving(tenant, 'a\0b', null, '1'))).toThrow(RangeError)
    const sealed = { group: 'a', subject: 'person:1', generation: 1, ciphertext: Buffer.alloc(100) }
    const events = [{ body: event(tenant).body, sealed: [sealed] }]
    expect(() => appender.submit(submission(tenant, { events }))).toThrow(RangeError)
  })

  test('past the bound of the queue callers are told to come back, and what was accepted lands', async () => {
    const tenant = await newTenant()
    const appender = newAppender({ queueEvents: 100 })
    const calls = Array.from({ length: 250 }, (_, n) =>
      appender.submit(submission(tenant, { events: [event(tenant, { n })] })),
    )
    expect(appender.queued.events).toBe(100)
    const codes = await outcomes(calls)
    expect(codes).toEqual([...Array(100).fill(undefined), ...Array(150).fill('QUEUE_FULL')])
    expect(await entriesOf(tenant)).toHaveLength(100)
    expect(appender.queued).toEqual({ events: 0, bytes: 0 })

    const small = newAppender({ queueBytes: 1_000 })
    const large = submission(tenant, { events: [event(tenant, { text: 'x'.repeat(2_000) })] })
    await expect(small.submit(large)).rejects.toMatchObject({ code: 'QUEUE_FULL', retryAfterS: 1 })
  })
})

describe('closing', () => {
  test('everything accepted is answered, nothing more is taken', async () => {
    const tenant = await newTenant()
    const appender = new Appender(server.db)
    const calls = Array.from({ length: 500 }, () => appender.submit(submission(tenant)))
    calls.push(appender.submit(keyed(tenant, 'k')), appender.submit(moving(tenant, 'doors', null, '1')))
    const closed = appender.close()
    const late = outcomes([appender.submit(submission(tenant))])
    expect(await outcomes(calls)).toEqual(Array(502).fill(undefined))
    expect(await late).toEqual(['SHUTTING_DOWN'])
    await closed
    expect(await entriesOf(tenant)).toHaveLength(502)
  })

  test('an appender that was never used closes', async () => {
    await new Appender(server.db).close()
  })

  test('nothing is left behind: a process that closes its appender ends by itself', async () => {
    const tenant = await newTenant()
    const process = await appenderProcess(server)
    await process.run('submit', { tenant, events: [{ type: 'thing.happened' }] })
    await process.close()
    expect(process.process.exitCode).toBe(0)
  })
})

test('a batch tells which tenants it touched, once', async () => {
  const ids = await Promise.all(Array.from({ length: 5 }, newTenant))
  const listener = await server.superuser()
  const heard: string[] = []
  listener.on('notification', ({ payload }) => heard.push(payload ?? ''))
  await listener.query(`listen ${ENTRIES_CHANNEL}`)
  const appender = newAppender()
  await Promise.all(ids.map((tenant) => appender.submit(submission(tenant))))
  await eventually(() => ids.every((tenant) => heard.some((names) => names.split(' ').includes(tenant))))
  expect(heard.length).toBeLessThan(ids.length)
  heard.length = 0
  await expect(appender.submit(inStream(ids[0] ?? '', 'change/1', 3))).rejects.toMatchObject({})
  await sleep(100)
  expect(heard).toEqual([])
})
