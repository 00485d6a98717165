import { createPublicKey, verify } from 'node:crypto'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readLeaf } from '../../src/ledger/entry.js'
import { receiver, type Receiver } from '../support/receiver.js'
import { testService, type TestService } from '../support/service.js'

let api: TestService
let there: Receiver
let admin: string
let people: { id: string; token: string }[]

beforeAll(async () => {
  there = await receiver()
  api = await testService({ COUNTERSIGN_WEBHOOK_NETWORKS: '127.0.0.0/8', COUNTERSIGN_WEBHOOK_TIMEOUT_MS: '2000' })
  admin = await api.token()
  people = []
  for (const name of ['ada', 'ben', 'cy']) {
    const event = { type: 'user.hired', actor: { kind: 'email', value: `${name}@example.org` } }
    const { json } = await api.call('POST', '/v1/events', { token: admin, body: event })
    const [{ actor: id }] = json['entries'] as [{ actor: string }]
    people.push({ id, token: await api.token(['changes/*:*'], { principal: id }) })
  }
})
afterAll(async () => {
  await api.close()
  await there.close()
})

const person = (n: number) => people[n] ?? { id: '', token: '' }
const set = (id: string, body: object, token = admin) => api.call('PUT', `/v1/webhooks/${id}`, { token, body })

async function approved(kind: string, payload: object): Promise<string> {
  const asked = await api.call('POST', '/v1/changes', { token: person(0).token, body: { kind, payload } })
  expect(asked.status).toBe(201)
  const { id, payloadHash } = asked.json as { id: string; payloadHash: string }
  for (const n of [1, 2]) {
    const vote = { decision: 'approve', payloadHash }
    expect(
      (await api.call('POST', `/v1/changes/${id}/votes`, { token: person(n).token, body: vote })).status,
    ).toBeLessThan(300)
  }
  return id
}

async function lastLeaf(): Promise<{ type: string; reason?: string; data?: object }> {
  const row = await api.server.db.operator
    .selectFrom('entries')
    .select('leaf')
    .where('tenant', '=', 'acme')
    .orderBy('seq', 'desc')
    .limit(1)
    .executeTakeFirstOrThrow()
  return readLeaf(row.leaf).event
}

test('a webhook is set, listed, tested, removed', async () => {
  const target = { url: there.url, events: ['change.*'] }
  expect((await set('ops', target)).status).toBe(204)
  const list = async () => (await api.call('GET', '/v1/webhooks', { token: admin })).json
  expect(await list()).toEqual({ webhooks: [{ id: 'ops', ...target, version: 1 }], publicKeys: [] })

  const tested = await api.call('POST', '/v1/webhooks/ops/test', { token: admin })
  expect(tested.json).toEqual({ delivered: true, status: 204 })
  const got = there.received.at(-1)
  expect(JSON.parse(got?.body.toString() ?? '')).toMatchObject({ type: 'webhook.tested', data: { tenant: 'acme' } })
  const { publicKeys } = (await list()) as { publicKeys: string[] }
  const x = Buffer.from(publicKeys[0]?.replace('whpk_', '') ?? '', 'base64').toString('base64url')
  const key = createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x } })
  const headers = got?.headers ?? {}
  const signed = `${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${got?.body.toString() ?? ''}`
  const signature = Buffer.from(String(headers['webhook-signature']).replace('v1a,', ''), 'base64')
  expect(verify(null, Buffer.from(signed), key, signature)).toBe(true)
  expect(await lastLeaf()).toMatchObject({
    type: 'webhook.delivered',
    data: { webhook: 'ops', attempt: 1, status: 204 },
  })

  there.answer(500)
  const failed = await api.call('POST', '/v1/webhooks/ops/test', { token: admin })
  expect(failed.json).toEqual({ delivered: false, status: 500, code: 'WEBHOOK_STATUS' })
  expect(await lastLeaf()).toMatchObject({ type: 'webhook.delivery-failed', reason: 'WEBHOOK_STATUS' })
  there.answer(204)

  expect((await api.call('DELETE', '/v1/webhooks/ops', { token: admin })).status).toBe(204)
  expect((await api.call('DELETE', '/v1/webhooks/ops', { token: admin })).json).toMatchObject({
    status: 404,
    code: 'WEBHOOK_UNKNOWN',
  })
  expect((await api.call('POST', '/v1/webhooks/ops/test', { token: admin })).json).toMatchObject({
    code: 'WEBHOOK_UNKNOWN',
  })
  expect((await list())['webhooks']).toEqual([])
})

test.each([
  ['https://10.0.0.1/', 'WEBHOOK_TARGET_REFUSED', 422],
  ['https://169.254.169.254/latest/meta-data', 'WEBHOOK_TARGET_REFUSED', 422],
  ['http://[::1]/', 'WEBHOOK_TARGET_REFUSED', 422],
  ['https://user:secret@example.org/', 'WEBHOOK_TARGET_REFUSED', 422],
  ['gopher://example.org/', 'WEBHOOK_TARGET_REFUSED', 422],
  ['https://nobody.invalid/', 'WEBHOOK_TARGET_UNRESOLVED', 422],
])('no webhook leads to %s, set directly or asked for', async (url, code, status) => {
  const before = await api.size('acme')
  expect((await set('bad', { url, events: [] })).json).toMatchObject({ code, status })
  const payload = { id: 'bad', url, events: [] }
  const asked = await api.call('POST', '/v1/changes', { token: admin, body: { kind: 'webhook.set', payload } })
  expect(asked.json).toMatchObject({ code, status })
  expect(await api.size('acme')).toBe(before)
})

test('a change for another system is granted, verified over HTTP by code that is not ours, and redeemed once', async () => {
  const id = await approved('external.billing', { delivery: 'grant', content: { refund: 'INV-7' } })
  expect((await api.call('POST', `/v1/changes/${id}/grant`, { token: person(1).token })).json).toMatchObject({
    status: 403,
    code: 'CHANGE_NOT_YOURS',
  })
  const issued = await api.call('POST', `/v1/changes/${id}/grant`, { token: person(0).token })
  expect(issued.status).toBe(201)
  const grant = String(issued.json['grant'])
  const keys = createRemoteJWKSet(new URL(`${api.url}/t/acme/.well-known/jwks.json`))
  const { payload } = await jwtVerify(grant, keys, {
    audience: 'billing',
    issuer: `urn:countersign:${api.server.installation.id}:acme`,
    typ: 'countersign-grant+jwt',
    algorithms: ['EdDSA'],
  })
  expect(payload).toMatchObject({ change: id, sub: person(0).id })
  expect(api.logLines.join('\n')).not.toContain(grant)

  const redeemer = await api.token(['grants/grants:redeem'], { principal: 'service:payments' })
  const redeem = (token: string) => api.call('POST', `/v1/changes/${id}/redeem`, { token, body: { grant } })
  expect((await redeem(person(1).token)).json).toMatchObject({ status: 403, code: 'PERMISSION_MISSING' })
  const taken = await Promise.all([redeem(redeemer), redeem(redeemer)])
  expect(new Set(taken.map(({ status }) => status))).toEqual(new Set([200, 409]))
  expect(taken.find(({ status }) => status === 200)?.json).toMatchObject({
    change: id,
    payload: { delivery: 'grant', content: { refund: 'INV-7' } },
  })
  expect(taken.find(({ status }) => status === 409)?.json).toMatchObject({ code: 'GRANT_REDEEMED' })
  const change = await api.call('GET', `/v1/changes/${id}`, { token: admin })
  expect(change.json['status']).toBe('applied')
})

test('a token that takes two people is claimed by who it is for', async () => {
  const asked = { principal: person(1).id, permissions: ['changes/*:*'] }
  const token = await api.token(['changes/*:*'], { principal: person(0).id })
  const fourth = { kind: 'email', value: 'dan@example.org' }
  const { json } = await api.call('POST', '/v1/events', { token: admin, body: { type: 'user.hired', actor: fourth } })
  const [{ actor }] = json['entries'] as [{ actor: string }]
  const other = await api.token(['changes/*:*'], { principal: actor })
  const { json: change } = await api.call('POST', '/v1/changes', {
    token,
    body: { kind: 'token.create', payload: asked },
  })
  const { id, payloadHash } = change as { id: string; payloadHash: string }
  for (const voter of [person(2).token, other]) {
    await api.call('POST', `/v1/changes/${id}/votes`, { token: voter, body: { decision: 'approve', payloadHash } })
  }
  const claim = (by: string) => api.call('POST', `/v1/changes/${id}/claim`, { token: by, body: {} })
  expect((await claim(other)).json).toMatchObject({ status: 403, code: 'CLAIM_NOT_YOURS' })
  const made = await claim(person(1).token)
  expect(made.status).toBe(201)
  expect(made.json).toMatchObject({ principal: person(1).id, permissions: ['changes/*:*'] })
  expect((await api.call('GET', '/v1/changes', { token: String(made.json['token']) })).status).toBe(200)
  expect((await claim(person(1).token)).json).toMatchObject({ status: 409, code: 'CLAIM_TAKEN' })
})
