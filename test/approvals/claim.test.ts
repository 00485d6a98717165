import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { claimToken, type Claim } from '../../src/approvals/commands/claim.js'
import { enforceApprovals } from '../../src/approvals/commands/enforce.js'
import { applyChange } from '../../src/approvals/commands/apply.js'
import type { RequestedChange } from '../../src/approvals/commands/request.js'
import { createToken, mintToken, revokeToken } from '../../src/auth/commands.js'
import { Authenticator } from '../../src/auth/queries.js'
import { ensureTenant } from '../../src/keyring/tenants.js'
import { readLeaf } from '../../src/ledger/entry.js'
import type { Principal } from '../../src/principal.js'
import { Tenant, type Person } from '../support/changes.js'
import { findingsIn } from '../support/verify-changes.js'
import { outsideBench, type OutsideBench } from '../support/outside.js'

let bench: OutsideBench
let acme: Tenant
let ada: Person
let ben: Person
let cy: Person
let dan: Person

beforeAll(async () => {
  bench = await outsideBench()
  await ensureTenant(bench.server.db, bench.server.installation, 'system')
})
afterAll(() => bench.close())
beforeEach(async () => {
  bench.aheadMs = 0
  acme = await Tenant.create(bench)
  ;[ada, ben, cy, dan] = (await acme.people(4)) as [Person, Person, Person, Person]
})

const refusal = (code: string) => expect.objectContaining({ code }) as Error
const permissions = ['changes/*:approve']
const asked = (principal: string, more: object = {}): Promise<RequestedChange> =>
  acme.request(ada, { kind: 'token.create', payload: { principal, permissions, ...more } })
async function approved(principal: string, more: object = {}): Promise<RequestedChange> {
  const change = await asked(principal, more)
  for (const voter of [ben, cy]) await acme.vote(voter, change)
  return change
}
const claim = (by: Principal, { id }: { id: string }, more: Partial<Claim> = {}) =>
  claimToken(bench.deps, mintToken, by, { id, ...more })
const lastOf = async (tenant: string) => {
  const rows = await bench.server.db.operator
    .selectFrom('entries')
    .select('leaf')
    .where('tenant', '=', tenant)
    .orderBy('seq', 'desc')
    .limit(1)
    .execute()
  return rows.map(({ leaf }) => readLeaf(leaf).event)[0]
}

test('approving makes no token: the principal claims it once, and it works', async () => {
  await enforceApprovals(bench.deps, acme.host)
  await expect(createToken(bench.server.db, ben, { principal: dan.id, permissions })).rejects.toEqual(
    refusal('CHANGE_REQUIRED'),
  )
  const before = (await acme.events()).filter(({ event }) => event.type === 'token.created').length
  const change = await approved(dan.id)
  expect(await applyChange(bench.deps, { tenant: acme.tenant, change: change.id })).toBe('waits')
  expect((await acme.events()).filter(({ event }) => event.type === 'token.created')).toHaveLength(before)

  const made = await claim(dan, change, { description: 'the second laptop' })
  expect(made).toMatchObject({ principal: dan.id, permissions, description: 'the second laptop' })
  expect(await new Authenticator(bench.server.db).lookUp(made.token)).toMatchObject({ id: dan.id, permissions })
  const entries = await acme.events()
  const created = entries.find(({ entry }) => entry.stream === `token/${made.id}`)
  expect(created?.entry.by).toBe(dan.id)
  const approval = entries.find(
    ({ entry, event }) => entry.stream === `change/${change.id}` && event.type === 'change.approved',
  )
  expect(created?.event).toMatchObject({
    type: 'token.created',
    cause: approval?.entry.seq,
    data: { principal: dan.id, permissions, authority: { change: change.id } },
  })
  expect(entries.at(-1)?.event).toMatchObject({
    type: 'change.applied',
    data: { payloadHash: change.payloadHash, effects: [{ stream: `token/${made.id}`, seq: created?.entry.seq }] },
  })
  expect(JSON.stringify(entries)).not.toContain(made.token.split('.')[1])
  expect(JSON.stringify(entries)).not.toContain('laptop')
  await expect(claim(dan, change)).rejects.toEqual(refusal('CLAIM_TAKEN'))
  expect(await findingsIn(bench.deps, acme.tenant)).toEqual([])
})

test('of many claims at once one makes a token', async () => {
  const change = await approved(dan.id)
  const tries = await Promise.allSettled(Array.from({ length: 6 }, () => claim(dan, change)))
  expect(tries.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  for (const each of tries) if (each.status === 'rejected') expect(each.reason).toEqual(refusal('CLAIM_TAKEN'))
})

test('nobody else claims it: not who asked, not who approved', async () => {
  const change = await approved(dan.id)
  for (const other of [ada, ben, cy]) await expect(claim(other, change)).rejects.toEqual(refusal('CLAIM_NOT_YOURS'))
})

test('whoever answers for a service claims for it, the service itself too, and nobody else', async () => {
  await acme.service('billing', dan.id)
  const [one, two] = [await approved('service:billing'), await approved('service:billing')]
  await expect(claim(ben, one)).rejects.toEqual(refusal('CLAIM_NOT_YOURS'))
  expect((await claim(dan, one)).principal).toBe('service:billing')
  const billing = await acme.token('service:billing')
  expect((await claim(billing, two)).principal).toBe('service:billing')
})

test('nobody gains a vote by claiming for others: who may claim may not approve it either', async () => {
  await acme.service('billing', dan.id)
  const change = await asked('service:billing')
  await expect(acme.vote(dan, change)).rejects.toEqual(refusal('VOTE_BY_BENEFICIARY'))
})

test('the host claims for who has no credential yet, with a reason, on record in both logs', async () => {
  const { subject } = await bench.deps.subjects.create(acme.tenant)
  await acme.directly('principal.register', { principal: subject })
  await acme.directly('role.grant', { principal: subject, role: 'approver' })
  const change = await approved(subject)
  await expect(claim(acme.host, change)).rejects.toEqual(refusal('CHANGE_REASON_MISSING'))
  const reason = 'she starts today'
  const made = await claim(acme.host, change, { override: { reason } })
  expect(made.principal).toBe(subject)
  const overrode = (await acme.events()).find(({ event }) => event.type === 'host.overrode')
  expect(overrode?.event).toMatchObject({ data: { kind: 'token.create', change: change.id } })
  expect(overrode?.event.sealed).toHaveLength(1)
  expect(await lastOf('system')).toMatchObject({
    type: 'host.overrode',
    data: { kind: 'token.create', tenant: acme.tenant },
  })
  expect(JSON.stringify(await acme.events())).not.toContain(reason)
})

test('the host does not claim for who can claim alone', async () => {
  const change = await approved(dan.id)
  await expect(claim(acme.host, change, { override: { reason: 'because' } })).rejects.toEqual(
    refusal('CLAIM_HAS_CREDENTIAL'),
  )
  await revokeToken(bench.server.db, acme.host, dan.via.slice('token:'.length))
  expect((await claim(acme.host, change, { override: { reason: 'lost' } })).principal).toBe(dan.id)
})

test('what is asked for has to be possible: a registered principal, within its roles, in the future when claimed', async () => {
  await expect(asked('service:nobody')).rejects.toEqual(refusal('PRINCIPAL_UNKNOWN'))
  await expect(asked(dan.id, { permissions: ['ledger/events:write'] })).rejects.toEqual(refusal('TOKEN_BEYOND_ROLES'))
  await expect(asked(dan.id, { permissions: ['no'] })).rejects.toEqual(refusal('PERMISSION_INVALID'))
  await expect(asked(dan.id, { expiresAt: 'tomorrow' })).rejects.toEqual(refusal('TOKEN_EXPIRY_INVALID'))
  const soon = new Date(Date.now() + 3_600_000).toISOString()
  const change = await approved(dan.id, { expiresAt: soon })
  bench.aheadMs = 2 * 3_600_000
  await expect(claim(dan, change)).rejects.toEqual(refusal('TOKEN_EXPIRY_INVALID'))
  expect((await acme.types(`change/${change.id}`)).at(-1)).toBe('change.approved')
})

test('a right that was taken away meanwhile takes the approval with it', async () => {
  const change = await approved(dan.id)
  await acme.directly('role.define', { role: 'extra', permissions: ['ledger/events:write'] })
  await acme.directly('role.grant', { principal: dan.id, role: 'extra' })
  await expect(claim(dan, change)).rejects.toEqual(refusal('CHANGE_CLOSED'))
  expect((await acme.events(`change/${change.id}`)).at(-1)?.event).toMatchObject({
    type: 'change.failed',
    data: { code: 'CHANGE_BASE_MOVED' },
  })
})

test('nothing else is claimed', async () => {
  const note = await acme.request(ada)
  for (const voter of [ben, cy]) await acme.vote(voter, note)
  await expect(claim(dan, note)).rejects.toEqual(refusal('CHANGE_NOT_CLAIMABLE'))
  await expect(claim(dan, await asked(dan.id))).rejects.toEqual(refusal('CHANGE_NOT_READY'))
})
