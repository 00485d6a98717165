import { afterAll, beforeAll, expect, test } from 'vitest'
import { countersign, type RunOptions } from '../support/cli.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { receiver, type Receiver } from '../support/receiver.js'

let server: TestDatabase
let there: Receiver

const run = (words: string[], options: RunOptions = {}) =>
  countersign([...words, '--tenant', 'acme'], {
    ...options,
    env: {
      DATABASE_URL: server.url,
      COUNTERSIGN_HOME: server.home,
      COUNTERSIGN_WEBHOOK_NETWORKS: '127.0.0.0/8',
      ...options.env,
    },
  })

beforeAll(async () => {
  server = await testDatabase()
  there = await receiver()
  const made = await countersign(['tenant', 'create', 'acme'], {
    env: { DATABASE_URL: server.url, COUNTERSIGN_HOME: server.home },
  })
  expect(made.code).toBe(0)
})
afterAll(async () => {
  await there.close()
  await server.close()
})

test('a webhook is set, tested, listed with its key, and removed', async () => {
  expect(await run(['webhook', 'set', 'ops', there.url, '--event', 'change.*', '*'])).toMatchObject({ code: 0 })
  const tested = await run(['webhook', 'test', 'ops', '--json'])
  expect([tested.code, tested.json()]).toEqual([0, { tenant: 'acme', id: 'ops', delivered: true, status: 204 }])
  there.answer(500)
  const failed = await run(['webhook', 'test', 'ops'])
  expect([failed.code, failed.stdout]).toEqual([1, 'not delivered: WEBHOOK_STATUS, it answered 500\n'])

  const { json } = await run(['webhook', 'list', '--json'])
  expect(json()).toMatchObject({
    webhooks: [{ id: 'ops', url: there.url, events: ['*', 'change.*'], version: 1 }],
    publicKeys: [expect.stringMatching(/^whpk_/)],
  })
  const keys = (await run(['signing-key', 'list', '--json'])).json() as { keys: { whpk: string; status: string }[] }
  expect(keys.keys).toMatchObject([
    { whpk: json()['publicKeys'] && (json()['publicKeys'] as string[])[0], status: 'current' },
  ])
  const rotated = await run(['signing-key', 'rotate'])
  expect([rotated.code, rotated.stdout]).toEqual([0, expect.stringMatching(/^retired \S+\nmade \S+\n$/)])

  expect((await run(['webhook', 'remove', 'ops'])).code).toBe(0)
  expect((await run(['webhook', 'remove', 'ops'])).stderr).toMatch(/^error WEBHOOK_UNKNOWN: /)
  expect((await run(['webhook', 'list'])).stdout).toBe('tenant acme has no webhooks\n')
}, 120_000)

test('an address inside is a usage error unless its network is allowed', async () => {
  const refused = await run(['webhook', 'set', 'ops', there.url], { env: { COUNTERSIGN_WEBHOOK_NETWORKS: '' } })
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringMatching(/^error WEBHOOK_TARGET_REFUSED: /)])
})
