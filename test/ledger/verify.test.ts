import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTenant } from '../../src/keyring/tenants.js'
import { Appender } from '../../src/ledger/appender.js'
import { findingCodes, MOST_KEPT, type Finding } from '../../src/ledger/findings.js'
import { MOST_RUNS } from '../../src/ledger/verify-chain.js'
import { verifyInDatabase } from '../../src/ledger/verify-in-database.js'
import { recordVerification } from '../../src/ledger/verifications.js'
import { verify } from '../../src/ledger/verify.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { createTenants, report } from '../support/log.js'
import { root } from '../support/root.js'
import { Tamperer } from '../support/tamper.js'

let own: TestDatabase
let attack: Tamperer
let appender: Appender

beforeAll(async () => {
  own = await testDatabase()
  appender = new Appender(own.db)
  attack = new Tamperer(await own.superuser())
  await attack.disarm()
})

afterAll(async () => {
  await appender.close()
  await own.close()
})

/** A log of `size` entries, `log.created` among them. */
async function log(tenant: string, size: number): Promise<string> {
  await createTenant(own.db, own.installation, tenant)
  for (let seq = 1; seq < size; seq += 1000) await addTo(tenant, Math.min(1000, size - seq))
  return tenant
}

async function addTo(tenant: string, count: number): Promise<void> {
  await report(
    appender,
    tenant,
    Array.from({ length: count }, (_, n) => ({ type: 'thing.happened', data: { n } })),
  )
}

const codes = (findings: readonly Finding[]) => findings.map(({ seq, code }) => [seq, code])

/** Lets the rows lie in another order in the heap. */
async function reorder(tenant: string, by: string): Promise<void> {
  await attack.sql('create temp table moved as select * from entries where tenant = $1'.replace('$1', `'${tenant}'`))
  await attack.sql('delete from entries where tenant = $1', [tenant])
  await attack.sql(`insert into entries select * from moved order by ${by}`)
  await attack.sql('drop table moved')
}

test('a tail that was cut together with its head is clean by the chain alone; a kept hash finds it', async () => {
  const tenant = await log('cut', 10)
  const [kept] = (await verify(own.db, { tenant })).tenants
  expect(kept).toMatchObject({ nextSeq: 10, entries: 10, findings: 0 })
  await attack.sql('delete from entries where tenant = $1 and seq >= 7', [tenant])
  await attack.rehead(tenant)

  expect((await verify(own.db, { tenant })).findings).toEqual([])
  expect((await verifyInDatabase(own.db, { tenant })).findings).toEqual([])
  const expect9 = [{ seq: 9, hash: kept?.chainHash ?? '' }]
  expect(codes((await verify(own.db, { tenant, expect: expect9 })).findings)).toEqual([[9, 'EXPECTED_HEAD']])
  expect(codes((await verify(own.db, { tenant, from: 5, expect: expect9 })).findings)).toEqual([[9, 'EXPECTED_HEAD']])
})

test('a tail that was rewritten together with its head is clean by the chain alone; a kept hash finds it', async () => {
  const tenant = await log('rewritten', 10)
  const [kept] = (await verify(own.db, { tenant })).tenants
  await attack.edit(tenant, 4, (leaf) => leaf.replace('"n":3', '"n":8'))
  await attack.rechain(tenant, 4, 9)
  await attack.rehead(tenant)

  expect((await verify(own.db, { tenant })).findings).toEqual([])
  expect((await verifyInDatabase(own.db, { tenant })).findings).toEqual([])
  const expected = [{ tenant, seq: 9, hash: (kept?.chainHash ?? '').toUpperCase() }]
  expect(codes((await verify(own.db, { expect: expected })).findings)).toEqual([[9, 'EXPECTED_HEAD']])
  expect(codes((await verify(own.db, { tenant, from: 10, expect: expected })).findings)).toEqual([[9, 'EXPECTED_HEAD']])
})

test('a kept hash of an untouched log is found again, wherever the check begins', async () => {
  const tenant = await log('kept', 10)
  const { chain_hash } = await attack.row(tenant, 6)
  const expected = [{ seq: 6, hash: chain_hash.toString('hex') }]
  for (const from of [0, 6, 7, 10, 99]) {
    expect((await verify(own.db, { tenant, from, expect: expected })).findings).toEqual([])
  }
})

test('from a place on, only what lies behind it is checked, against the stored chain hash before it', async () => {
  const tenant = await log('from', 10)
  await attack.edit(tenant, 3, (leaf) => leaf.replace('"n":2', '"n":7'))
  expect(codes((await verify(own.db, { tenant })).findings)).toEqual([[3, 'LINK_BROKEN']])
  for (const check of [verify, verifyInDatabase]) {
    expect(codes((await check(own.db, { tenant, from: 3 })).findings)).toEqual([[3, 'LINK_BROKEN']])
    const behind = await check(own.db, { tenant, from: 4 })
    expect(behind.findings).toEqual([])
    expect(behind.tenants).toMatchObject([{ tenant, from: 4, nextSeq: 10, entries: 6 }])
  }
  await attack.sql('delete from entries where tenant = $1 and seq = 3', [tenant])
  expect(codes((await verify(own.db, { tenant, from: 4 })).findings)).toEqual([[3, 'SEQ_GAP']])
})

test('rows in any order in the heap are the same log', async () => {
  const tenant = await log('shuffled', 500)
  await reorder(tenant, 'md5(seq::text)')
  expect(await verify(own.db, { tenant })).toMatchObject({ entries: 500, findings: [] })
  await reorder(tenant, 'seq desc')
  expect(await verify(own.db, { tenant })).toMatchObject({ entries: 500, findings: [] })
  await attack.edit(tenant, 250, (leaf) => leaf.replace('"n":249', '"n":250'))
  await reorder(tenant, 'md5(seq::text)')
  expect(codes((await verify(own.db, { tenant })).findings)).toEqual([[250, 'LINK_BROKEN']])
})

test('a log that lies in more pieces than are remembered is read again in order', async () => {
  const size = 2 * MOST_RUNS + 1000
  const tenant = await log('pieces', size)
  await reorder(tenant, 'seq % 2, seq')
  expect(await verify(own.db, { tenant })).toMatchObject({ entries: size, findings: [] })
  await attack.sql('delete from entries where tenant = $1 and seq % 2 = 1', [tenant])
  const found = await verify(own.db, { tenant })
  expect(found.findingCount).toBe(size / 2)
  expect(found.findings).toHaveLength(MOST_KEPT)
  expect(found.findings.every(({ code }) => code === 'SEQ_GAP' || code === 'TAIL_MISSING')).toBe(true)
})

test('logs to which others append meanwhile are clean, each at one moment', async () => {
  const tenants = await createTenants(own, 'busy', 6)
  for (const tenant of tenants) await addTo(tenant, 300)
  const writing = { done: false }
  let appended = 0
  const writers = tenants.map(async (tenant) => {
    while (!writing.done) {
      await addTo(tenant, 7)
      appended++
    }
  })
  let rounds = 0
  let more = 0
  try {
    for (; rounds < 5; rounds++) {
      const before = appended
      for (const tenant of tenants) {
        const result = await verify(own.db, { tenant })
        expect(result.findings).toEqual([])
        expect(result.tenants[0]?.nextSeq).toBe(result.entries)
      }
      const opinion = await verifyInDatabase(own.db, { tenant: tenants[rounds] })
      expect(opinion.findings).toEqual([])
      more += appended - before
    }
  } finally {
    writing.done = true
    await Promise.all(writers)
  }
  expect(more).toBeGreaterThan(0)
  process.stdout.write(`${rounds * tenants.length} verifications beside ${more} appends\n`)
})

test('both opinions agree on every log, and the result is kept for whoever asks', async () => {
  const ours = await verify(own.db)
  const theirs = await verifyInDatabase(own.db)
  const ends = (tenants: typeof ours.tenants) =>
    tenants.map(({ tenant, log, nextSeq, chainHash, entries, findings }) => [
      tenant,
      log,
      nextSeq,
      chainHash,
      entries,
      findings,
    ])
  expect(ends(theirs.tenants)).toEqual(ends(ours.tenants))
  expect(ours.tenants.length).toBeGreaterThan(10)

  await recordVerification(own.db, ours)
  const kept = await own.db.operator.selectFrom('verifications').selectAll().orderBy('tenant').execute()
  expect(
    kept.map(({ tenant, next_seq, chain_hash, findings }) => [tenant, next_seq, chain_hash.toString('hex'), findings]),
  ).toEqual(ours.tenants.map(({ tenant, nextSeq, chainHash, findings }) => [tenant, nextSeq, chainHash, findings]))
})

test('progress is told and a verification can be called off', async () => {
  await expect(verify(own.db, { signal: AbortSignal.abort(new Error('called off')) })).rejects.toThrow('called off')
  const controller = new AbortController()
  const running = verify(own.db, { signal: controller.signal, onFinding: () => controller.abort(new Error('enough')) })
  await expect(running).rejects.toThrow('enough')
  expect((await verify(own.db)).entries).toBeGreaterThan(10_000)
})

test('a tenant that is not there is said to be unknown', async () => {
  await expect(verify(own.db, { tenant: 'nobody' })).rejects.toMatchObject({ code: 'TENANT_UNKNOWN' })
  await expect(verifyInDatabase(own.db, { tenant: 'nobody' })).rejects.toMatchObject({ code: 'TENANT_UNKNOWN' })
})

test('hidden partitions are missed', async () => {
  const hidden = await testDatabase()
  try {
    const superuser = await hidden.superuser()
    await createTenant(hidden.db, hidden.installation, 'acme')
    const { rows } = await superuser.query<{ name: string }>(
      `select tableoid::regclass::text as name from entries where tenant = 'acme'`,
    )
    await superuser.query(`alter table entries detach partition ${rows[0]?.name}`)
    const expected = [
      [0, 'TAIL_MISSING'],
      [0, 'FIRST_ENTRY'],
    ]
    expect(codes((await verify(hidden.db)).findings)).toEqual(expected)
  } finally {
    await hidden.close()
  }
})

test('the page of findings names each code that there is, and no other', () => {
  const page = readFileSync(join(root, 'docs', 'verification.md'), 'utf8')
  const named = [...page.matchAll(/^\| `([A-Z_]+)` +\|/gm)].map((match) => match[1] ?? '')
  expect(named.sort()).toEqual(Object.keys(findingCodes).sort())
})
