import { createHash, createPublicKey, verify } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { applyChange } from '../../src/approvals/commands/apply.js'
import { deliverChange } from '../../src/approvals/commands/deliver.js'
import type { RequestedChange } from '../../src/approvals/commands/request.js'
import { changeStep } from '../../src/approvals/commands/times.js'
import { DELIVERY_BACKOFF_MS } from '../../src/approvals/step.js'
import { publicKeysOf } from '../../src/keyring/signing-keys.js'
import { rfc8785 } from '../../src/ledger/jcs.js'
import { changeDelivery } from '../../src/sinks/change-delivery.js'
import { Tenant, type Person } from '../support/changes.js'
import { findingsIn } from '../support/verify-changes.js'
import { outsideBench, type OutsideBench } from '../support/outside.js'
import { receiver, type Received, type Receiver } from '../support/receiver.js'

let bench: OutsideBench
let there: Receiver
let acme: Tenant
let ada: Person
let ben: Person
let cy: Person
/** What the name that webhooks are set to points to. */
let pointsTo: string

beforeAll(async () => {
  bench = await outsideBench(async () => [{ address: pointsTo, family: 4 }])
})
afterAll(() => bench.close())
beforeEach(async () => {
  bench.aheadMs = 0
  pointsTo = '127.0.0.1'
  there = await receiver()
  acme = await Tenant.create(bench)
  ;[ada, ben, cy] = (await acme.people(3)) as [Person, Person, Person]
  await setHook()
  return () => there.close()
})

const content = { deploy: 'v42' }
const setHook = (path = '/hook') =>
  acme.directly('webhook.set', { id: 'deployer', url: `http://deployer.test:${there.port}${path}`, events: [] })

async function ordered(): Promise<RequestedChange> {
  const payload = { delivery: 'webhook', webhook: 'deployer', content }
  const change = await acme.request(ada, { kind: 'external.deploy', payload })
  await acme.vote(ben, change)
  await acme.vote(cy, change)
  expect(await applyChange(bench.deps, { tenant: acme.tenant, change: change.id })).toBe('ordered')
  return change
}
const deliver = ({ id }: { id: string }) =>
  deliverChange(bench.deps, changeDelivery(bench.deps), { tenant: acme.tenant, change: id })
const events = async ({ id }: { id: string }) =>
  (await acme.events(`change/${id}`)).slice(4).map(({ event }) => [event.type, event.data])

async function expectSigned({ headers, body }: Received): Promise<void> {
  const [key] = (await publicKeysOf(bench.server.db, acme.tenant)) ?? []
  const publicKey = createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x: key?.x ?? '' } })
  const signed = Buffer.from(
    `${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${body.toString()}`,
  )
  const [version, signature = ''] = String(headers['webhook-signature']).split(',')
  expect(version).toBe('v1a')
  expect(verify(null, signed, publicKey, Buffer.from(signature, 'base64'))).toBe(true)
}

test('an ordered change is delivered, signed, under its own id, and then applied', async () => {
  const change = await ordered()
  expect(await changeStep(bench.deps, { tenant: acme.tenant, change: change.id })).toEqual({
    closed: false,
    do: 'deliver',
  })
  expect(await deliver(change)).toEqual({ closed: true, status: 'applied' })
  const [got, ...others] = there.received
  expect(others).toEqual([])
  expect(got?.headers).toMatchObject({ 'webhook-id': change.id, 'content-type': 'application/json' })
  if (got) await expectSigned(got)
  const body = JSON.parse(got?.body.toString() ?? '') as { type: string; data: { payloadHash: string; hashed: object } }
  expect(body).toMatchObject({
    type: 'change.ordered',
    data: {
      requester: ada.id,
      payloadHash: change.payloadHash,
      hashed: { tenant: acme.tenant, change: change.id, payload: { content } },
    },
  })
  expect(createHash('sha256').update(rfc8785(body.data.hashed)).digest('hex')).toBe(change.payloadHash)
  expect(await events(change)).toEqual([
    ['change.applying', { payloadHash: change.payloadHash }],
    ['change.delivered', { attempt: 1, webhook: 'deployer', status: 204 }],
    ['change.applied', { payloadHash: change.payloadHash, effects: [] }],
  ])
  // Called again, by a workflow that did not hear the answer.
  expect(await deliver(change)).toEqual({ closed: true, status: 'applied' })
  expect(there.received).toHaveLength(1)
  expect(await findingsIn(bench.deps, acme.tenant)).toEqual([])
})

test('what is not taken is tried again when it is due, the same bytes under the same id, until it has failed', async () => {
  const change = await ordered()
  there.answer(500)
  for (const [n, waitMs] of DELIVERY_BACKOFF_MS.entries()) {
    expect(await deliver(change)).toEqual({ closed: false, waitMs })
    expect(there.received).toHaveLength(n + 1)
    const early = await deliver(change)
    expect(early).toMatchObject({ closed: false })
    expect(there.received).toHaveLength(n + 1)
    bench.aheadMs += waitMs
  }
  expect(await deliver(change)).toEqual({ closed: true, status: 'failed' })
  expect(new Set(there.received.map(({ headers }) => headers['webhook-id']))).toEqual(new Set([change.id]))
  expect(new Set(there.received.map(({ body }) => body.toString())).size).toBe(1)
  const attempts = DELIVERY_BACKOFF_MS.length + 1
  expect(there.received).toHaveLength(attempts)
  expect((await events(change)).slice(-2)).toEqual([
    ['change.delivery-failed', { attempt: attempts, webhook: 'deployer', status: 500, code: 'WEBHOOK_STATUS' }],
    ['change.failed', { code: 'WEBHOOK_STATUS' }],
  ])
})

test('a receiver that recovers gets it, and one that asks for time gets that', async () => {
  const change = await ordered()
  there.answer((response) => response.writeHead(503, { 'retry-after': '600' }).end())
  expect(await deliver(change)).toEqual({ closed: false, waitMs: 600_000 })
  bench.aheadMs += 300_000
  expect(await deliver(change)).toMatchObject({ closed: false, waitMs: expect.any(Number) as number })
  expect(there.received).toHaveLength(1)
  bench.aheadMs += 300_000
  there.answer(200)
  expect(await deliver(change)).toEqual({ closed: true, status: 'applied' })
  expect((await events(change)).map(([type]) => type)).toEqual([
    'change.applying',
    'change.delivery-failed',
    'change.delivered',
    'change.applied',
  ])
})

test('what was ordered in time may arrive late: it was decided when it was ordered', async () => {
  const change = await ordered()
  await acme.directly('policy.set', { kind: 'external.deploy', policy: { groups: [{ name: 'more', count: 3 }] } })
  bench.aheadMs = 100 * 24 * 3_600_000
  expect(await deliver(change)).toEqual({ closed: true, status: 'applied' })
  expect(await findingsIn(bench.deps, acme.tenant)).toEqual([])
})

test('a receiver that is gone for good is not asked again', async () => {
  const change = await ordered()
  there.answer(410)
  expect(await deliver(change)).toEqual({ closed: true, status: 'failed' })
  expect(there.received).toHaveLength(1)
})

test('a name that leads inside by now is not called: the change waits and says why', async () => {
  const change = await ordered()
  pointsTo = '169.254.169.254'
  expect(await deliver(change)).toMatchObject({ closed: false })
  expect((await events(change)).at(-1)).toEqual([
    'change.delivery-failed',
    { attempt: 1, webhook: 'deployer', code: 'WEBHOOK_TARGET_REFUSED' },
  ])
  expect(there.received).toEqual([])
})

test('what was approved for one address goes to no other', async () => {
  const change = await ordered()
  await setHook('/elsewhere')
  expect(await deliver(change)).toEqual({ closed: true, status: 'failed' })
  expect((await events(change)).at(-1)).toEqual(['change.failed', { code: 'CHANGE_BASE_MOVED' }])
  expect(there.received).toEqual([])
})

test('of two deliveries at once both may arrive, under one id, and it is applied once', async () => {
  const change = await ordered()
  const answers = await Promise.all([deliver(change), deliver(change)])
  for (const answer of answers) expect(answer).toEqual({ closed: true, status: 'applied' })
  expect(new Set(there.received.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
  expect((await events(change)).filter(([type]) => type === 'change.applied')).toHaveLength(1)
})

test('a change for a webhook that is not there cannot be asked for', async () => {
  const payload = { delivery: 'webhook', webhook: 'nobody', content }
  await expect(acme.request(ada, { kind: 'external.deploy', payload })).rejects.toMatchObject({
    code: 'WEBHOOK_UNKNOWN',
  })
})
