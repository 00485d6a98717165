import { afterAll, beforeAll, expect, test } from 'vitest'
import { lagOf, DISPATCHER, openByKind } from '../../src/ledger/subscriptions.js'
import { verify } from '../../src/ledger/verify.js'
import { changesBench, Tenant, type ChangesBench, type Person } from '../support/changes.js'
import { movingChanges, until, untilLast } from '../support/moving.js'
import { ownTemporal, type OwnTemporal } from '../support/temporal.js'

let bench: ChangesBench
let own: OwnTemporal
let worker: ReturnType<typeof movingChanges>
let acme: Tenant
let ada: Person
let ben: Person
let cy: Person

beforeAll(async () => {
  bench = await changesBench()
  own = await ownTemporal()
  acme = await Tenant.create(bench)
  ;[ada, ben, cy] = (await acme.people(3)) as [Person, Person, Person]
  worker = movingChanges(bench, own.target)
})

afterAll(async () => {
  await worker.close()
  expect((await verify(bench.server.db)).findingCount).toBe(0)
  await own.close()
  await bench.close()
})

const note = (text: string) => acme.request(ada, { payload: { text } })

async function approve(change: Awaited<ReturnType<typeof note>>): Promise<void> {
  await acme.vote(ben, change)
  await acme.vote(cy, change)
}

const runsOf = async (change: string) =>
  own.temporal.client.workflow
    .getHandle(`${bench.server.installation.id}/${acme.tenant}/change/${change}`)
    .describe()
    .then(({ status }) => status.name)
    .catch(() => undefined)

const runs = (change: string) => until(async () => (await runsOf(change)) === 'RUNNING')

/** How often each note took effect. */
async function effects(): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  for (const { event } of await acme.events('setting/note')) {
    const text = String((event.data as { value?: { text?: string } }).value?.text)
    counts.set(text, (counts.get(text) ?? 0) + 1)
  }
  return counts
}

const told = async () => {
  const [lag] = await lagOf(bench.server.db.operator, [DISPATCHER])
  return lag?.entries === 0
}

test('Temporal is killed with changes under way: what was decided meanwhile happens when it is back', async () => {
  // What rests on the stream of another note could not be applied after it.
  const before = await note('before')
  await runs(before.id)
  await own.kill()
  await approve(before)
  expect((await acme.types(`change/${before.id}`)).at(-1)).toBe('change.approved')
  await own.start()
  await untilLast(acme, before.id, 'change.applied')
  const after = await note('after')
  await approve(after)
  await untilLast(acme, after.id, 'change.applied')
  expect(await effects()).toEqual(
    new Map([
      ['before', 1],
      ['after', 1],
    ]),
  )
}, 120_000)

test('Temporal loses its database: what is open goes on, and nothing is applied, reminded or told twice', async () => {
  const applied = await note('applied')
  await approve(applied)
  await untilLast(acme, applied.id, 'change.applied')
  const open = await note('open')
  const withdrawn = await note('rejected')
  await acme.vote(ben, withdrawn, 'reject')
  await untilLast(acme, withdrawn.id, 'change.rejected')
  await runs(open.id)
  bench.aheadMs = 25 * 3_600_000
  await own.temporal.client.workflow
    .getHandle(`${bench.server.installation.id}/${acme.tenant}/change/${open.id}`)
    .signal('nudge')
  await untilLast(acme, open.id, 'change.reminded')
  await until(told)
  const before = await acme.events()

  await own.kill()
  await own.deleteData()
  await own.start()
  await runs(open.id)
  // Only what is open was started; the workflow found nothing to do.
  for (const { id } of [applied, withdrawn]) expect(await runsOf(id)).toBeUndefined()
  expect((await acme.events()).length).toBe(before.length)
  const { rows } = await (
    await bench.server.superuser()
  ).query<{ namespace: string }>(`select namespace from subscriptions where consumer = $1 and tenant = $2`, [
    DISPATCHER,
    acme.tenant,
  ])
  expect(rows[0]?.namespace).toMatch(/^[0-9a-f-]{36}$/)
  await approve(open)
  await untilLast(acme, open.id, 'change.applied')
  expect((await effects()).get('open')).toBe(1)
  expect((await effects()).get('applied')).toBe(1)
  expect(await acme.types(`change/${open.id}`)).toEqual([
    'change.requested',
    'change.reminded',
    'change.voted',
    'change.voted',
    'change.approved',
    'change.applied',
  ])
  await until(told)
  expect(await openByKind(bench.server.db.operator)).toEqual([])
}, 120_000)
