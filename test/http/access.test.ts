import { afterAll, beforeAll, expect, test } from 'vitest'
import { readLeaf } from '../../src/ledger/entry.js'
import { testService, type TestService } from '../support/service.js'

let api: TestService
let admin: string

beforeAll(async () => {
  api = await testService()
  admin = await api.token()
})
afterAll(() => api.close())

async function leaves(tenant: string) {
  const rows = await api.server.db.operator
    .selectFrom('entries')
    .select('leaf')
    .where('tenant', '=', tenant)
    .orderBy('seq')
    .execute()
  return rows.map(({ leaf }) => ({ ...readLeaf(leaf), text: leaf.toString() }))
}

const make = (body: object, token = admin) => api.call('POST', '/v1/tokens', { token, body })

test('a token is made, used, listed and revoked, and its secret is nowhere but in the answer', async () => {
  const answer = await make({
    principal: 'service:crm',
    permissions: ['ledger/events:write'],
    expiresAt: '2999-01-01T00:00:00+01:00',
    description: 'for the nightly job',
  })
  expect(answer.status).toBe(201)
  expect(answer.headers.get('cache-control')).toBe('no-store')
  const { id, token } = answer.json as { id: string; token: string }
  expect(token).toMatch(/^cs_acme\.[A-Za-z0-9_-]{43}$/)
  expect(answer.json['expiresAt']).toBe('2998-12-31T23:00:00.000Z')

  const used = await api.call('POST', '/v1/events', { token, body: { type: 'job.ran' } })
  expect(used.status).toBe(201)
  const log = await leaves('acme')
  expect(log.at(-1)?.entry).toMatchObject({ by: 'service:crm', via: `token:${id}` })

  const created = log.find(({ entry }) => entry.stream === `token/${id}`)
  expect(created?.event).toMatchObject({
    type: 'token.created',
    actor: { id: 'service:billing', type: 'service' },
    targets: [
      { id: `token:${id}`, type: 'token' },
      { id: 'service:crm', type: 'service' },
    ],
    data: { permissions: ['ledger/events:write'], principal: 'service:crm', expiresAt: '2998-12-31T23:00:00.000Z' },
  })
  expect(created?.event.source).toBeUndefined()
  const secret = token.split('.')[1] ?? ''
  for (const { text } of log) expect(text).not.toContain(secret)
  expect(created?.text).not.toContain('nightly')

  const list = await api.call('GET', '/v1/tokens', { token: admin })
  expect(list.text).not.toContain(secret)
  expect((list.json['tokens'] as { id: string }[])[0]).toMatchObject({ id, description: 'for the nightly job' })

  expect((await api.call('DELETE', `/v1/tokens/${id}`, { token: admin })).status).toBe(204)
  // At once, although the token was in use a moment ago.
  const refused = await api.call('POST', '/v1/events', { token, body: { type: 'job.ran' } })
  expect(refused.json['code']).toBe('TOKEN_REVOKED')
  const size = await api.size('acme')
  expect((await api.call('DELETE', `/v1/tokens/${id}`, { token: admin })).status).toBe(204)
  expect(await api.size('acme')).toBe(size)
  expect((await leaves('acme')).filter(({ entry }) => entry.stream === `token/${id}`)).toHaveLength(2)
})

test('pages of tokens end', async () => {
  for (let n = 0; n < 3; n++) await make({ principal: 'service:page', permissions: ['a/b:c'] })
  const first = await api.call('GET', '/v1/tokens?limit=2', { token: admin })
  const second = await api.call('GET', `/v1/tokens?limit=2&before=${String(first.json['next'])}`, { token: admin })
  const ids = [first, second].flatMap(({ json }) => (json['tokens'] as { id: string }[]).map(({ id }) => id))
  expect(new Set(ids).size).toBe(4)
})

test('nobody grants what they do not have', async () => {
  const clerk = await api.token(['access/tokens:write', 'ledger/events:write'], { principal: 'service:clerk' })
  expect((await make({ principal: 'service:x', permissions: ['ledger/events:write'] }, clerk)).status).toBe(201)
  for (const permission of ['ledger/entries:read', 'ledger/*:write', '*/*:*', 'access/tokens:*']) {
    const before = await api.size('acme')
    const answer = await make({ principal: 'service:x', permissions: ['ledger/events:write', permission] }, clerk)
    expect(answer.json).toMatchObject({ status: 403, code: 'PERMISSION_ESCALATION', pointer: '/permissions/1' })
    expect(await api.size('acme')).toBe(before)
  }
})

test.each([
  ['service:host', 422, 'PRINCIPAL_RESERVED'],
  ['host', 400, 'PRINCIPAL_INVALID'],
  ['service:a b', 400, 'PRINCIPAL_INVALID'],
  ['person:01JDDDDDDDDDDDDDDDDDDDDDDD', 422, 'SUBJECT_UNKNOWN'],
])('no token acts for %s', async (principal, status, code) => {
  const before = await api.size('acme')
  const answer = await make({ principal, permissions: ['a/b:c'] })
  expect(answer.json).toMatchObject({ status, code, pointer: '/principal' })
  expect(await api.size('acme')).toBe(before)
})

test.each(['ledger/ev*:write', 'ledger:write', 'Ledger/events:write', 'ledger/events/x:write', ''])(
  '%j is no permission',
  async (permission) => {
    const answer = await make({ principal: 'service:x', permissions: [permission] })
    expect(answer.json).toMatchObject({ status: 400, code: 'PERMISSION_INVALID', pointer: '/permissions/0' })
  },
)

test('a person acts by pseudonym', async () => {
  const event = await api.call('POST', '/v1/events', {
    token: admin,
    body: { type: 'user.hired', actor: { kind: 'email', value: 'ada@example.org' } },
  })
  const [{ actor }] = event.json['entries'] as [{ actor: string }]
  const answer = await make({ principal: actor, permissions: ['ledger/events:write'] })
  expect(answer.status).toBe(201)
  await api.call('POST', '/v1/events', { token: String(answer.json['token']), body: { type: 'user.moved' } })
  expect((await leaves('acme')).at(-1)?.entry.by).toBe(actor)
})

test('an expiry in the past is refused', async () => {
  const answer = await make({ principal: 'service:x', permissions: ['a/b:c'], expiresAt: '2001-01-01T00:00:00Z' })
  expect(answer.json).toMatchObject({ status: 400, code: 'TOKEN_EXPIRY_INVALID', pointer: '/expiresAt' })
})

test("another tenant's token cannot be seen or revoked", async () => {
  const other = await api.token(['*/*:*'], { tenant: 'other' })
  const made = await make({ principal: 'service:mine', permissions: ['a/b:c'] })
  const answer = await api.call('DELETE', `/v1/tokens/${String(made.json['id'])}`, { token: other })
  expect(answer.json).toMatchObject({ status: 404, code: 'TOKEN_UNKNOWN' })
  const list = await api.call('GET', '/v1/tokens', { token: other })
  expect(list.text).not.toContain('service:mine')
})

test('denials are entries: the first at once, repeats as one with their count', async () => {
  const own = await testService()
  try {
    const reader = await own.token(['ledger/*:read'], { principal: 'service:reader' })
    const system = await own.size('system')
    const tries = 12
    for (let n = 0; n < tries; n++) {
      await own.call('POST', '/v1/events', { token: reader, body: {} })
      await own.call('POST', '/v1/events', { body: {} })
      await own.call('GET', '/v1/tokens', { token: `cs_acme.${String(n).padStart(43, 'A')}` })
    }
    await own.service.close()
    const rows = await own.server.db.operator.selectFrom('entries').select(['tenant', 'leaf']).orderBy('seq').execute()
    const denied = rows
      .map(({ tenant, leaf }) => ({ tenant, ...readLeaf(leaf) }))
      .filter(({ event }) => event.type === 'access.denied')
    const told = denied.map(({ tenant, entry, event }) => ({
      tenant,
      by: entry.by,
      stream: entry.stream,
      source: event.source,
      reason: event.reason,
      ...event.data,
    }))
    const ours = { tenant: 'acme', by: 'service:reader', stream: undefined, source: undefined }
    const nobodys = { tenant: 'system', by: 'service:host', stream: undefined, source: undefined }
    const events = { route: 'POST /v1/events' }
    const permission = 'ledger/events:write'
    for (const count of [1, tries - 1]) {
      expect(told).toContainEqual({ ...ours, ...events, reason: 'PERMISSION_MISSING', permission, count })
      expect(told).toContainEqual({ ...nobodys, ...events, reason: 'TOKEN_MISSING', count })
      expect(told).toContainEqual({ ...nobodys, route: 'GET /v1/tokens', reason: 'TOKEN_INVALID', count })
    }
    expect(denied).toHaveLength(6)
    expect(denied.every(({ event }) => event.outcome === 'denied')).toBe(true)
    expect(system).toBeGreaterThan(0)
  } finally {
    await own.close()
  }
})

test('who guesses tokens is slowed down; who has one is not', async () => {
  const own = await testService({ COUNTERSIGN_ANONYMOUS_RATE_LIMIT_PER_MINUTE: '5' })
  try {
    const token = await own.token(['ledger/events:write'])
    expect((await own.call('POST', '/v1/events', { token, body: { type: 'a.b' } })).status).toBe(201)
    const guesses = []
    for (let n = 0; n < 8; n++) {
      guesses.push(await own.call('POST', '/v1/events', { token: `cs_acme.${String(n).padStart(43, 'A')}` }))
    }
    expect(guesses.map(({ status }) => status)).toEqual([401, 401, 401, 401, 401, 429, 429, 429])
    expect(guesses.at(-1)?.json['code']).toBe('RATE_LIMITED')
    expect(Number(guesses.at(-1)?.headers.get('retry-after'))).toBeGreaterThan(0)
    expect((await own.call('GET', '/openapi.json')).status).toBe(429)
    expect((await own.call('GET', '/healthz')).status).toBe(200)
    expect((await own.call('POST', '/v1/events', { token, body: { type: 'a.b' } })).status).toBe(201)
    const fresh = await own.token(['ledger/events:write'])
    expect((await own.call('POST', '/v1/events', { token: fresh, body: { type: 'a.b' } })).status).toBe(201)
  } finally {
    await own.close()
  }
})

test('behind a trusted proxy each caller has its own limit, and nobody else names an address', async () => {
  const limit = { COUNTERSIGN_ANONYMOUS_RATE_LIMIT_PER_MINUTE: '2' }
  for (const [proxies, third] of [
    ['127.0.0.0/8,::1', 200],
    ['', 429],
    ['192.0.2.7', 429],
  ] as const) {
    const own = await testService({ ...limit, COUNTERSIGN_TRUSTED_PROXIES: proxies })
    try {
      const ask = async (address: string) =>
        (await own.call('GET', '/openapi.json', { headers: { 'x-forwarded-for': address } })).status
      expect([await ask('192.0.2.1'), await ask('192.0.2.1'), await ask('192.0.2.1')]).toEqual([200, 200, 429])
      expect(await ask('192.0.2.2')).toBe(third)
    } finally {
      await own.close()
    }
  }
})

test('a credential has a limit of its own', async () => {
  const own = await testService({ COUNTERSIGN_RATE_LIMIT_PER_MINUTE: '3' })
  try {
    const [one, two] = [await own.token(['ledger/events:write']), await own.token(['ledger/events:write'])]
    const statuses = []
    for (let n = 0; n < 4; n++) {
      statuses.push((await own.call('POST', '/v1/events', { token: one, body: { type: 'a.b' } })).status)
    }
    expect(statuses).toEqual([201, 201, 201, 429])
    expect((await own.call('POST', '/v1/events', { token: two, body: { type: 'a.b' } })).status).toBe(201)
  } finally {
    await own.close()
  }
})
