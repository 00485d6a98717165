import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { applyChange } from '../../src/approvals/commands/apply.js'
import { enforceApprovals } from '../../src/approvals/commands/enforce.js'
import { getChange } from '../../src/approvals/queries/changes.js'
import { changesBench, Tenant, type ChangesBench, type Person } from '../support/changes.js'
import { findingsIn } from '../support/verify-changes.js'

// Ways round the rule of two people that need more than one step: what somebody gains only by then, who is behind a token,
// one person under two names.

let bench: ChangesBench
let acme: Tenant
let ada: Person
let ben: Person
let cy: Person
let dee: Person

beforeAll(async () => {
  bench = await changesBench()
})
beforeEach(async () => {
  bench.aheadMs = 0
  acme = await Tenant.create(bench)
  ;[ada, ben, cy, dee] = (await acme.people(4)) as [Person, Person, Person, Person]
})
afterAll(() => bench.close())

const apply = (change: { id: string }) => applyChange(bench.deps, { tenant: acme.tenant, change: change.id })
const view = (change: { id: string }) => getChange(bench.deps, acme.tenant, change.id)
const refuses = (vote: Promise<unknown>, code: string) => expect(vote).rejects.toMatchObject({ code })

describe('who gains', () => {
  const wider = { kind: 'role.define', payload: { role: 'clerk', permissions: ['ledger/*:read', 'reports/*:read'] } }

  test('is asked when a vote is cast, not only at the request', async () => {
    await acme.directly('role.define', { role: 'clerk', permissions: ['ledger/*:read'] })
    const change = await acme.request(ada, wider)
    await acme.directly('role.grant', { principal: ben.id, role: 'clerk' })
    await refuses(acme.vote(ben, change), 'VOTE_BY_BENEFICIARY')
    expect((await view(change)).couldApprove).not.toContain(ben.id)
  })

  test('is asked again when it is applied', async () => {
    await acme.directly('role.define', { role: 'clerk', permissions: ['ledger/*:read'] })
    const change = await acme.request(ada, wider)
    await acme.vote(ben, change)
    await acme.vote(cy, change)
    await acme.directly('role.grant', { principal: ben.id, role: 'clerk' })
    expect(await apply(change)).toBe('reopened')
    await acme.vote(dee, change)
    expect(await apply(change)).toBe('applied')
    expect(await findingsIn(bench.deps, acme.tenant)).toEqual([])
  })

  test('includes whoever comes to hold a role that a policy asks for, whether or not it allows more', async () => {
    await acme.directly('role.define', { role: 'board', permissions: ['changes/*:approve'] })
    await acme.directly('role.define', { role: 'clerk', permissions: ['ledger/*:read'] })
    await acme.directly('role.grant', { principal: ben.id, role: 'clerk' })
    const change = await acme.request(ada, {
      kind: 'role.define',
      payload: { role: 'clerk', permissions: ['ledger/*:read'], inherits: ['board'] },
    })
    await refuses(acme.vote(ben, change), 'VOTE_BY_BENEFICIARY')
  })

  test('includes everybody on the emergency list when it comes to cover more kinds', async () => {
    await acme.directly('emergency.list', { people: [ben.id], kinds: ['external.billing'] })
    const change = await acme.request(ada, {
      kind: 'emergency.list',
      payload: { people: [ben.id], kinds: ['external.billing', 'setting.note'] },
    })
    await refuses(acme.vote(ben, change), 'VOTE_BY_BENEFICIARY')
  })
})

describe('who is behind a token', () => {
  test('the owner of a service that made it', async () => {
    const robot = await acme.service('robot', ada.id)
    const theirs = await acme.token(ben.id, ben.permissions, robot)
    await refuses(acme.vote(theirs, await acme.request(ada)), 'VOTE_CREDENTIAL_RELATED')
    const change = await acme.request(cy)
    await acme.vote(ada, change)
    await refuses(acme.vote(theirs, change), 'VOTE_CREDENTIAL_RELATED')
    const asked = await acme.request(theirs)
    await refuses(acme.vote(ada, asked), 'VOTE_CREDENTIAL_RELATED')
  })

  test('the owner of a service on whose behalf it is', async () => {
    const robot = await acme.service('robot', ben.id)
    await refuses(acme.vote(ben, await acme.request(ada, { onBehalfOf: robot.id })), 'VOTE_BY_OWNER')
  })

  test('nobody makes a token for who may break glass without a change', async () => {
    await acme.directly('role.define', { role: 'oncall', permissions: ['changes/changes:read'] })
    await acme.directly('role.define', { role: 'clerk', permissions: ['access/tokens:write'] })
    const eve = await acme.person({ roles: ['oncall'], permissions: ['changes/changes:read'] })
    await acme.directly('role.grant', { principal: ada.id, role: 'clerk' })
    await acme.directly('role.grant', { principal: ada.id, role: 'oncall' })
    await acme.directly('emergency.list', { people: [eve.id], kinds: ['setting.note'] })
    await enforceApprovals(bench.deps, acme.host)
    await refuses(acme.token(eve.id, ['changes/changes:read'], ada), 'CHANGE_REQUIRED')
  })
})

describe('one person under two names', () => {
  beforeEach(async () => {
    await acme.directly('policy.set', { kind: 'setting.note', policy: { denyQuorum: 2 } })
    await acme.directly('principal.link', { principal: cy.id, sameAs: ben.id })
  })

  test('rejects once', async () => {
    const change = await acme.request(ada)
    await acme.vote(ben, change, 'reject')
    await refuses(acme.vote(cy, change, 'reject'), 'VOTE_SAME_PERSON')
    expect((await view(change)).status).toBe('requested')
  })

  test('does not approve what it has rejected', async () => {
    const change = await acme.request(ada)
    await acme.vote(ben, change, 'reject')
    await refuses(acme.vote(cy, change), 'VOTE_FINAL')
  })

  test('takes back its approval by rejecting', async () => {
    const change = await acme.request(ada)
    await acme.vote(ben, change)
    await acme.vote(dee, change)
    expect((await view(change)).status).toBe('approved')
    await acme.vote(cy, change, 'reject')
    expect((await view(change)).status).toBe('requested')
    expect(await apply(change)).toBe('not-due')
  })
})

test('a role that was removed can be defined again', async () => {
  const payload = { role: 'clerk', permissions: ['ledger/*:read'] }
  await acme.directly('role.define', payload)
  await acme.directly('role.remove', { role: 'clerk' })
  const change = await acme.request(ada, { kind: 'role.define', payload })
  await acme.vote(ben, change)
  await acme.vote(cy, change)
  expect(await apply(change)).toBe('applied')
  expect(await findingsIn(bench.deps, acme.tenant)).toEqual([])
})
