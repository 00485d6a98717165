import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { applyChange } from '../../src/approvals/commands/apply.js'
import { castVote } from '../../src/approvals/commands/vote.js'
import { getChange } from '../../src/approvals/queries/changes.js'
import { changesCheck } from '../../src/approvals/queries/verify-changes.js'
import { revokeToken } from '../../src/auth/commands.js'
import { Kinds } from '../../src/approvals/kind.js'
import { DomainError } from '../../src/errors.js'
import { record } from '../../src/ledger/record.js'
import { changesBench, Tenant, type ChangesBench, type Person } from '../support/changes.js'

// Each rule of who may decide, and of what is done then, with the attempt that it stops. After all of them every change is
// decided again from the log alone: nothing may have slipped through.

let bench: ChangesBench
let acme: Tenant
let ada: Person
let ben: Person
let cy: Person
let dee: Person
/** Tenants whose logs a test has tampered with. */
const tampered = new Set<string>()

beforeAll(async () => {
  bench = await changesBench()
})
beforeEach(async () => {
  bench.aheadMs = 0
  acme = await Tenant.create(bench)
  ;[ada, ben, cy, dee] = (await acme.people(4)) as [Person, Person, Person, Person]
})
afterAll(async () => {
  const findings = await audit()
  await bench.close()
  expect(findings).toEqual([])
})

/** What deciding everything again finds, in logs that nobody has tampered with. */
async function audit(): Promise<string[]> {
  const findings: string[] = []
  const check = changesCheck(bench.deps.kinds)
  const tenants = await bench.server.db.operator.selectFrom('tenants').select('id').execute()
  for (const { id: tenant } of tenants.filter(({ id }) => !tampered.has(id))) {
    await check(bench.server.db, { tenant, report: (...finding) => void findings.push(finding.join(' ')) })
  }
  return findings
}

const HOUR_MS = 3_600_000
const apply = (change: { id: string }) => applyChange(bench.deps, { tenant: acme.tenant, change: change.id })
const status = async (change: { id: string }) => (await getChange(bench.deps, acme.tenant, change.id)).status
const refuses = (vote: Promise<unknown>, code: string) => expect(vote).rejects.toMatchObject({ code })

describe('who may not vote', () => {
  test('who asked', async () => {
    const change = await acme.request(ada)
    await refuses(acme.vote(ada, change), 'VOTE_BY_REQUESTER')
    await refuses(acme.vote(ada, change, 'reject'), 'VOTE_BY_REQUESTER')
  })

  test('who asked, with another token of theirs', async () => {
    const change = await acme.request(ada)
    await refuses(acme.vote(await acme.token(ada.id), change), 'VOTE_BY_REQUESTER')
  })

  test('on whose behalf it is', async () => {
    const change = await acme.request(ada, { onBehalfOf: ben.id })
    await refuses(acme.vote(ben, change), 'VOTE_BY_PRINCIPAL')
  })

  test('who gains by it', async () => {
    await acme.directly('role.define', { role: 'auditor', permissions: ['ledger/*:read'] })
    const change = await acme.request(ada, { kind: 'role.grant', payload: { principal: ben.id, role: 'auditor' } })
    await refuses(acme.vote(ben, change), 'VOTE_BY_BENEFICIARY')
    const named = await acme.request(ada, { beneficiaries: [ben.id] })
    await refuses(acme.vote(ben, named), 'VOTE_BY_BENEFICIARY')
  })

  test('the owner of a service that gains by it, or asks for it', async () => {
    const robot = await acme.service('robot', ben.id)
    await refuses(acme.vote(ben, await acme.request(ada, { beneficiaries: [robot.id] })), 'VOTE_BY_BENEFICIARY')
    await refuses(acme.vote(ben, await acme.request(robot)), 'VOTE_BY_OWNER')
    const other = await acme.service('robot-of-robot', robot.id)
    await refuses(acme.vote(ben, await acme.request(other)), 'VOTE_BY_OWNER')
  })

  test('a service', async () => {
    const robot = await acme.service('robot')
    await refuses(acme.vote(robot, await acme.request(ada)), 'VOTE_NOT_A_PERSON')
  })

  test('the operator on the host, and the service itself', async () => {
    const change = await acme.request(ada)
    await refuses(acme.vote(acme.host, change), 'VOTE_NOT_A_PERSON')
    await refuses(acme.vote({ ...acme.host, id: 'service:countersign' }, change), 'VOTE_NOT_A_PERSON')
  })

  test('who counts as the requester', async () => {
    await acme.directly('principal.link', { principal: ben.id, sameAs: ada.id })
    await refuses(acme.vote(ben, await acme.request(ada)), 'VOTE_BY_REQUESTER')
  })

  test('two who count as one, for two', async () => {
    await acme.directly('principal.link', { principal: cy.id, sameAs: ben.id })
    const change = await acme.request(ada)
    await acme.vote(ben, change)
    await refuses(acme.vote(cy, change), 'VOTE_SAME_PERSON')
    expect(await status(change)).toBe('requested')
  })

  test('two who count as one, against it for two', async () => {
    await acme.directly('policy.set', { kind: 'setting.note', policy: { denyQuorum: 2 } })
    await acme.directly('principal.link', { principal: cy.id, sameAs: ben.id })
    const change = await acme.request(ada)
    await acme.vote(ben, change, 'reject')
    await refuses(acme.vote(cy, change, 'reject'), 'VOTE_SAME_PERSON')
    expect(await status(change)).toBe('requested')
    await acme.vote(dee, change, 'reject')
    expect(await status(change)).toBe('rejected')
  })

  test('with a token that the requester made', async () => {
    const theirs = await acme.token(ben.id, ben.permissions, ada)
    await refuses(acme.vote(theirs, await acme.request(ada)), 'VOTE_CREDENTIAL_RELATED')
  })

  test('with a token that the requester made through another', async () => {
    const robot = await acme.service('robot')
    const first = await acme.token(robot.id, robot.permissions, ada)
    const second = await acme.token(ben.id, ben.permissions, first)
    await refuses(acme.vote(second, await acme.request(ada)), 'VOTE_CREDENTIAL_RELATED')
  })

  test('with a token that another voter made, whichever of them votes first', async () => {
    const theirs = await acme.token(cy.id, cy.permissions, ben)
    const change = await acme.request(ada)
    await acme.vote(ben, change)
    await refuses(acme.vote(theirs, change), 'VOTE_CREDENTIAL_RELATED')
    const other = await acme.request(ada)
    await acme.vote(theirs, other)
    await refuses(acme.vote(ben, other), 'VOTE_CREDENTIAL_RELATED')
    expect([await status(change), await status(other)]).toEqual(['requested', 'requested'])
  })

  test('who made the token that it was asked for with', async () => {
    const hers = await acme.token(ada.id, ada.permissions, ben)
    await refuses(acme.vote(ben, await acme.request(hers)), 'VOTE_CREDENTIAL_RELATED')
  })

  test('who lacks the permission by role, or by token', async () => {
    const change = await acme.request(ada)
    await acme.revokeRole(cy.id)
    await refuses(acme.vote(cy, change), 'VOTE_NOT_ENTITLED')
    await refuses(acme.vote(await acme.token(ben.id, ['changes/role.grant:approve']), change), 'VOTE_NOT_ENTITLED')
    await refuses(acme.vote(await acme.token(ben.id, ['changes/changes:read']), change), 'VOTE_NOT_ENTITLED')
  })

  test('who was disabled, or never registered', async () => {
    const change = await acme.request(ada)
    await acme.disable(ben.id)
    await refuses(acme.vote(ben, change), 'VOTE_NOT_A_PERSON')
    await refuses(acme.vote({ ...cy, id: 'person:01JDDDDDDDDDDDDDDDDDDDDDDD' }, change), 'VOTE_NOT_A_PERSON')
  })

  test('somebody of another tenant', async () => {
    const other = await Tenant.create(bench)
    const stranger = await other.person()
    const change = await acme.request(ada)
    await refuses(acme.vote(stranger, change), 'CHANGE_UNKNOWN')
    // Even with a principal that says otherwise: neither the person nor the token is of this tenant.
    await refuses(acme.vote({ ...stranger, tenant: acme.tenant }, change), 'VOTE_CREDENTIAL_UNKNOWN')
  })

  test('with a token that was revoked, or has expired', async () => {
    const change = await acme.request(ada)
    await revokeToken(bench.server.db, acme.host, ben.via.slice('token:'.length))
    await refuses(acme.vote(ben, change), 'VOTE_CREDENTIAL_REVOKED')
    const soon = new Date(Date.now() + HOUR_MS).toISOString()
    const short = await acme.token(cy.id, cy.permissions, acme.host, soon)
    bench.aheadMs = 2 * HOUR_MS
    await refuses(acme.vote(short, change), 'VOTE_CREDENTIAL_REVOKED')
  })

  test("with somebody else's token", async () => {
    await refuses(acme.vote({ ...ben, via: cy.via }, await acme.request(ada)), 'VOTE_CREDENTIAL_REVOKED')
  })

  test('with a token that only the table knows', async () => {
    const superuser = await bench.server.superuser()
    const id = '01JQQQQQQQQQQQQQQQQQQQQQQQ'
    await superuser.query(
      `insert into tokens (tenant, id, hash, principal, permissions, created_at)
       values ($1, $2, sha256($3::bytea), $4, '{*/*:*}', now())`,
      [acme.tenant, id, Buffer.from(acme.tenant), ben.id],
    )
    await refuses(acme.vote({ ...ben, via: `token:${id}` }, await acme.request(ada)), 'VOTE_CREDENTIAL_UNKNOWN')
  })
})

describe('what is voted on', () => {
  test('another hash than that of the change is refused, and so is that of another change', async () => {
    const change = await acme.request(ada)
    const other = await acme.request(ada, { payload: { text: 'something else' } })
    const stated = (payloadHash: string, policyHash?: string) =>
      castVote(bench.deps, ben, { change: change.id, decision: 'approve', payloadHash, policyHash })
    await refuses(stated('0'.repeat(64)), 'VOTE_HASH_DIFFERS')
    await refuses(stated(other.payloadHash), 'VOTE_HASH_DIFFERS')
    await refuses(stated(change.payloadHash, '0'.repeat(64)), 'VOTE_HASH_DIFFERS')
  })

  test('the same payload asked for twice has two hashes', async () => {
    const [one, two] = [await acme.request(ada), await acme.request(ada)]
    expect(one.payloadHash).not.toBe(two.payloadHash)
  })

  test('nobody votes twice, and a rejection is not taken back', async () => {
    const lenient = { kind: 'setting.note', policy: { denyQuorum: 2 } }
    await acme.directly('policy.set', lenient)
    const change = await acme.request(ada)
    await acme.vote(ben, change)
    await refuses(acme.vote(ben, change), 'VOTE_REPEATED')
    await refuses(acme.vote(await acme.token(ben.id), change), 'VOTE_REPEATED')
    await acme.vote(ben, change, 'reject')
    await refuses(acme.vote(ben, change), 'VOTE_FINAL')
    await refuses(acme.vote(ben, change, 'reject'), 'VOTE_REPEATED')
    await acme.vote(cy, change)
    expect(await status(change)).toBe('requested')
  })

  test('who has approved may turn until it is applied, not afterwards', async () => {
    const [turned, done] = [await acme.request(ada), await acme.request(ada)]
    for (const change of [turned, done]) {
      await acme.vote(ben, change)
      await acme.vote(cy, change)
    }
    expect(await status(turned)).toBe('approved')
    await acme.vote(cy, turned, 'reject')
    expect(await status(turned)).toBe('rejected')
    expect(await apply(turned)).toBe('not-due')
    expect(await apply(done)).toBe('applied')
    await refuses(acme.vote(cy, done, 'reject'), 'CHANGE_CLOSED')
    await refuses(acme.vote(dee, done), 'CHANGE_CLOSED')
  })

  test('one rejection closes it', async () => {
    const change = await acme.request(ada)
    await acme.vote(ben, change)
    await acme.vote(cy, change, 'reject')
    await refuses(acme.vote(dee, change), 'CHANGE_CLOSED')
    expect(await apply(change)).toBe('not-due')
  })

  test('after its time it is closed, whether or not anybody has recorded that', async () => {
    const change = await acme.request(ada)
    await acme.vote(ben, change)
    bench.aheadMs = 73 * HOUR_MS
    expect(await status(change)).toBe('expired')
    await refuses(acme.vote(cy, change), 'CHANGE_CLOSED')
  })

  test('what was approved and not applied in time is not applied', async () => {
    const applyBy = new Date(Date.now() + HOUR_MS).toISOString()
    const change = await acme.request(ada, { applyBy })
    await acme.vote(ben, change)
    await acme.vote(cy, change)
    bench.aheadMs = 2 * HOUR_MS
    expect(await apply(change)).toBe('not-due')
    expect(await acme.types('setting/note')).toEqual([])
  })
})

describe('policies', () => {
  test('one that asks for more since is satisfied as well', async () => {
    const change = await acme.request(ada)
    await acme.directly('policy.set', { kind: 'setting.note', policy: { groups: [{ name: 'three', count: 3 }] } })
    await acme.vote(ben, change)
    await acme.vote(cy, change)
    expect(await status(change)).toBe('requested')
    await acme.vote(dee, change)
    expect(await apply(change)).toBe('applied')
  })

  test('one that asks for more after the approval reopens it', async () => {
    const change = await acme.request(ada)
    await acme.vote(ben, change)
    await acme.vote(cy, change)
    await acme.directly('policy.set', { kind: 'setting.note', policy: { groups: [{ name: 'three', count: 3 }] } })
    expect(await apply(change)).toBe('reopened')
    expect(await status(change)).toBe('requested')
    await acme.vote(dee, change)
    expect(await apply(change)).toBe('applied')
  })

  test('one that asks for less since changes nothing for what was asked before', async () => {
    const change = await acme.request(ada)
    await acme.directly('policy.set', { kind: 'setting.note', policy: { groups: [{ name: 'one', count: 1 }] } })
    await acme.vote(ben, change)
    expect(await status(change)).toBe('requested')
  })

  test('one that asks for a longer rest since lets it rest again', async () => {
    const change = await acme.request(ada)
    await acme.vote(ben, change)
    await acme.vote(cy, change)
    await acme.directly('policy.set', { kind: 'setting.note', policy: { coolingOffMs: HOUR_MS } })
    expect(await apply(change)).toBe('not-due')
    bench.aheadMs = 2 * HOUR_MS
    expect(await apply(change)).toBe('applied')
  })

  test('a change of a policy satisfies the old and the new one', async () => {
    await acme.directly('policy.set', { kind: 'setting.note', policy: { groups: [{ name: 'three', count: 3 }] } })
    const policy = { groups: [{ name: 'one', count: 1 }] }
    const change = await acme.request(ada, { kind: 'policy.set', payload: { kind: 'setting.note', policy } })
    await acme.vote(ben, change)
    await acme.vote(cy, change)
    expect(await status(change)).toBe('requested')
    await acme.vote(dee, change)
    expect(await apply(change)).toBe('applied')
  })

  test('nobody counts in two groups, and every group has to be met', async () => {
    await acme.directly('role.define', { role: 'security', permissions: ['changes/*:approve'] })
    await acme.directly('role.grant', { principal: ben.id, role: 'security' })
    const groups = [
      { name: 'anybody', count: 1 },
      { name: 'security', count: 1, roles: ['security'] },
    ]
    await acme.directly('policy.set', { kind: 'setting.note', policy: { groups } })
    const [alone, others, both] = [await acme.request(ada), await acme.request(ada), await acme.request(ada)]
    await acme.vote(ben, alone)
    await acme.vote(cy, others)
    await acme.vote(dee, others)
    await acme.vote(ben, both)
    await acme.vote(cy, both)
    expect([await status(alone), await status(others), await status(both)]).toEqual([
      'requested',
      'requested',
      'approved',
    ])
  })

  test('what was approved rests, and can be rejected meanwhile', async () => {
    await acme.directly('policy.set', { kind: 'setting.note', policy: { coolingOffMs: HOUR_MS } })
    const [waits, stopped] = [await acme.request(ada), await acme.request(ada, { payload: { text: 'other' } })]
    for (const change of [waits, stopped]) {
      await acme.vote(ben, change)
      await acme.vote(cy, change)
      expect(await apply(change)).toBe('not-due')
    }
    await acme.vote(dee, stopped, 'reject')
    bench.aheadMs = 2 * HOUR_MS
    expect([await apply(waits), await apply(stopped)]).toEqual(['applied', 'not-due'])
  })
})

describe('ground that goes away', () => {
  const approved = async () => {
    const change = await acme.request(ada)
    await acme.vote(ben, change)
    await acme.vote(cy, change)
    return change
  }

  test('a vote counts no more when the voter lost the role, was disabled, or their token was revoked', async () => {
    const losses = [
      () => acme.revokeRole(cy.id),
      () => acme.disable(cy.id),
      () => revokeToken(bench.server.db, acme.host, cy.via.slice('token:'.length)),
      () => acme.directly('principal.link', { principal: cy.id, sameAs: ben.id }),
      () => acme.directly('principal.link', { principal: cy.id, sameAs: ada.id }),
    ]
    for (const lose of losses) {
      acme = await Tenant.create(bench)
      ;[ada, ben, cy, dee] = (await acme.people(4)) as [Person, Person, Person, Person]
      const change = await approved()
      await lose()
      expect(await apply(change)).toBe('reopened')
      expect(await acme.types('setting/note')).toEqual([])
      await acme.vote(dee, change)
      expect(await apply(change)).toBe('applied')
    }
  })

  test('a role revoked at the same moment as the vote never slips through', async () => {
    let [before, after] = [0, 0]
    for (let n = 0; n < 12; n++) {
      const last = await acme.person()
      const change = await acme.request(ada, { payload: { text: `round ${n}` } })
      await acme.vote(ben, change)
      const [revoked, voted] = await Promise.allSettled([acme.revokeRole(last.id), acme.vote(last, change)])
      expect(revoked.status).toBe('fulfilled')
      // Whichever came first, what takes effect does not rest on the vote of who has no role.
      expect(await apply(change)).toBe(voted.status === 'fulfilled' ? 'reopened' : 'not-due')
      if (voted.status === 'fulfilled') after++
      else before++
    }
    expect(before + after).toBe(12)
    expect(await acme.types('setting/note')).toEqual([])
  })

  test('votes at the same moment are counted one after the other', async () => {
    const change = await acme.request(ada)
    const votes = await Promise.allSettled([ben, ben, cy, dee, ada].map((by) => acme.vote(by, change)))
    expect(votes.filter((vote) => vote.status === 'fulfilled')).toHaveLength(2)
    expect((await acme.types(`change/${change.id}`)).filter((type) => type === 'change.approved')).toHaveLength(1)
  })

  test('what it rests on has moved', async () => {
    const change = await approved()
    await acme.directly('setting.note', { text: 'meanwhile' })
    expect(await apply(change)).toBe('failed')
    expect((await getChange(bench.deps, acme.tenant, change.id)).failure).toBe('CHANGE_BASE_MOVED')
    expect(await acme.types('setting/note')).toHaveLength(1)
  })

  test('a payload that was changed in the database is not applied', async () => {
    const change = await approved()
    tampered.add(acme.tenant)
    const superuser = await bench.server.superuser()
    await superuser.query(
      `begin; set local session_replication_role = 'origin'; alter table entries disable trigger user`,
    )
    await superuser.query(
      `update entries set leaf = convert_to(replace(convert_from(leaf, 'utf8'), '"text":"hello"', '"text":"HELLO"'), 'utf8')
       where tenant = $1 and seq = $2`,
      [acme.tenant, change.seq],
    )
    await superuser.query(`alter table entries enable always trigger append_only; commit`)
    expect(await apply(change)).toBe('failed')
    expect((await getChange(bench.deps, acme.tenant, change.id)).failure).toBe('CHANGE_PAYLOAD_DIFFERS')
    expect(await acme.types('setting/note')).toEqual([])
  })

  test('somebody reports that it was approved', async () => {
    const change = await acme.request(ada)
    for (const type of ['change.voted', 'change.approved']) {
      await record(bench.deps.appender, ada, { type, data: { change: change.id }, source: { name: 'ada' } })
    }
    expect(await apply(change)).toBe('not-due')
  })
})

test('what was decided stays as it was, whoever leaves afterwards', async () => {
  const change = await acme.request(ada)
  await acme.vote(ben, change)
  await acme.vote(cy, change)
  expect(await apply(change)).toBe('applied')
  await acme.disable(ben.id)
  const shown = await getChange(bench.deps, acme.tenant, change.id)
  expect(shown).toMatchObject({ status: 'applied', approvals: 2, groups: [] })
  expect(shown.votes.every(({ discounted }) => discounted === undefined)).toBe(true)
})

test('a kind that refuses at the last moment leaves nothing behind but the failure', async () => {
  const { kinds } = bench.deps
  const refusing = {
    ...kinds.find('setting.note'),
    write: () => Promise.reject(new DomainError('POLICY_INVALID', 'not today')),
  }
  const deps = { ...bench.deps, kinds: new Kinds([refusing]) }
  const change = await acme.request(ada)
  await acme.vote(ben, change)
  await acme.vote(cy, change)
  const answers = await Promise.all([1, 2, 3].map(() => applyChange(deps, { tenant: acme.tenant, change: change.id })))
  expect(answers).toContain('failed')
  expect(await acme.types('setting/note')).toEqual([])
  expect((await acme.types(`change/${change.id}`)).filter((type) => type === 'change.failed')).toHaveLength(1)
  expect((await getChange(bench.deps, acme.tenant, change.id)).failure).toBe('POLICY_INVALID')
})

test('who tries changes that are not there writes nothing', async () => {
  const robot = await acme.service('robot')
  const size = (await acme.events()).length
  for (const id of ['01JDDDDDDDDDDDDDDDDDDDDDDD', 'x'.repeat(200)]) {
    const vote = castVote(bench.deps, robot, {
      change: id,
      decision: 'approve',
      payloadHash: '0'.repeat(64),
      reason: 'x',
    })
    await expect(vote).rejects.toMatchObject({ code: 'CHANGE_UNKNOWN' })
  }
  expect(await acme.events()).toHaveLength(size)
})

test('refused votes are entries outside the change, repeats counted', async () => {
  const change = await acme.request(ada)
  for (let n = 0; n < 5; n++) await expect(acme.vote(ada, change)).rejects.toMatchObject({ code: 'VOTE_BY_REQUESTER' })
  const refusals = async () => (await acme.events()).filter(({ event }) => event.type === 'vote.refused')
  await expect.poll(async () => (await refusals()).length).toBe(1)
  const [first] = await refusals()
  expect(first?.entry.stream).toBeUndefined()
  expect(first?.entry.by).toBe(ada.id)
  expect(first?.event).toMatchObject({
    outcome: 'denied',
    reason: 'VOTE_BY_REQUESTER',
    data: { change: change.id, decision: 'approve', count: 1 },
  })
  expect(await acme.types(`change/${change.id}`)).toEqual(['change.requested'])
})
