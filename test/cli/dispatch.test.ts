import { afterAll, beforeAll, expect, test } from 'vitest'
import { park } from '../../src/dispatcher/parked.js'
import { createTenant } from '../../src/keyring/tenants.js'
import { countersign } from '../support/cli.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { job } from '../support/jobs.js'

let server: TestDatabase

beforeAll(async () => {
  server = await testDatabase()
  await createTenant(server.db, server.installation, 'acme')
})

afterAll(() => server.close())

const run = (...words: string[]) =>
  countersign(words, { env: { DATABASE_URL: server.url, COUNTERSIGN_HOME: server.home } })

test('what is parked is listed with its code, and tried again by command, on record', async () => {
  expect((await run('dispatch', 'list')).stdout).toBe('nothing of tenant acme is parked\n')
  for (const id of ['a', 'b']) await job(server, 'acme', id, 'requested', 'poked')
  for (const [n, id] of ['a', 'b'].entries()) {
    const step = { stream: `job/${id}`, seq: 1 + 2 * n, type: 'job.requested' }
    await park(server.db, 'acme', step, 'INVALID_ARGUMENT')
    // Found again after a crash, it is not put on record again.
    await park(server.db, 'acme', step, 'INVALID_ARGUMENT')
  }
  const listed = await run('dispatch', 'list', '--json')
  expect(listed.json()).toMatchObject({
    tenant: 'acme',
    parked: [
      { stream: 'job/a', seq: 1, type: 'job.requested', code: 'INVALID_ARGUMENT', behind: 1 },
      { stream: 'job/b', seq: 3, type: 'job.requested', code: 'INVALID_ARGUMENT', behind: 1 },
    ],
  })
  expect((await run('dispatch', 'list')).stdout).toContain('INVALID_ARGUMENT')

  expect((await run('dispatch', 'retry')).code).toBe(2)
  expect((await run('dispatch', 'retry', 'job/a', '--all')).code).toBe(2)
  expect((await run('dispatch', 'retry', 'job/a')).stdout).toBe('1 stream will be tried again\n')
  const again = await run('dispatch', 'retry', 'job/a', '--json')
  expect(again.code).toBe(2)
  expect(again.json()).toMatchObject({ error: { code: 'DISPATCH_NOT_PARKED' } })
  expect((await run('dispatch', 'retry', '--all', '--json')).json()).toEqual({ tenant: 'acme', retried: ['job/b'] })
  expect((await run('dispatch', 'list')).stdout).toBe('nothing of tenant acme is parked\n')
})
