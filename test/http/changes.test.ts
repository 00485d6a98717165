import { afterAll, beforeAll, expect, test } from 'vitest'
import { applyChange } from '../../src/approvals/commands/apply.js'
import { applyDirectly } from '../../src/approvals/commands/direct.js'
import type { ApprovalDeps } from '../../src/approvals/governed.js'
import { CountedRecords } from '../../src/ledger/counted-records.js'
import { Appender } from '../../src/ledger/appender.js'
import { Subjects } from '../../src/keyring/subjects.js'
import { host } from '../../src/principal.js'
import { changeKinds } from '../../src/registry.js'
import { testService, type Answer, type TestService } from '../support/service.js'

// No Temporal runs here: everything but applying is there without it.

let api: TestService
let deps: ApprovalDeps & { readonly appender: Appender }
let admin: string
/** Tokens by name; `clerk` may read and ask, and nothing else. */
const tokens: Record<string, string> = {}
const ids: Record<string, string> = {}

beforeAll(async () => {
  api = await testService()
  admin = await api.token()
  const { db: database, installation } = api.server
  const appender = new Appender(database)
  const subjects = new Subjects(database, installation)
  deps = { database, installation, appender, subjects, kinds: changeKinds, refusals: new CountedRecords(appender) }
  const directly = (kind: string, payload: object) => applyDirectly(deps, host('acme'), kind, payload as never)
  await directly('role.define', { role: 'approver', permissions: ['changes/*:*'] })
  for (const name of ['ada', 'ben', 'cy']) {
    const { subject } = await subjects.create('acme')
    ids[name] = subject
    await directly('principal.register', { principal: subject })
    await directly('role.grant', { principal: subject, role: 'approver' })
    tokens[name] = await api.token(['changes/*:*'], { principal: subject })
  }
  tokens['clerk'] = await api.token(['changes/changes:read', 'changes/changes:request'], { principal: 'service:clerk' })
})
afterAll(async () => {
  await deps.appender.close()
  await api.close()
})

const as = (name: string) => ({ token: tokens[name] })
const post = (name: string, path: string, body?: object): Promise<Answer> =>
  api.call('POST', path, { ...as(name), ...(body && { body }) })
const audit = { role: 'auditor', permissions: ['ledger/*:read'] }

test('a change is asked for, read, decided and applied', async () => {
  const asked = await post('ada', '/v1/changes', { kind: 'role.define', payload: audit, reason: 'for May' })
  expect([asked.status, asked.json]).toEqual([201, asked.json])
  expect(asked.json).toMatchObject({
    status: 'requested',
    requester: ids['ada'],
    couldApprove: [ids['ben'] ?? '', ids['cy'] ?? ''].sort(),
    sealed: [{ group: 'reason', subject: ids['ada'] }],
    groups: [{ name: 'approvers', have: 0, count: 2 }],
    diff: { before: null },
  })
  expect(asked.text).not.toContain('for May')
  const { id, payloadHash } = asked.json as { id: string; payloadHash: string }
  expect(asked.headers.get('location')).toBe(`/v1/changes/${id}`)

  const waiting = await api.call('GET', '/v1/changes?waitingFor=me', as('ben'))
  expect((waiting.json['changes'] as { id: string }[]).map((change) => change.id)).toEqual([id])
  for (const [name, status] of [
    ['ben', 'requested'],
    ['cy', 'approved'],
  ] as const) {
    const vote = await post(name, `/v1/changes/${id}/votes`, { decision: 'approve', payloadHash, reason: 'fine' })
    expect([vote.status, vote.json['status']]).toEqual([201, status])
    expect(JSON.parse(String(vote.json['statement']))).toMatchObject({
      payloadHash,
      voter: ids[name],
      decision: 'approve',
    })
  }
  expect(await applyChange(deps, { tenant: 'acme', change: id })).toBe('applied')
  const read = await api.call('GET', `/v1/changes/${id}`, as('clerk'))
  expect(read.json).toMatchObject({ status: 'applied', waitsFor: 'nothing', approvals: 2 })
  expect((read.json['history'] as { type: string }[]).map(({ type }) => type)).toEqual([
    'change.requested',
    'change.voted',
    'change.voted',
    'change.approved',
    'change.applied',
  ])
  const late = await post('ada', `/v1/changes/${id}/withdraw`)
  expect(late.json).toMatchObject({ status: 409, code: 'CHANGE_CLOSED' })
})

test('who may not is told why, and it is on record', async () => {
  const asked = await post('ada', '/v1/changes', { kind: 'role.remove', payload: { role: 'auditor' } })
  const { id, payloadHash } = asked.json as { id: string; payloadHash: string }
  const path = `/v1/changes/${id}/votes`
  const vote = (name: string, body: object = {}) => post(name, path, { decision: 'approve', payloadHash, ...body })
  expect((await vote('ada')).json).toMatchObject({ status: 403, code: 'VOTE_BY_REQUESTER' })
  expect((await vote('clerk')).json).toMatchObject({ status: 403, code: 'VOTE_NOT_A_PERSON' })
  expect((await vote('ben', { payloadHash: '0'.repeat(64) })).json).toMatchObject({
    status: 409,
    code: 'VOTE_HASH_DIFFERS',
    pointer: '/payloadHash',
  })
  expect((await vote('ben', { payloadHash: 'x' })).json).toMatchObject({ status: 400, code: 'REQUEST_INVALID' })
  expect((await vote('ben', { decision: 'perhaps' })).json).toMatchObject({ status: 400, code: 'REQUEST_INVALID' })
  const reader = await api.token(['ledger/*:read'], { principal: 'service:reader' })
  expect((await api.call('POST', path, { token: reader, body: { decision: 'approve', payloadHash } })).status).toBe(403)
  const other = await api.token(['*/*:*'], { tenant: 'other' })
  expect((await api.call('GET', `/v1/changes/${id}`, { token: other })).json).toMatchObject({ code: 'CHANGE_UNKNOWN' })
  expect((await post('ben', `/v1/changes/${id}/withdraw`)).json).toMatchObject({
    status: 403,
    code: 'CHANGE_NOT_YOURS',
  })
  expect((await post('ben', `/v1/changes/${id}/emergency`, { payloadHash, reason: 'x' })).json).toMatchObject({
    status: 403,
    code: 'EMERGENCY_KIND_NEVER',
  })
  await expect
    .poll(async () => {
      const entries = await api.call('GET', '/v1/entries?type=vote.refused', { token: admin })
      return (entries.json['entries'] as { event: { reason: string } }[]).map(({ event }) => event.reason).sort()
    })
    .toEqual(['EMERGENCY_KIND_NEVER', 'VOTE_BY_REQUESTER', 'VOTE_HASH_DIFFERS', 'VOTE_NOT_A_PERSON'])
  expect((await post('ada', `/v1/changes/${id}/withdraw`)).status).toBe(204)
})

test.each([
  [{ kind: 'role.nothing', payload: {} }, 404, 'CHANGE_KIND_UNKNOWN', '/kind'],
  [{ kind: 'role.define', payload: { role: 'x' } }, 400, 'CHANGE_PAYLOAD_INVALID', '/payload/permissions'],
  [{ kind: 'role.define' }, 400, 'REQUEST_INVALID', '/payload'],
  [{ kind: 'role.define', payload: audit, hurry: true }, 400, 'REQUEST_INVALID', '/hurry'],
  [{ kind: 'role.define', payload: audit, expiresAt: 'soon' }, 400, 'CHANGE_EXPIRY_INVALID', '/expiresAt'],
])('%j is refused with %i %s', async (body, status, code, pointer) => {
  const size = await api.size('acme')
  expect((await post('ada', '/v1/changes', body)).json).toMatchObject({ status, code, pointer })
  expect(await api.size('acme')).toBe(size)
})

test('policies and the emergency list are set during setup, then approvals are enforced', async () => {
  const put = (path: string, body: object) => api.call('PUT', path, { token: admin, body })
  expect((await put('/v1/policies/role.grant', { reasonRequired: true })).status).toBe(200)
  expect((await put('/v1/policies/role.grant', { denyQuorum: 0 })).json).toMatchObject({ code: 'POLICY_INVALID' })
  const policies = (await api.call('GET', '/v1/policies', { token: admin })).json['policies'] as { kind: string }[]
  expect(policies.find(({ kind }) => kind === 'role.grant')).toMatchObject({
    own: true,
    policy: { reasonRequired: true },
  })
  expect((await api.call('DELETE', '/v1/policies/role.grant', { token: admin })).status).toBe(204)
  expect((await api.call('DELETE', '/v1/policies/role.grant', { token: admin })).json).toMatchObject({
    status: 404,
    code: 'POLICY_UNKNOWN',
  })
  expect((await put('/v1/approvals/emergency', { people: [ids['ada']], kinds: ['external.*'] })).status).toBe(200)
  expect((await put('/v1/approvals/emergency', { people: [ids['ada']], kinds: ['role.grant'] })).json).toMatchObject({
    status: 422,
    code: 'EMERGENCY_LIST_INVALID',
    pointer: '/kinds/0',
  })
  const before = await api.call('GET', '/v1/approvals', { token: admin })
  expect(before.json).toMatchObject({
    enforced: false,
    unsatisfied: [],
    reviewsDue: [],
    emergency: { kinds: ['external.*'] },
  })
  const enforced = await api.call('POST', '/v1/approvals/enforce', { token: admin })
  expect(enforced.status).toBe(200)
  expect((await api.call('GET', '/v1/approvals', { token: admin })).json).toMatchObject({
    enforced: true,
    enforcedSeq: enforced.json['seq'],
  })
  expect((await put('/v1/policies/role.grant', {})).json).toMatchObject({ status: 409, code: 'CHANGE_REQUIRED' })
})
