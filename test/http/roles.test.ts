import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ENFORCEMENT_STREAM } from '../../src/approvals/governance.js'
import { governed } from '../../src/approvals/governed.js'
import { appendEffects } from '../../src/auth/effects.js'
import { Subjects } from '../../src/keyring/subjects.js'
import { readLeaf } from '../../src/ledger/entry.js'
import { host } from '../../src/principal.js'
import { testService, type Answer, type TestService } from '../support/service.js'

let api: TestService
let tenant: string
let tenants = 0
let admin: string

beforeAll(async () => {
  api = await testService()
})
afterAll(() => api.close())
beforeEach(async () => {
  tenant = `acme-${++tenants}`
  admin = await api.token(['*/*:*'], { tenant, principal: 'service:admin' })
})

const call = (method: string, path: string, body?: object, token = admin): Promise<Answer> =>
  api.call(method, path, { token, ...(body && { body }) })
const tokenFor = (principal: string, permissions: readonly string[]) => api.token(permissions, { tenant, principal })
const person = async () => (await new Subjects(api.server.db, api.server.installation).create(tenant)).subject

/** Events of a stream, in order. */
async function events(stream: string) {
  const rows = await api.server.db.operator
    .selectFrom('entries')
    .select('leaf')
    .where('tenant', '=', tenant)
    .orderBy('seq')
    .execute()
  return rows
    .map(({ leaf }) => readLeaf(leaf))
    .filter(({ entry }) => entry.stream === stream)
    .map(({ entry, event }) => ({ ...event, by: entry.by }))
}

async function enforce(): Promise<void> {
  const effect = { stream: ENFORCEMENT_STREAM, events: [{ type: 'approvals.enforced' }] }
  await governed({ database: api.server.db }, { tenant }, (tx, now) => appendEffects(tx, now, host(tenant), [effect]))
}

test('a role is defined, granted, heeded at once, revoked and removed', async () => {
  const defined = await call('PUT', '/v1/roles/clerk', { permissions: ['ledger/entries:read', 'ledger/events:write'] })
  expect([defined.status, defined.json]).toEqual([
    200,
    {
      role: 'clerk',
      permissions: ['ledger/entries:read', 'ledger/events:write'],
      inherits: [],
      effective: ['ledger/entries:read', 'ledger/events:write'],
      holders: 0,
      version: 1,
    },
  ])
  await call('PUT', '/v1/roles/lead', { permissions: [], inherits: ['clerk'] })
  // A token that its principal's roles do not back yet.
  const token = await tokenFor('service:crm', ['ledger/events:write'])
  await call('DELETE', '/v1/principals/service:crm/roles/own:service:crm')
  expect((await call('POST', '/v1/events', { type: 'a.b' }, token)).json['code']).toBe('PERMISSION_MISSING')

  expect((await call('POST', '/v1/principals/service:crm/roles', { role: 'lead' })).status).toBe(204)
  expect((await call('POST', '/v1/events', { type: 'a.b' }, token)).status).toBe(201)
  expect((await call('GET', '/v1/roles')).json).toMatchObject({
    roles: [
      { role: 'clerk', holders: 1 },
      { role: 'lead', holders: 1, inherits: ['clerk'], effective: ['ledger/entries:read', 'ledger/events:write'] },
    ],
  })

  expect((await call('DELETE', '/v1/principals/service:crm/roles/lead')).status).toBe(204)
  expect((await call('POST', '/v1/events', { type: 'a.b' }, token)).json['code']).toBe('PERMISSION_MISSING')
  expect((await call('DELETE', '/v1/roles/lead')).status).toBe(204)
  expect((await call('GET', '/v1/roles')).json).toMatchObject({ roles: [{ role: 'clerk' }] })

  const setup = { authority: { setup: true } }
  expect(await events('role/lead')).toMatchObject([
    { type: 'role.defined', by: 'service:admin', data: setup },
    { type: 'role.removed', data: setup },
  ])
  expect((await events('principal/service:crm')).slice(-2)).toMatchObject([
    { type: 'role.granted', data: { principal: 'service:crm', role: 'lead', ...setup } },
    { type: 'role.revoked', data: { principal: 'service:crm', role: 'lead' } },
  ])
})

test('doing again what was done records nothing', async () => {
  const ada = await person()
  const [bob] = [await person()]
  const once: [string, string, object?][] = [
    ['PUT', '/v1/roles/clerk', { permissions: ['a/b:c'] }],
    ['POST', '/v1/principals', { principal: ada }],
    ['POST', '/v1/principals', { principal: bob }],
    ['POST', '/v1/principals', { principal: 'service:job', owner: ada }],
    ['POST', `/v1/principals/${ada}/roles`, { role: 'clerk' }],
    ['PUT', `/v1/principals/${bob}/link`, { sameAs: ada }],
  ]
  const twice: [string, string, object?][] = [
    ['DELETE', `/v1/principals/${bob}/link`],
    ['DELETE', `/v1/principals/${ada}/roles/clerk`],
    ['POST', '/v1/principals/service:job/disable'],
    ['DELETE', '/v1/roles/clerk'],
  ]
  for (const group of [once, twice]) {
    for (const request of group) expect((await call(...request)).status).toBeLessThan(300)
    const size = await api.size(tenant)
    for (const request of group) {
      // A role that is gone cannot be revoked; all else is as it was asked for.
      const answer = await call(...request)
      if (request[1].endsWith('/roles/clerk') && request[0] === 'DELETE' && group === twice && answer.status === 404) {
        expect(answer.json['code']).toBe('ROLE_UNKNOWN')
      } else expect(answer.status).toBeLessThan(300)
    }
    expect(await api.size(tenant)).toBe(size)
  }
})

test('principals are registered, linked, disabled and brought back', async () => {
  const [ada, other] = [await person(), await person()]
  await call('POST', '/v1/principals', { principal: ada })
  await call('POST', '/v1/principals', { principal: other })
  const owned = await call('POST', '/v1/principals', { principal: 'service:job', owner: ada })
  expect([owned.status, owned.json]).toEqual([
    200,
    { principal: 'service:job', kind: 'service', owner: ada, roles: [], permissions: [], version: 1 },
  ])
  const linked = await call('PUT', `/v1/principals/${other}/link`, { sameAs: ada })
  expect(linked.json).toMatchObject({ principal: other, kind: 'person', sameAs: ada, countsAs: ada })
  expect((await call('DELETE', `/v1/principals/${other}/link`)).status).toBe(204)
  expect((await call('GET', `/v1/principals/${other}`)).json).not.toHaveProperty('sameAs')

  const token = await tokenFor('service:job', ['ledger/events:write'])
  expect((await call('POST', '/v1/events', { type: 'a.b' }, token)).status).toBe(201)
  expect((await call('POST', '/v1/principals/service:job/disable')).status).toBe(204)
  expect((await call('POST', '/v1/events', { type: 'a.b' }, token)).json['code']).toBe('PERMISSION_MISSING')
  expect((await call('GET', '/v1/principals/service:job')).json).toMatchObject({
    disabled: true,
    roles: ['own:service:job'],
    permissions: [],
  })
  await call('POST', '/v1/principals', { principal: 'service:job' })
  expect((await call('GET', '/v1/principals/service:job')).json).toMatchObject({
    owner: ada,
    permissions: ['ledger/events:write'],
  })
  expect((await call('POST', '/v1/events', { type: 'a.b' }, token)).status).toBe(201)
})

test('lists come in pages that end', async () => {
  for (const name of ['a', 'b', 'c']) {
    await call('PUT', `/v1/roles/${name}`, { permissions: ['a/b:c'] })
    await call('POST', '/v1/principals', { principal: `service:${name}` })
  }
  for (const [path, key] of [
    ['/v1/roles', 'roles'],
    ['/v1/principals', 'principals'],
  ] as const) {
    const first = await call('GET', `${path}?limit=2`)
    expect(first.json[key]).toHaveLength(2)
    const second = await call('GET', `${path}?limit=1000&after=${String(first.json['next'])}`)
    expect(second.json).not.toHaveProperty('next')
    const all = [...(first.json[key] as object[]), ...(second.json[key] as object[])]
    expect(all).toEqual((await call('GET', path)).json[key])
  }
  const own = await call('GET', '/v1/roles?own=true')
  expect((own.json['roles'] as { role: string }[]).map(({ role }) => role)).toEqual([
    'a',
    'b',
    'c',
    'own:service:admin',
  ])
})

test("another tenant's roles and principals cannot be seen or used", async () => {
  await call('PUT', '/v1/roles/clerk', { permissions: ['a/b:c'] })
  const other = await api.token(['*/*:*'], { tenant: `other-${tenants}`, principal: 'service:other' })
  expect((await call('GET', '/v1/roles', undefined, other)).json['roles']).toEqual([])
  expect((await call('GET', '/v1/principals/service:admin', undefined, other)).json['code']).toBe('PRINCIPAL_UNKNOWN')
  const granted = await call('POST', '/v1/principals/service:other/roles', { role: 'clerk' }, other)
  expect(granted.json['code']).toBe('ROLE_UNKNOWN')
})

describe('bad input is refused, with nothing stored', () => {
  test.each([
    ['PUT', '/v1/roles/Clerk', { permissions: ['a/b:c'] }, 400, 'ROLE_INVALID', '/role'],
    ['PUT', '/v1/roles/own:service:admin', { permissions: ['a/b:c'] }, 400, 'ROLE_INVALID', '/role'],
    ['PUT', '/v1/roles/new', { permissions: ['a'] }, 400, 'PERMISSION_INVALID', '/permissions/0'],
    ['PUT', '/v1/roles/new', { permissions: [] }, 400, 'ROLE_INVALID', '/permissions'],
    ['PUT', '/v1/roles/new', { permissions: ['a/b:c'], inherits: ['gone'] }, 404, 'ROLE_UNKNOWN', '/inherits/0'],
    ['PUT', '/v1/roles/new', { permissions: ['a/b:c'], inherits: ['new'] }, 422, 'ROLE_CYCLE', '/inherits/0'],
    ['PUT', '/v1/roles/base', { permissions: ['a/b:c'], inherits: ['top'] }, 422, 'ROLE_CYCLE', '/inherits/0'],
    ['PUT', '/v1/roles/new', { permissions: ['a/b:c'], more: 1 }, 400, 'REQUEST_INVALID', '/more'],
    ['PUT', '/v1/roles/new', { permissions: 'a/b:c' }, 400, 'REQUEST_INVALID', '/permissions'],
    ['DELETE', '/v1/roles/base', undefined, 409, 'ROLE_IN_USE', '/role'],
    ['POST', '/v1/principals/service:gone/roles', { role: 'base' }, 404, 'PRINCIPAL_UNKNOWN', '/principal'],
    ['POST', '/v1/principals/service:admin/roles', { role: 'gone' }, 404, 'ROLE_UNKNOWN', '/role'],
    ['POST', '/v1/principals/service:off/roles', { role: 'base' }, 409, 'PRINCIPAL_DISABLED', '/principal'],
    ['POST', '/v1/principals', { principal: 'nobody' }, 400, 'PRINCIPAL_INVALID', '/principal'],
    ['POST', '/v1/principals', { principal: 'service:host' }, 422, 'PRINCIPAL_RESERVED', '/principal'],
    ['POST', '/v1/principals', { principal: 'person:01GONE' }, 422, 'SUBJECT_UNKNOWN', '/principal'],
    ['POST', '/v1/principals', { principal: 'service:x', owner: 'service:y' }, 404, 'PRINCIPAL_UNKNOWN', '/owner'],
    [
      'POST',
      '/v1/principals',
      { principal: 'service:off', owner: 'service:off' },
      422,
      'PRINCIPAL_OWNER_INVALID',
      '/owner',
    ],
    [
      'PUT',
      '/v1/principals/service:off/link',
      { sameAs: 'service:admin' },
      422,
      'PRINCIPAL_NOT_A_PERSON',
      '/principal',
    ],
    ['DELETE', '/v1/principals/service:gone/link', undefined, 404, 'PRINCIPAL_UNKNOWN', '/principal'],
    ['POST', '/v1/principals/service:gone/disable', undefined, 404, 'PRINCIPAL_UNKNOWN', '/principal'],
    ['DELETE', '/v1/principals/service:admin/roles/gone', undefined, 404, 'ROLE_UNKNOWN', '/role'],
    ['GET', '/v1/principals/service:gone', undefined, 404, 'PRINCIPAL_UNKNOWN', '/principal'],
    ['GET', '/v1/roles?limit=0', undefined, 400, 'REQUEST_INVALID', '/limit'],
  ])('%s %s %j: %i %s', async (method, path, body, status, code, pointer) => {
    await call('PUT', '/v1/roles/base', { permissions: ['a/b:c'] })
    await call('PUT', '/v1/roles/top', { permissions: ['a/b:d'], inherits: ['base'] })
    await call('POST', '/v1/principals', { principal: 'service:off' })
    await call('POST', '/v1/principals/service:off/disable')
    const size = await api.size(tenant)
    const answer = await call(method, path, body)
    expect(answer.json).toMatchObject({ status, code, pointer })
    expect(answer.headers.get('content-type')).toContain('application/problem+json')
    expect(await api.size(tenant)).toBe(size)
  })

  test('nobody grants what they do not have', async () => {
    await call('PUT', '/v1/roles/wide', { permissions: ['ledger/*:read'] })
    const clerk = await tokenFor('service:clerk', ['access/*:write', 'ledger/events:write'])
    const size = await api.size(tenant)
    for (const [method, path, body, pointer] of [
      ['PUT', '/v1/roles/new', { permissions: ['ledger/events:write', '*/*:*'] }, '/permissions/1'],
      ['PUT', '/v1/roles/new', { permissions: ['ledger/events:write'], inherits: ['wide'] }, '/inherits'],
      ['POST', '/v1/principals/service:clerk/roles', { role: 'wide' }, '/role'],
    ] as const) {
      const answer = await call(method, path, body, clerk)
      expect(answer.json).toMatchObject({ status: 403, code: 'PERMISSION_ESCALATION', pointer })
    }
    expect(await api.size(tenant)).toBe(size)
    expect((await call('PUT', '/v1/roles/new', { permissions: ['ledger/events:write'] }, clerk)).status).toBe(200)
  })

  test('each route asks for its permission', async () => {
    const reader = await tokenFor('service:reader', ['ledger/*:read'])
    for (const [method, path, needed] of [
      ['GET', '/v1/roles', 'access/roles:read'],
      ['PUT', '/v1/roles/x', 'access/roles:write'],
      ['DELETE', '/v1/roles/x', 'access/roles:write'],
      ['GET', '/v1/principals', 'access/principals:read'],
      ['GET', '/v1/principals/x', 'access/principals:read'],
      ['POST', '/v1/principals', 'access/principals:write'],
      ['PUT', '/v1/principals/x/link', 'access/principals:write'],
      ['DELETE', '/v1/principals/x/link', 'access/principals:write'],
      ['POST', '/v1/principals/x/disable', 'access/principals:write'],
      ['POST', '/v1/principals/x/roles', 'access/roles:write'],
      ['DELETE', '/v1/principals/x/roles/y', 'access/roles:write'],
    ] as const) {
      const answer = await call(method, path, undefined, reader)
      expect(answer.json).toMatchObject({ status: 403, code: 'PERMISSION_MISSING' })
      expect(answer.json['detail']).toContain(needed)
    }
  })
})

describe('once approvals are enforced', () => {
  test('what gives rights takes a change', async () => {
    const ada = await person()
    await call('PUT', '/v1/roles/clerk', { permissions: ['a/b:c'] })
    await enforce()
    const size = await api.size(tenant)
    for (const [method, path, body] of [
      ['PUT', '/v1/roles/new', { permissions: ['a/b:c'] }],
      ['DELETE', '/v1/roles/clerk', undefined],
      ['POST', '/v1/principals', { principal: ada }],
      ['POST', '/v1/principals/service:admin/roles', { role: 'clerk' }],
      ['PUT', '/v1/principals/service:admin/link', { sameAs: ada }],
      ['DELETE', '/v1/principals/service:admin/link', undefined],
      ['POST', '/v1/tokens', { principal: 'service:admin', permissions: ['access/*:write'] }],
    ] as const) {
      expect((await call(method, path, body)).json).toMatchObject({ status: 409, code: 'CHANGE_REQUIRED' })
    }
    const beyond = await call('POST', '/v1/tokens', { principal: 'service:new', permissions: ['a/b:c'] })
    expect(beyond.json).toMatchObject({ status: 422, code: 'TOKEN_BEYOND_ROLES', pointer: '/permissions/0' })
    expect(await api.size(tenant)).toBe(size)
    expect((await call('POST', '/v1/tokens', { principal: 'service:admin', permissions: ['a/b:c'] })).status).toBe(201)
  })

  test('rights are taken away by one alone, as long as enough people are left to approve', async () => {
    await call('PUT', '/v1/roles/approver', { permissions: ['changes/*:approve'] })
    const people: string[] = []
    for (let n = 0; n < 5; n++) {
      const who = await person()
      await call('POST', '/v1/principals', { principal: who })
      await call('POST', `/v1/principals/${who}/roles`, { role: 'approver' })
      await tokenFor(who, ['changes/*:approve'])
      people.push(who)
    }
    await enforce()
    const [one = '', two = '', three = ''] = people
    expect((await call('DELETE', `/v1/principals/${one}/roles/approver`)).status).toBe(204)
    expect((await call('POST', `/v1/principals/${two}/disable`)).status).toBe(204)
    // Three are left: whichever of them asks, two others can approve. Two would be too few.
    const size = await api.size(tenant)
    for (const [method, path] of [
      ['DELETE', `/v1/principals/${three}/roles/approver`],
      ['POST', `/v1/principals/${three}/disable`],
    ] as const) {
      expect((await call(method, path)).json).toMatchObject({ status: 422, code: 'POLICY_UNSATISFIABLE' })
    }
    expect(await api.size(tenant)).toBe(size)
    expect((await call('DELETE', `/v1/principals/${one}/roles/approver`)).status).toBe(204)
  })
})
