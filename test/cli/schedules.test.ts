import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { inTenant } from '../../src/db/database.js'
import { append } from '../../src/ledger/append.js'
import { eventBytes } from '../../src/ledger/event.js'
import { host } from '../../src/principal.js'
import { countersign } from '../support/cli.js'
import { testDatabase, type TestDatabase } from '../support/database.js'

let server: TestDatabase
let env: Record<string, string>

const run = (...words: string[]) => countersign([...words, '--tenant', 'acme'], { env })
const json = async (...words: string[]) => (await run(...words, '--json')).json()

beforeAll(async () => {
  server = await testDatabase()
  env = { DATABASE_URL: server.url, COUNTERSIGN_HOME: server.home }
  expect((await countersign(['tenant', 'create', 'acme'], { env })).code).toBe(0)
})
afterAll(() => server.close())

const monthly = ['set', 'monthly', '--period', 'month', '--cron', '30 6 1 * *', '--zone', 'Europe/Berlin'] as const

describe('schedule', () => {
  test('is set, listed, paused, resumed and removed', async () => {
    expect(await json('schedule', ...monthly, '--parameters', '{"formats":["csv"]}')).toMatchObject({
      id: 'monthly',
      report: 'audit-trail',
      parameters: { formats: ['csv'] },
      paused: false,
    })
    expect(await json('schedule', 'pause', 'monthly')).toMatchObject({ paused: true, next: [] })
    expect(await json('schedule', ...monthly)).toMatchObject({ paused: true, parameters: {} })
    expect(await json('schedule', 'resume', 'monthly')).toMatchObject({ paused: false })
    const { stdout } = await run('schedule', 'list')
    expect(stdout).toMatch(/^verification +verification of all logs +0 2 \* \* \* UTC/m)
    expect(stdout).toMatch(/^monthly +audit-trail of the last month +30 6 1 \* \* Europe\/Berlin +20\d\d-/m)
    expect((await run('schedule', 'remove', 'monthly')).stdout).toBe('removed the schedule monthly\n')
    expect((await run('schedule', 'show', 'monthly')).stderr).toMatch(/^error SCHEDULE_UNKNOWN/)
  })

  test('runs are asked for and shown', async () => {
    await run('schedule', 'set', 'daily', '--period', 'day', '--cron', '0 3 * * *')
    const period = ['--from', '2026-11-01T00:00:00Z', '--to', '2026-11-03T00:00:00Z']
    const asked = await json('schedule', 'run', 'daily', ...period)
    expect(asked['runs']).toMatchObject([
      { scheduledAt: '2026-11-01T03:00:00Z' },
      { scheduledAt: '2026-11-02T03:00:00Z' },
    ])
    const { stdout } = await run('schedule', 'show', 'daily')
    expect(stdout).toMatch(/^2026-11-02T03:00:00Z +requested/m)
    expect((await json('schedule', 'run', 'verification'))['runs']).toMatchObject([{ kind: 'verification' }])
  })

  test.each([
    [['schedule', 'set', 'x', '--cron', '0 3 * * *'], 'USAGE'],
    [['schedule', 'set', 'x', '--period', 'fortnight', '--cron', '0 3 * * *'], 'USAGE'],
    [['schedule', 'set', 'x', '--period', 'day', '--cron', '0 3 31 2 *'], 'SCHEDULE_NEVER_DUE'],
    [['schedule', 'set', 'x', '--period', 'day', '--cron', '0 3 * * *', '--parameters', '{'], 'JSON_MALFORMED'],
    [['schedule', 'set', 'x', '--period', 'day', '--cron', '0 3 * * *', '--recipient', 'nobody'], 'WEBHOOK_UNKNOWN'],
    [['schedule', 'set', 'verification', '--cron', '0 3 * * *'], 'USAGE'],
    [['schedule', 'remove', 'verification'], 'SCHEDULE_RESERVED'],
    [['schedule', 'run', 'daily', '--from', '2026-11-01T00:00:00Z'], 'USAGE'],
    [['schedule', 'run', 'daily', '--from', 'yesterday', '--to', '2026-11-01T00:00:00Z'], 'USAGE'],
    [['setting', 'set', 'colour', '"red"'], 'SETTING_UNKNOWN'],
    [['setting', 'set', 'approvals.reminders', '{"reminderMs":1}'], 'SETTING_INVALID'],
  ])('%j is refused with %s', async (words, code) => {
    const { code: exit, stderr } = await run(...words)
    expect([exit, stderr]).toEqual([2, expect.stringMatching(new RegExp(`^error ${code}: `))])
  })
})

test('what takes two people is overridden by the host only with a reason, on record', async () => {
  const value = { reminderMs: 3_600_000, escalateMs: 600_000 }
  expect(await json('setting', 'set', 'approvals.reminders', JSON.stringify(value))).toMatchObject({ value, own: true })
  await inTenant(server.db.command, 'acme', (tx) =>
    append(tx, { by: host('acme'), stream: 'approvals/enforcement', expectedVersion: 0 }, [
      { body: eventBytes({ type: 'approvals.enforced' }), sealed: [] },
    ]),
  )
  for (const words of [
    ['schedule', 'pause', 'verification'],
    ['setting', 'set', 'approvals.reminders', JSON.stringify(value)],
  ]) {
    expect((await run(...words)).stderr).toMatch(/^error CHANGE_REQUIRED/)
  }
  expect(await json('schedule', 'pause', 'verification', '--override', 'moving the database')).toMatchObject({
    paused: true,
  })
  expect(await json('schedule', 'show', 'verification')).toMatchObject({ paused: true, version: 1 })
})
