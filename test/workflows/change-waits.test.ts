import { afterAll, beforeAll, expect, test } from 'vitest'
import { verify } from '../../src/ledger/verify.js'
import { keepHistory } from '../support/histories.js'
import { changesBench, Tenant, type ChangesBench, type Person } from '../support/changes.js'
import { movingChanges, until } from '../support/moving.js'
import { timeSkipping, type TimeSkipping } from '../support/temporal.js'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

let base: ChangesBench
let bench: ChangesBench
let skipping: TimeSkipping
let worker: ReturnType<typeof movingChanges>
let acme: Tenant
let ada: Person
let ben: Person
let cy: Person

beforeAll(async () => {
  base = await changesBench()
  skipping = await timeSkipping()
  // The log's clock is Temporal's, which jumps.
  const deps = { ...base.deps, clock: async (databaseMs: number) => Math.max(databaseMs, await skipping.nowMs()) }
  bench = { ...base, deps }
  acme = await Tenant.create(bench)
  ;[ada, ben, cy] = (await acme.people(3)) as [Person, Person, Person]
  worker = movingChanges(bench, skipping.target)
})

afterAll(async () => {
  await worker.close()
  expect((await verify(base.server.db)).findingCount).toBe(0)
  await skipping.close()
  await base.close()
})

const idOf = (change: string) => `${base.server.installation.id}/${acme.tenant}/change/${change}`

/** Lets Temporal's clock run to the end of a change. */
async function toItsEnd(change: string): Promise<void> {
  const handle = skipping.env.client.workflow.getHandle(idOf(change))
  await until(async () => (await handle.describe().catch(() => undefined)) !== undefined)
  await handle.result()
}

const keep = (name: string, change: string) =>
  keepHistory(skipping.temporal.client, `changeApproval.${name}`, idOf(change))

async function told(change: string) {
  const entries = await acme.events(`change/${change}`)
  const from = Date.parse(entries[0]?.entry.at ?? '')
  return entries.map(({ event, entry }) => ({ type: event.type, hours: (Date.parse(entry.at) - from) / HOUR_MS }))
}

test('a change that nobody decides on reminds daily, is escalated before its end, and expires after 72 hours', async () => {
  const change = await acme.request(ada)
  await toItsEnd(change.id)
  await keep('expired', change.id)
  const entries = await told(change.id)
  expect(entries.map(({ type }) => type)).toEqual([
    'change.requested',
    'change.reminded',
    'change.reminded',
    'change.escalated',
    'change.expired',
  ])
  for (const [n, hours] of [0, 24, 48, 66, 72].entries()) {
    expect(entries[n]?.hours).toBeGreaterThanOrEqual(hours)
    expect(entries[n]?.hours).toBeLessThan(hours + 1)
  }
  expect(worker.log.lines.filter((line) => line.startsWith('a notice'))).toHaveLength(3)
})

test('an approval that has to rest for 30 days is applied after them, and not before', async () => {
  await acme.directly('policy.set', {
    kind: 'setting.note',
    policy: {
      groups: [{ name: 'approvers', count: 2 }],
      denyQuorum: 1,
      ttlMs: 60 * DAY_MS,
      coolingOffMs: 30 * DAY_MS,
      reasonRequired: false,
    },
  })
  const change = await acme.request(ada)
  await acme.vote(ben, change)
  await acme.vote(cy, change)
  await toItsEnd(change.id)
  await keep('rested', change.id)
  const entries = await told(change.id)
  expect(entries.map(({ type }) => type)).toEqual([
    'change.requested',
    'change.voted',
    'change.voted',
    'change.approved',
    'change.applied',
  ])
  expect(entries.at(-1)?.hours).toBeGreaterThanOrEqual(30 * 24)
  expect(entries.at(-1)?.hours).toBeLessThan(30 * 24 + 1)
  expect(await acme.types('setting/note')).toEqual(['setting.set'])
})
