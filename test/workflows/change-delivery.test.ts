import { afterAll, beforeAll, expect, test } from 'vitest'
import { useEmergency } from '../../src/approvals/commands/emergency.js'
import { issueGrant, redeemGrant } from '../../src/approvals/commands/grant.js'
import type { RequestedChange } from '../../src/approvals/commands/request.js'
import type { Json } from '../../src/ledger/event.js'
import { Tenant, type Person } from '../support/changes.js'
import { keepHistory } from '../support/histories.js'
import { movingChanges, until, untilLast } from '../support/moving.js'
import { outsideBench, type OutsideBench } from '../support/outside.js'
import { receiver, type Receiver } from '../support/receiver.js'
import { testTemporal, type TestTemporal } from '../support/temporal.js'
import { findingsIn } from '../support/verify-changes.js'

let bench: OutsideBench
let its: TestTemporal
let there: Receiver
let worker: ReturnType<typeof movingChanges>
let acme: Tenant
let ada: Person
let ben: Person
let cy: Person

beforeAll(async () => {
  bench = await outsideBench(async () => [{ address: '127.0.0.1', family: 4 }])
  its = await testTemporal()
  there = await receiver()
  acme = await Tenant.create(bench)
  ;[ada, ben, cy] = (await acme.people(3)) as [Person, Person, Person]
  await acme.directly('webhook.set', {
    id: 'ops',
    url: `http://ops.test:${there.port}/`,
    events: ['change.emergency-used'],
  })
  worker = movingChanges(bench, its.target)
})

afterAll(async () => {
  await worker.close()
  expect(await findingsIn(bench.deps, acme.tenant)).toEqual([])
  await there.close()
  await its.close()
  await bench.close()
})

const handleOf = ({ id }: RequestedChange) =>
  its.temporal.client.workflow.getHandle(`${bench.server.installation.id}/${acme.tenant}/change/${id}`)

async function approved(kind: string, payload: Json): Promise<RequestedChange> {
  const change = await acme.request(ada, { kind, payload })
  for (const voter of [ben, cy]) await acme.vote(voter, change)
  return change
}

test('an ordered change is delivered by its workflow, again where it was not taken, and then applied', async () => {
  let asked = 0
  there.answer((response) => response.writeHead(++asked === 1 ? 500 : 204).end())
  const change = await approved('external.deploy', { delivery: 'webhook', webhook: 'ops', content: { deploy: 'v42' } })
  await untilLast(acme, change.id, 'change.applied')
  await handleOf(change).result()
  await keepHistory(its.temporal.client, 'changeApproval.delivered', handleOf(change).workflowId)
  expect((await acme.types(`change/${change.id}`)).slice(-4)).toEqual([
    'change.applying',
    'change.delivery-failed',
    'change.delivered',
    'change.applied',
  ])
  const sent = there.received.filter(({ headers }) => headers['webhook-id'] === change.id)
  expect(sent.map(({ body }) => body.toString())).toHaveLength(2)
  expect(JSON.stringify(await handleOf(change).fetchHistory())).not.toContain('v42')
})

test('a change that is taken by a grant waits for it, and its workflow ends when it is redeemed', async () => {
  const change = await approved('external.billing', { delivery: 'grant', content: { refund: 'INV-7' } })
  await until(
    async () =>
      (
        await handleOf(change)
          .describe()
          .catch(() => undefined)
      )?.status.name === 'RUNNING',
  )
  const { grant } = await issueGrant(bench.deps, ada, change.id)
  await redeemGrant(bench.deps, ben, { id: change.id, grant })
  await handleOf(change).result()
  expect((await acme.types(`change/${change.id}`)).slice(-3)).toEqual([
    'change.granted',
    'change.redeemed',
    'change.applied',
  ])
})

test('a use of break-glass is told to who was passed over, and then applied', async () => {
  await acme.directly('emergency.list', { people: [ben.id], kinds: ['setting.note'] })
  const change = await acme.request(ada, { payload: { text: 'urgent' } })
  await useEmergency(bench.deps, ben, { change: change.id, payloadHash: change.payloadHash, reason: 'nobody answers' })
  await untilLast(acme, change.id, 'change.applied')
  const told = there.received.map(({ body }) => JSON.parse(body.toString()) as { type: string; data: object })
  expect(told.find(({ type }) => type === 'change.emergency-used')?.data).toMatchObject({
    change: change.id,
    skipped: [cy.id],
  })
})
