import { afterAll, beforeAll, expect, test } from 'vitest'
import { applyChange } from '../../src/approvals/commands/apply.js'
import { readGoverned } from '../../src/approvals/governed.js'
import { changesCheck } from '../../src/approvals/queries/verify-changes.js'
import { holdsRole, personOf, rolePermissions, type Access } from '../../src/auth/access.js'
import { changesBench, Tenant, type ChangesBench, type Person } from '../support/changes.js'

// What two people approve of roles and principals takes effect once, cites its change, and stands up to an audit.

let bench: ChangesBench
let acme: Tenant
let ada: Person
let ben: Person
let cy: Person

beforeAll(async () => {
  bench = await changesBench()
  acme = await Tenant.create(bench)
  ;[ada, ben, cy] = (await acme.people(4)) as [Person, Person, Person]
  await acme.append('approvals/enforcement', { type: 'approvals.enforced' })
})
afterAll(() => bench.close())

const access = (): Promise<Access> =>
  readGoverned(bench.deps, acme.tenant, async (_, { governance }) => governance.access)

/** What verifying the log again would find. */
async function findings(): Promise<string[]> {
  const found: string[] = []
  const report = (code: string, _tenant: string, seq: number | undefined, message: string) => {
    found.push(`${code} at ${seq}: ${message}`)
  }
  await changesCheck(bench.deps.kinds)(bench.server.db, { tenant: acme.tenant, report })
  return found
}

async function approved(kind: string, payload: object): Promise<string> {
  const change = await acme.request(ada, { kind, payload: payload as never })
  for (const voter of [ben, cy]) await acme.vote(voter, change)
  await applyChange(bench.deps, { tenant: acme.tenant, change: change.id })
  return change.id
}

test('each kind takes effect as approved', async () => {
  const { subject: dan } = await bench.deps.subjects.create(acme.tenant)
  const { subject: eve } = await bench.deps.subjects.create(acme.tenant)
  const clerk = { role: 'clerk', permissions: ['ledger/events:write'] }
  const change = await approved('role.define', clerk)
  expect((await acme.events('role/clerk')).at(-1)).toMatchObject({
    entry: { by: 'service:countersign' },
    event: { type: 'role.defined', data: { ...clerk, authority: { change } } },
  })
  for (const principal of [dan, eve, 'service:job']) await approved('principal.register', { principal })
  await approved('principal.register', { principal: 'service:job', owner: dan })
  await approved('role.grant', { principal: dan, role: 'clerk' })
  await approved('principal.link', { principal: eve, sameAs: dan })
  const made = await access()
  expect(holdsRole(made, dan, 'clerk')).toBe(true)
  expect(personOf(made, eve)).toBe(dan)
  expect(made.principals['service:job']?.owner).toBe(dan)

  await approved('principal.unlink', { principal: eve })
  await acme.revokeRole(dan, 'clerk')
  await approved('role.remove', { role: 'clerk' })
  // A role that was there before rests on the stream that is left of it.
  await approved('role.define', { role: 'clerk', permissions: ['ledger/entries:read'] })
  await approved('role.grant', { principal: dan, role: 'clerk' })
  const after = await access()
  expect(personOf(after, eve)).toBe(eve)
  expect(rolePermissions(after, dan)).toEqual(['ledger/entries:read'])
  expect(await findings()).toEqual([])
})

test('what changed since it was asked for is not applied', async () => {
  await approved('role.define', { role: 'moving', permissions: ['a/b:c'] })
  const change = await acme.request(ada, { kind: 'role.define', payload: { role: 'moving', permissions: ['a/b:d'] } })
  await approved('role.define', { role: 'moving', permissions: ['a/b:e'] })
  for (const voter of [ben, cy]) await acme.vote(voter, change)
  await applyChange(bench.deps, { tenant: acme.tenant, change: change.id })
  expect((await acme.events(`change/${change.id}`)).at(-1)?.event).toMatchObject({
    type: 'change.failed',
    data: { code: 'CHANGE_BASE_MOVED' },
  })
  expect((await access()).roles['moving']?.permissions).toEqual(['a/b:e'])
  expect(await findings()).toEqual([])
})
