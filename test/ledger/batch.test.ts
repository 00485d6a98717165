import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTenant } from '../../src/keyring/tenants.js'
import { readHeads } from '../../src/ledger/appender-checks.js'
import { Appender } from '../../src/ledger/appender.js'
import { Batch, chainHashAt, lastOf, type Addition, type Head } from '../../src/ledger/batch.js'
import { eventBytes, type LeafEvent } from '../../src/ledger/event.js'
import { GENESIS } from '../../src/ledger/hash.js'
import { readBinaryArray } from '../support/binary-array.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { root } from '../support/root.js'
import { verifyChains } from '../support/verify-chain.js'

interface Vectors {
  tenant: string
  log: string
  additions: {
    at: string
    clockMs: number
    by: string
    via: string
    stream?: { name: string; version: number }
    events: LeafEvent[]
  }[]
  entries: { leaf: string; leafHash: string; chainHash: string }[]
}
const vectors = JSON.parse(readFileSync(join(root, 'test/vectors/chain.json'), 'utf8')) as Vectors

const NOW = Date.parse('2026-11-20T10:00:00Z')

const additions = vectors.additions.map(({ at, clockMs, by, via, stream, events }) => ({
  nowMs: Date.parse(at) + clockMs,
  addition: { by, via, stream, events: events.map((event) => ({ body: eventBytes(event), sealed: [] })) },
}))

function headOf(tenant: string, log = '0'.repeat(32)): Head {
  return { tenant, log, nextSeq: 0, chainHash: GENESIS, recordedAtMs: 0, keyEpoch: 0 }
}

function elements(values: readonly Buffer[], n: number): (Buffer | null)[] {
  return readBinaryArray(values[n] ?? Buffer.alloc(0)).elements
}

describe('known answers', () => {
  test('leaves and chain hashes', () => {
    const batch = new Batch()
    const head = headOf(vectors.tenant, vectors.log)
    const placed = additions.map(({ addition, nowMs }) => batch.extend(head, [addition], nowMs)[0])
    const { values } = batch.statement({ notify: true })
    const hex = (n: number) => elements(values, n).map((hash) => hash?.toString('hex'))
    const chainHashes = vectors.entries.map((entry) => entry.chainHash)
    expect(elements(values, 8).map(String)).toEqual(vectors.entries.map((entry) => entry.leaf))
    expect(hex(9)).toEqual(chainHashes)
    expect(elements(values, 7).map((seq) => seq?.readBigInt64BE())).toEqual(chainHashes.map((_, seq) => BigInt(seq)))
    expect(placed.map((place) => place?.at)).toEqual(vectors.additions.map(({ at }) => at))
    expect(placed.flatMap((place, n) => vectors.additions[n]?.events.map((_, k) => place && hashAt(place, k)))).toEqual(
      chainHashes,
    )
    // Each extension starts from where the one before ended.
    expect(hex(2)).toEqual([GENESIS.toString('hex'), chainHashes[0], chainHashes[2], chainHashes[4]])
    expect(hex(5)).toEqual([chainHashes[0], chainHashes[2], chainHashes[4], chainHashes[5]])
    expect(head).toMatchObject({ nextSeq: 6, recordedAtMs: Date.parse('2026-11-20T09:00:01.000Z') })
    expect(head.chainHash.toString('hex')).toBe(chainHashes.at(-1))
    expect(batch.entries).toBe(6)
  })

  const hashAt = (place: Parameters<typeof chainHashAt>[0], n: number) => chainHashAt(place, n).toString('hex')

  test('a batch that is used again says the same', () => {
    const batch = new Batch()
    const write = () => {
      batch.reset()
      const head = headOf(vectors.tenant, vectors.log)
      for (const { addition, nowMs } of additions) batch.extend(head, [addition], nowMs)
      return batch.statement({ notify: false }).values.map((value) => Buffer.from(value))
    }
    const first = write()
    batch.reset()
    batch.extend(headOf('other'), [{ ...onlyAddition(), keys: [{ key: 'k', first: 0, count: 1 }] }], NOW)
    expect(write()).toEqual(first)
  })
})

function onlyAddition(events = 1): Addition {
  const event = { body: eventBytes({ type: 'thing.happened' }), sealed: [] }
  return { by: 'service:test', via: 'host', events: Array.from({ length: events }, () => event) }
}

test('only what a batch holds is part of its statement', () => {
  const sealed = { group: 'name', subject: 'person:1', generation: 1, ciphertext: Buffer.alloc(70) }
  const statementOf = (more: Partial<Addition>) => {
    const batch = new Batch()
    batch.extend(headOf('acme'), [{ ...onlyAddition(), ...more }], NOW)
    const { name, values } = batch.statement({ notify: false })
    return `${name} ${values.length}`
  }
  expect(statementOf({})).toBe('append 10')
  expect(statementOf({ stream: { name: 'a/b', version: 1 } })).toBe('append_streams 14')
  expect(statementOf({ keys: [{ key: 'k', first: 0, count: 1 }] })).toBe('append_keys 16')
  expect(statementOf({ position: { source: 's', now: '1' } })).toBe('append_positions 14')
  expect(statementOf({ events: [{ body: Buffer.from('{}'), sealed: [sealed] }] })).toBe('append_sealed 16')
})

test('the place of the last event of an addition', () => {
  const batch = new Batch()
  const head = headOf('acme')
  const [one, three] = batch.extend(head, [onlyAddition(), onlyAddition(3)], NOW)
  expect(one && lastOf(one)).toEqual({ seq: 0, chainHash: one && chainHashAt(one, 0) })
  expect(three && lastOf(three)).toEqual({ seq: 3, chainHash: head.chainHash })
})

describe('in the database', () => {
  let server: TestDatabase

  beforeAll(async () => {
    server = await testDatabase()
  })

  afterAll(async () => {
    await server.close()
  })

  test('the appender writes the known answers into the log', async () => {
    const admin = await server.superuser()
    const { tenant, log } = vectors
    await admin.query('insert into tenants (id, log, created_at) values ($1, $2, now())', [tenant, log])
    await admin.query(
      `insert into heads (tenant, next_seq, chain_hash, recorded_at) values ($1, 0, $2, '2026-01-01Z')`,
      [tenant, GENESIS],
    )
    let clockMs = 0
    const appender = new Appender(server.db, { now: () => clockMs })
    for (const { addition, nowMs } of additions) {
      clockMs = nowMs
      const { by, via, events, stream } = addition
      const expecting = stream && { name: stream.name, expectedVersion: stream.version - 1 }
      await appender.submit({ tenant, by, via, events, stream: expecting })
    }
    await appender.close()
    const found = (await verifyChains(admin)).get(tenant) ?? []
    expect(
      found.map(({ leaf, chainHash }) => ({
        leaf: leaf.toString(),
        leafHash: createHash('sha256').update('\0').update(leaf).digest('hex'),
        chainHash: chainHash.toString('hex'),
      })),
    ).toEqual(vectors.entries)
  })

  test.each([1, 3])(
    'a batch of %i moves the head it was chained onto, once, and passes one that is held',
    async (events) => {
      const tenant = `times-${events}`
      await createTenant(server.db, server.installation, tenant)
      const [writer, other] = [server.db.client('writer'), server.db.client('writer')]
      await Promise.all([writer.connect(), other.connect()])
      const read = async () => {
        const head = (await readHeads(writer, [{ tenant }])).get(tenant)
        if (!head) throw new Error(`no head of ${tenant}`)
        return head
      }
      const send = async (head: Head) => {
        const batch = new Batch()
        batch.extend(head, [onlyAddition(events)], NOW)
        const { rows } = await writer.query<{ moved: number[] }>(batch.statement({ notify: true }))
        return rows.map(({ moved }) => moved)
      }
      const stale = await read()
      expect(await send(await read())).toEqual([[0]])
      expect(await send(stale)).toEqual([])
      await other.query('begin')
      await other.query('select from heads where tenant = $1 for update', [tenant])
      expect(await send(await read())).toEqual([])
      await other.query('commit')
      expect(await send(await read())).toEqual([[0]])
      await Promise.all([writer.end(), other.end()])
      expect((await verifyChains(await server.superuser())).get(tenant)).toHaveLength(1 + 2 * events)
    },
  )
})
