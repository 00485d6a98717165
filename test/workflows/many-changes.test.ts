import { afterAll, beforeAll, expect, test } from 'vitest'
import { DISPATCHER, lagOf, openByKind } from '../../src/ledger/subscriptions.js'
import { verify } from '../../src/ledger/verify.js'
import { changesBench, noteKind, Tenant, type ChangesBench, type Person } from '../support/changes.js'
import { allKinds } from '../../src/approvals/kinds.js'
import { accessKinds } from '../../src/auth/kinds.js'
import { movingChanges, until } from '../support/moving.js'
import { testTemporal, type TestTemporal } from '../support/temporal.js'

const TENANTS = 50
const EACH = 20

let base: ChangesBench
let bench: ChangesBench
let its: TestTemporal
let worker: ReturnType<typeof movingChanges>

beforeAll(async () => {
  base = await changesBench()
  its = await testTemporal()
  // Each note stands for itself, so that none has to be asked for again because another was faster.
  const free = { ...noteKind, base: () => ({}) }
  bench = { ...base, deps: { ...base.deps, kinds: allKinds([...accessKinds, free]) } }
  worker = movingChanges(bench, its.target)
})

afterAll(async () => {
  await worker.close()
  expect((await verify(base.server.db)).findingCount).toBe(0)
  await its.close()
  await base.close()
})

async function abreast<T>(items: readonly T[], count: number, work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values()
  const worker = async () => {
    for (const item of rest) await work(item)
  }
  await Promise.all(Array.from({ length: count }, worker))
}

test('a thousand changes in flight over fifty tenants: each is applied once, none waits for another tenant', async () => {
  const began = performance.now()
  const seconds = () => Math.round((performance.now() - began) / 1_000)
  const tenants: { tenant: Tenant; people: Person[] }[] = []
  for (let n = 0; n < TENANTS; n++) {
    const tenant = await Tenant.create(bench)
    tenants.push({ tenant, people: await tenant.people(3) })
  }
  const prepared = seconds()
  const asked: { tenant: Tenant; people: Person[]; change: Awaited<ReturnType<Tenant['request']>> }[] = []
  await abreast(
    Array.from({ length: TENANTS * EACH }, (_, n) => n),
    8,
    async (n) => {
      const { tenant, people } = tenants[n % TENANTS] ?? never()
      const change = await tenant.request(people[0] ?? never(), { payload: { text: `note ${n}` } })
      asked.push({ tenant, people, change })
    },
  )
  const { db } = base.server
  await until(async () => (await lagOf(db.operator, [DISPATCHER]))[0]?.entries === 0, 240_000)
  expect(await openByKind(db.operator)).toMatchObject([{ kind: 'changeApproval', count: TENANTS * EACH }])
  const inFlight = seconds()
  await abreast(asked, 8, async ({ tenant, people, change }) => {
    for (const person of people.slice(1)) await tenant.vote(person, change)
  })
  const voted = seconds()
  await until(async () => (await openByKind(db.operator)).length === 0, 400_000)
  for (const { tenant } of tenants) {
    const types = (await tenant.events()).map(({ event }) => event.type)
    const count = (type: string) => types.filter((each) => each === type).length
    expect([tenant.tenant, count('change.requested'), count('change.applied'), count('setting.set')]).toEqual([
      tenant.tenant,
      EACH,
      EACH,
      EACH,
    ])
    expect(count('change.failed') + count('dispatch.parked')).toBe(0)
  }
  process.stdout.write(
    `${TENANTS * EACH} changes of ${TENANTS} tenants: people after ${prepared} s, all in flight ${inFlight}, voted ${voted}, applied ${seconds()}\n`,
  )
}, 900_000)

function never(): never {
  throw new Error('nobody there')
}
