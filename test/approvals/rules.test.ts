import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { applyChange } from '../../src/approvals/commands/apply.js'
import { applyDirectly } from '../../src/approvals/commands/direct.js'
import { reviewEmergency, useEmergency } from '../../src/approvals/commands/emergency.js'
import { enforceApprovals } from '../../src/approvals/commands/enforce.js'
import type { RequestedChange } from '../../src/approvals/commands/request.js'
import { getChange, listChanges } from '../../src/approvals/queries/changes.js'
import { approvalsStatus } from '../../src/approvals/queries/rules.js'
import { changesCheck } from '../../src/approvals/queries/verify-changes.js'
import { readLeaf } from '../../src/ledger/entry.js'
import type { Json } from '../../src/ledger/event.js'
import { changesBench, Tenant, type ChangesBench, type Person } from '../support/changes.js'

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
afterAll(async () => {
  const findings: string[] = []
  const tenants = await bench.server.db.operator.selectFrom('tenants').select('id').execute()
  for (const { id: tenant } of tenants) {
    await changesCheck(bench.deps.kinds)(bench.server.db, {
      tenant,
      report: (...finding) => void findings.push(finding.join(' ')),
    })
  }
  await bench.close()
  expect(findings).toEqual([])
})

const HOUR_MS = 3_600_000
const apply = (change: { id: string }) => applyChange(bench.deps, { tenant: acme.tenant, change: change.id })

describe('breaking glass', () => {
  const listed = (people: readonly string[], kinds = ['setting.note', 'external.*']) =>
    acme.directly('emergency.list', { people: [...people], kinds })
  const use = (by: Person, { id, payloadHash }: RequestedChange, reason = 'it burns') =>
    useEmergency(bench.deps, by, { change: id, payloadHash, reason })
  const review = (by: Person, { id }: { id: string }) =>
    reviewEmergency(bench.deps, by, { change: id, verdict: 'justified' })

  test('is off without a list, and an empty one means nobody', async () => {
    const change = await acme.request(ada)
    await expect(use(ben, change)).rejects.toMatchObject({ code: 'EMERGENCY_OFF' })
    await listed([])
    await expect(use(ben, change)).rejects.toMatchObject({ code: 'EMERGENCY_NOT_LISTED' })
    // Both attempts are on record, outside the change.
    const attempts = async () =>
      (await acme.events()).filter(({ event }) => event.type === 'vote.refused').map(({ event }) => event.reason)
    await expect.poll(attempts).toEqual(['EMERGENCY_OFF', 'EMERGENCY_NOT_LISTED'])
  })

  test('lets one person through, names who was passed over, and waits for a review', async () => {
    await listed([ada.id])
    const change = await acme.request(ada)
    await expect(use(ben, change)).rejects.toMatchObject({ code: 'EMERGENCY_NOT_LISTED' })
    await use(ada, change)
    expect(await apply(change)).toBe('applied')
    const used = (await acme.events(`change/${change.id}`)).find(({ event }) => event.type === 'change.emergency-used')
    expect(used?.event.data).toMatchObject({ skipped: [ben.id, cy.id, dee.id].sort(), skippedCount: 3 })
    expect(JSON.stringify(used)).not.toContain('burns')
    expect((await approvalsStatus(bench.deps, acme.tenant)).reviewsDue).toEqual([change.id])
    expect((await getChange(bench.deps, acme.tenant, change.id)).emergency).toBe('review-due')
  })

  test('is blocked until somebody else has reviewed the last use', async () => {
    await listed([ada.id, ben.id])
    const change = await acme.request(cy)
    await use(ada, change)
    const next = await acme.request(cy)
    await expect(use(ben, next)).rejects.toMatchObject({ code: 'EMERGENCY_REVIEW_DUE' })
    // Neither who broke glass, nor who asked, nor who cannot vote; a token that one of them made counts as theirs.
    await expect(review(ada, change)).rejects.toMatchObject({ code: 'VOTE_SAME_PERSON' })
    await expect(review(cy, change)).rejects.toMatchObject({ code: 'VOTE_BY_REQUESTER' })
    await expect(review(await acme.service('robot'), change)).rejects.toMatchObject({ code: 'VOTE_NOT_A_PERSON' })
    const lent = await acme.token(dee.id, dee.permissions, ada)
    await expect(review(lent, change)).rejects.toMatchObject({ code: 'VOTE_CREDENTIAL_RELATED' })
    await review(dee, change)
    await expect(review(ben, change)).rejects.toMatchObject({ code: 'EMERGENCY_REVIEWED' })
    await expect(review(ben, next)).rejects.toMatchObject({ code: 'EMERGENCY_NOT_USED' })
    await use(ben, next)
    expect((await approvalsStatus(bench.deps, acme.tenant)).reviewsDue).toEqual([next.id])
  })

  test('never makes changes of policies, roles, tokens or its own list', async () => {
    await listed([ada.id])
    const policy = { groups: [{ name: 'one', count: 1 }] }
    const changes = [
      { kind: 'policy.set', payload: { kind: 'setting.note', policy } },
      { kind: 'role.define', payload: { role: 'king', permissions: ['*/*:*'] } },
      { kind: 'role.grant', payload: { principal: ben.id, role: 'approver' } },
      { kind: 'emergency.list', payload: { people: [ada.id], kinds: [] } },
    ]
    for (const input of changes) {
      const change = await acme.request(ada, input)
      await expect(use(ada, change)).rejects.toMatchObject({ code: 'EMERGENCY_KIND_NEVER' })
      await expect(listed([ada.id], [input.kind])).rejects.toMatchObject({ code: 'EMERGENCY_LIST_INVALID' })
    }
  })

  test('runs out, and ends with the place on the list', async () => {
    await listed([ada.id])
    const late = await acme.request(cy)
    await use(ada, late)
    bench.aheadMs = 2 * HOUR_MS
    expect(await apply(late)).toBe('reopened')
    await review(dee, late)
    const struck = await acme.request(cy)
    await use(ada, struck)
    await listed([])
    expect(await apply(struck)).toBe('reopened')
    expect(await acme.types('setting/note')).toEqual([])
  })

  test('wants the hash of what was read, a reason, and a token that holds', async () => {
    await listed([ada.id])
    const change = await acme.request(cy)
    await expect(use(ada, { ...change, payloadHash: '0'.repeat(64) })).rejects.toMatchObject({
      code: 'VOTE_HASH_DIFFERS',
    })
    await expect(use(ada, change, '  ')).rejects.toMatchObject({ code: 'CHANGE_REASON_MISSING' })
    await expect(use({ ...ada, via: ben.via }, change)).rejects.toMatchObject({ code: 'VOTE_CREDENTIAL_REVOKED' })
  })
})

describe('once approvals are enforced', () => {
  beforeEach(() => enforceApprovals(bench.deps, acme.host))

  test('nothing protected is done directly, by nobody', async () => {
    for (const by of [acme.host, { ...ada, permissions: ['*/*:*'] }]) {
      const size = (await acme.events()).length
      await expect(acme.directly('role.define', { role: 'x', permissions: [] }, by)).rejects.toMatchObject({
        code: 'CHANGE_REQUIRED',
      })
      expect(await acme.events()).toHaveLength(size)
    }
  })

  test('an approved change does it, and is cited', async () => {
    const change = await acme.request(ada, {
      kind: 'role.define',
      payload: { role: 'auditor', permissions: ['ledger/*:read'] },
    })
    await acme.vote(ben, change)
    await acme.vote(cy, change)
    expect(await apply(change)).toBe('applied')
    expect((await acme.events('role/auditor'))[0]?.event.data).toMatchObject({ authority: { change: change.id } })
  })

  test('the override is for the host alone, and stands in both logs', async () => {
    const override = { reason: 'locked out' }
    const directly = (by: Person | typeof acme.host) =>
      applyDirectly(bench.deps, by, 'role.define', { role: 'x', permissions: ['ledger/*:read'] }, { override })
    for (const by of [ada, { ...ada, id: 'service:host' }]) {
      await expect(directly(by)).rejects.toMatchObject({ code: 'CHANGE_REQUIRED' })
    }
    await directly(acme.host)
    const log = await acme.events()
    const overrode = log.find(({ event }) => event.type === 'host.overrode')
    expect(overrode?.event).toMatchObject({ data: { kind: 'role.define' }, sealed: [{ group: 'reason' }] })
    expect(log.at(-1)?.event).toMatchObject({
      type: 'role.defined',
      cause: overrode?.entry.seq,
      data: { authority: { override: true } },
    })
    expect(JSON.stringify(log)).not.toContain('locked out')
    const rows = await bench.server.db.operator
      .selectFrom('entries')
      .select('leaf')
      .where('tenant', '=', 'system')
      .execute()
    const told = rows.map(({ leaf }) => readLeaf(leaf).event).filter(({ type }) => type === 'host.overrode')
    expect(told).toContainEqual(expect.objectContaining({ data: { kind: 'role.define', tenant: acme.tenant } }))
  })

  test('what would leave a policy that nobody could meet is refused, asked for or applied', async () => {
    const greedy = { kind: 'setting.note', policy: { groups: [{ name: 'many', count: 4 }] } }
    const size = (await acme.events()).length
    await expect(acme.request(ada, { kind: 'policy.set', payload: greedy })).rejects.toMatchObject({
      code: 'POLICY_UNSATISFIABLE',
      message: expect.stringContaining('group many needs 4') as string,
    })
    expect(await acme.events()).toHaveLength(size)
    const fine = { kind: 'setting.note', policy: { groups: [{ name: 'three', count: 3 }] } }
    const change = await acme.request(ada, { kind: 'policy.set', payload: fine })
    for (const voter of [ben, cy, dee]) await acme.vote(voter, change)
    // Meanwhile somebody has gone.
    await acme.disable(dee.id)
    expect(await apply(change)).toBe('reopened')
  })
})

describe('bad input', () => {
  const HOUR = 3_600_000
  const at = (ms: number) => new Date(Date.now() + ms).toISOString()
  test.each<{ why: string; input: Record<string, unknown>; code: string; pointer?: string }>([
    { why: 'an unknown kind', input: { kind: 'no.such' }, code: 'CHANGE_KIND_UNKNOWN', pointer: '/kind' },
    { why: 'no kind at all', input: { kind: 'x' }, code: 'CHANGE_KIND_UNKNOWN', pointer: '/kind' },
    { why: 'no member', input: { payload: {} }, code: 'CHANGE_PAYLOAD_INVALID', pointer: '/payload/text' },
    { why: 'a wrong type', input: { payload: { text: 1 } }, code: 'CHANGE_PAYLOAD_INVALID', pointer: '/payload/text' },
    {
      why: 'an unknown member',
      input: { kind: 'role.remove', payload: { role: 'a', extra: 1 } },
      code: 'CHANGE_PAYLOAD_INVALID',
      pointer: '/payload/extra',
    },
    {
      why: '33 KiB',
      input: { payload: { text: 'x'.repeat(33_000) } },
      code: 'CHANGE_PAYLOAD_TOO_LARGE',
      pointer: '/payload',
    },
    {
      why: 'a password',
      input: { payload: { text: 'a', extra: { db: [{ password: 'hunter2' }] } } },
      code: 'CHANGE_PAYLOAD_SECRET',
      pointer: '/payload/extra/db/0/password',
    },
    {
      why: 'a token of ours',
      input: { payload: { text: `use cs_acme.${'a'.repeat(43)}` } },
      code: 'CHANGE_PAYLOAD_SECRET',
      pointer: '/payload/text',
    },
    {
      why: 'a private key',
      input: { payload: { text: '-----BEGIN PRIVATE KEY-----\nMC4CAQAw' } },
      code: 'CHANGE_PAYLOAD_SECRET',
      pointer: '/payload/text',
    },
    {
      why: 'an expiry in the past',
      input: { expiresAt: at(-HOUR) },
      code: 'CHANGE_EXPIRY_INVALID',
      pointer: '/expiresAt',
    },
    {
      why: 'more than 90 days',
      input: { expiresAt: at(91 * 24 * HOUR) },
      code: 'CHANGE_EXPIRY_INVALID',
      pointer: '/expiresAt',
    },
    {
      why: 'a time without offset',
      input: { expiresAt: '2027-01-01T00:00:00' },
      code: 'CHANGE_EXPIRY_INVALID',
      pointer: '/expiresAt',
    },
    { why: 'applyBy in the past', input: { applyBy: at(-HOUR) }, code: 'CHANGE_EXPIRY_INVALID', pointer: '/applyBy' },
    {
      why: 'applyBy in a year',
      input: { applyBy: at(400 * 24 * HOUR) },
      code: 'CHANGE_EXPIRY_INVALID',
      pointer: '/applyBy',
    },
    { why: 'an empty reason', input: { reason: ' ' }, code: 'CHANGE_REASON_MISSING', pointer: '/reason' },
    { why: 'nobody', input: { onBehalfOf: 'ben' }, code: 'CHANGE_PARTY_INVALID', pointer: '/onBehalfOf' },
    {
      why: 'nobody who gains',
      input: { beneficiaries: ['person:'] },
      code: 'CHANGE_PARTY_INVALID',
      pointer: '/beneficiaries/0',
    },
    {
      why: 'somebody unknown in personal',
      input: { personal: [{ group: 'name', subject: 'person:01JDDDDDDDDDDDDDDDDDDDDDDD', data: 'x' }] },
      code: 'SUBJECT_UNKNOWN',
      pointer: '/personal/0/subject',
    },
    {
      why: 'the group of the reason',
      input: { personal: [{ group: 'reason', subject: { kind: 'email', value: 'a@example.org' }, data: 'x' }] },
      code: 'EVENT_MEMBER_VALUE',
      pointer: '/personal/0/group',
    },
    {
      why: 'a policy without groups',
      input: { kind: 'policy.set', payload: { kind: 'setting.note', policy: { groups: [] } } },
      code: 'POLICY_INVALID',
      pointer: '/payload/policy/groups',
    },
    {
      why: 'a policy of an unknown kind',
      input: { kind: 'policy.set', payload: { kind: 'no.such', policy: {} } },
      code: 'CHANGE_KIND_UNKNOWN',
      pointer: '/payload/kind',
    },
    {
      why: 'a policy that is not set',
      input: { kind: 'policy.remove', payload: { kind: 'setting.note' } },
      code: 'POLICY_UNKNOWN',
      pointer: '/payload/kind',
    },
    {
      why: 'a role that inherits from itself',
      input: { kind: 'role.define', payload: { role: 'approver', permissions: [], inherits: ['approver'] } },
      code: 'ROLE_CYCLE',
      pointer: '/payload/inherits/0',
    },
  ])('$why is refused, and nothing is written', async ({ input, code, pointer }) => {
    const size = (await acme.events()).length
    await expect(acme.request(ada, input)).rejects.toMatchObject({ code, pointer })
    expect(await acme.events()).toHaveLength(size)
  })

  test('a reason is missing where the policy asks for one', async () => {
    await acme.directly('policy.set', { kind: 'setting.note', policy: { reasonRequired: true } })
    await expect(acme.request(ada)).rejects.toMatchObject({ code: 'CHANGE_REASON_MISSING', pointer: '/reason' })
  })

  test('a policy bounds how long votes are waited for', async () => {
    await acme.directly('policy.set', { kind: 'setting.note', policy: { ttlMs: HOUR } })
    await expect(acme.request(ada, { expiresAt: at(2 * HOUR) })).rejects.toMatchObject({
      code: 'CHANGE_EXPIRY_INVALID',
    })
    const { plan } = await acme.request(ada)
    expect(Date.parse(plan.expiresAt)).toBeLessThan(Date.now() + 2 * HOUR)
  })

  test.each(['', 'x', '01JDDDDDDDDDDDDDDDDDDDDDDD', "'; drop table entries"])('there is no change %j', async (id) => {
    await expect(getChange(bench.deps, acme.tenant, id)).rejects.toMatchObject({ code: 'CHANGE_UNKNOWN' })
    await expect(apply({ id })).rejects.toMatchObject({ code: 'CHANGE_UNKNOWN' })
  })
})

describe('personal parts', () => {
  test('are sealed, and the hash holds their commitments', async () => {
    const personal = [{ group: 'name', subject: { kind: 'email', value: 'zoe@example.org' }, data: 'Zoe' as Json }]
    const change = await acme.request(ada, { personal })
    const found = await acme.events(`change/${change.id}`)
    expect(JSON.stringify(found)).not.toContain('Zoe')
    expect(found[0]?.event.sealed).toMatchObject([{ group: 'name' }])
    await acme.vote(ben, change)
    await acme.vote(cy, change)
    expect(await apply(change)).toBe('applied')
  })
})

describe('what lies outside', () => {
  test('waits for whom it is for, or is ordered, once', async () => {
    for (const [delivery, first, then] of [
      ['grant', 'waits', 'approved'],
      ['webhook', 'ordered', 'applying'],
    ] as const) {
      const change = await acme.request(ada, { kind: 'external.billing', payload: { delivery } })
      await acme.vote(ben, change)
      await acme.vote(cy, change)
      expect([await apply(change), await apply(change)]).toEqual([first, first])
      expect((await getChange(bench.deps, acme.tenant, change.id)).status).toBe(then)
    }
  })
})

describe('lists', () => {
  test('are newest first, filtered, and know for whom each waits', async () => {
    const one = await acme.request(ada)
    const two = await acme.request(ben, { kind: 'external.billing', payload: {} })
    const three = await acme.request(ada, { onBehalfOf: cy.id })
    await acme.vote(dee, one)
    const ids = async (query: Partial<Parameters<typeof listChanges>[2]>) =>
      (await listChanges(bench.deps, acme.tenant, { limit: 50, ...query })).changes.map(({ id }) => id)
    expect(await ids({})).toEqual([three.id, two.id, one.id].toSorted().toReversed())
    expect(await ids({ kind: 'external.billing' })).toEqual([two.id])
    expect(new Set(await ids({ waitingFor: cy }))).toEqual(new Set([one.id, two.id]))
    expect(new Set(await ids({ waitingFor: dee }))).toEqual(new Set([two.id, three.id]))
    expect(await ids({ waitingFor: ada })).toEqual([two.id])
    await acme.vote(ben, one)
    expect(await ids({ status: 'approved' })).toEqual([one.id])
    const page = await listChanges(bench.deps, acme.tenant, { limit: 2 })
    const rest = await listChanges(bench.deps, acme.tenant, { limit: 2, before: page.next })
    expect([...page.changes, ...rest.changes].map(({ id }) => id)).toEqual(await ids({}))
    const other = await Tenant.create(bench)
    expect((await listChanges(bench.deps, other.tenant, { limit: 50 })).changes).toEqual([])
  })

  test('one tells what it waits for and who could approve it now', async () => {
    const change = await acme.request(ada)
    await acme.vote(ben, change)
    const shown = await getChange(bench.deps, acme.tenant, change.id)
    expect(shown).toMatchObject({
      status: 'requested',
      groups: [{ name: 'approvers', have: 1, count: 2 }],
      waitsFor: expect.stringMatching(/^approval by 1 of approvers, until /) as string,
      couldApprove: [cy.id, dee.id].toSorted(),
      diff: { before: null, after: { text: 'hello' } },
    })
    await acme.revokeRole(ben.id)
    const later = await getChange(bench.deps, acme.tenant, change.id)
    expect(later.votes[0]).toMatchObject({ voter: ben.id, discounted: 'VOTE_NOT_ENTITLED' })
    expect(later.groups).toEqual([{ name: 'approvers', have: 0, count: 2 }])
  })
})
