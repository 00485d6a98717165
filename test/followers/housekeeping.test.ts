import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { forgetKeys, startHousekeeping } from '../../src/followers/housekeeping.js'
import { testDatabase, type TestDatabase } from '../support/database.js'

let database: TestDatabase

beforeAll(async () => {
  database = await testDatabase()
})

afterAll(async () => {
  await database.close()
})

const remember = async (name: string, count: number, age: string): Promise<void> => {
  const superuser = await database.superuser()
  await superuser.query(
    `insert into idempotency (tenant, principal, key, first_seq, count, created_at)
     select 'acme', 'service:x', $1 || n, n, 1, now() - $3::interval from generate_series(1, $2) n`,
    [name, count, age],
  )
}

const left = async (): Promise<number> => {
  const superuser = await database.superuser()
  const { rows } = await superuser.query<{ n: number }>('select count(*)::int as n from idempotency')
  return rows[0]?.n ?? -1
}

test('keys are forgotten after seven days, however many, and not before', async () => {
  await remember('old', 2_500, '7 days 1 minute')
  await remember('young', 10, '6 days 23 hours')
  const superuser = await database.superuser()
  await superuser.query('begin')
  await superuser.query(`select from idempotency where key = 'old1' for update`)
  expect(await forgetKeys(database.db)).toBe(2_499)
  await superuser.query('rollback')
  expect(await forgetKeys(database.db)).toBe(1)
  expect(await forgetKeys(database.db)).toBe(0)
  expect(await left()).toBe(10)
})

test('it comes round again, and trouble does not end it', async () => {
  const troubles: unknown[] = []
  const end = startHousekeeping(database.db, { everyMs: 20, onTrouble: (error) => troubles.push(error) })
  const superuser = await database.superuser()
  await superuser.query('alter table idempotency rename to elsewhere')
  await vi.waitFor(() => expect(troubles.length).toBeGreaterThan(0), { timeout: 10_000 })
  await superuser.query('alter table elsewhere rename to idempotency')
  await remember('again', 5, '8 days')
  await vi.waitFor(async () => expect(await left()).toBe(10), { timeout: 10_000 })
  await end()
})
