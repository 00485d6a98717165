import { describe, expect, test } from 'vitest'
import { assign, standingOf } from '../../src/approvals/decision.js'
import type { Credential } from '../../src/approvals/eligibility.js'
import { DEFAULT_POLICY, type Policy } from '../../src/approvals/policy.js'
import { accessOf, credentialOf, groundOf, requestedChange, Script, voted } from '../support/approvals.js'

const [ada, ben, cy, dee] = ['person:ada', 'person:ben', 'person:cy', 'person:dee'] as const
const billing = 'service:billing'

/** Ada asks; the others vote with their own tokens, unless a row says otherwise. */
interface Row {
  readonly rule: string
  readonly principals?: Parameters<typeof accessOf>[1]
  readonly roles?: Parameters<typeof accessOf>[2]
  readonly requester?: Credential
  readonly about?: { onBehalfOf?: string; beneficiaries?: string[] }
  readonly votes: readonly (readonly [Credential, 'approve' | 'reject'])[]
  readonly policy?: Policy
  /** In force when the votes are counted; the pinned one unless given. */
  readonly current?: Policy
  readonly met: boolean
  readonly rejected?: boolean
  /** Codes of the votes that do not count, in order. */
  readonly discounted?: readonly string[]
}

const yes = (principal: string, overrides: Partial<Credential> = {}) =>
  [credentialOf(principal, overrides), 'approve'] as const
const no = (principal: string) => [credentialOf(principal), 'reject'] as const
const two: Policy = { ...DEFAULT_POLICY }
const peerAndManager: Policy = {
  ...DEFAULT_POLICY,
  groups: [
    { name: 'peer', count: 1, roles: ['approver'] },
    { name: 'manager', count: 1, roles: ['manager'] },
  ],
}
const managers = { approver: ['changes/*:approve'], manager: ['changes/*:approve'] }

const rows: readonly Row[] = [
  { rule: 'two others suffice', votes: [yes(ben), yes(cy)], met: true },
  { rule: 'one is not two', votes: [yes(ben)], met: false },
  {
    rule: 'nobody approves what they asked for',
    votes: [yes(ada), yes(ben)],
    met: false,
    discounted: ['VOTE_BY_REQUESTER'],
  },
  {
    rule: 'the requester under a second pseudonym is the requester',
    principals: { [ada]: {}, [ben]: {}, [cy]: { sameAs: ada } },
    votes: [yes(ben), yes(cy)],
    met: false,
    discounted: ['VOTE_BY_REQUESTER'],
  },
  {
    rule: 'one person under two pseudonyms is one',
    principals: { [ada]: {}, [ben]: {}, [cy]: { sameAs: ben } },
    votes: [yes(ben), yes(cy)],
    met: false,
    discounted: ['VOTE_SAME_PERSON'],
  },
  {
    rule: 'on whose behalf it is does not vote',
    about: { onBehalfOf: ben },
    votes: [yes(ben), yes(cy)],
    met: false,
    discounted: ['VOTE_BY_PRINCIPAL'],
  },
  {
    rule: 'who gains by it does not vote',
    about: { beneficiaries: [ben] },
    votes: [yes(ben), yes(cy)],
    met: false,
    discounted: ['VOTE_BY_BENEFICIARY'],
  },
  {
    rule: 'nor the owner of a service that gains',
    principals: { [ada]: {}, [ben]: {}, [cy]: {}, [billing]: { owner: ben } },
    about: { beneficiaries: [billing] },
    votes: [yes(ben), yes(cy)],
    met: false,
    discounted: ['VOTE_BY_BENEFICIARY'],
  },
  {
    rule: 'nor the owner of the service that asks, however far up',
    principals: { [ben]: {}, [cy]: {}, 'service:team': { owner: ben }, [billing]: { owner: 'service:team' } },
    requester: credentialOf(billing),
    votes: [yes(ben), yes(cy)],
    met: false,
    discounted: ['VOTE_BY_OWNER'],
  },
  {
    rule: 'a service is nobody who votes',
    principals: { [ada]: {}, [ben]: {}, [billing]: {} },
    votes: [yes(ben), yes(billing)],
    met: false,
    discounted: ['VOTE_NOT_A_PERSON'],
  },
  {
    rule: 'nor is somebody whom the tenant does not know',
    votes: [yes(ben), yes('person:eve')],
    met: false,
    discounted: ['VOTE_NOT_A_PERSON'],
  },
  {
    rule: 'nor somebody who was disabled since',
    principals: { [ada]: {}, [ben]: {}, [cy]: { disabled: true } },
    votes: [yes(ben), yes(cy)],
    met: false,
    discounted: ['VOTE_NOT_A_PERSON'],
  },
  {
    rule: 'a role that was taken away takes the vote with it',
    principals: { [ada]: {}, [ben]: {}, [cy]: { roles: [] } },
    votes: [yes(ben), yes(cy)],
    met: false,
    discounted: ['VOTE_NOT_ENTITLED'],
  },
  {
    rule: 'a token that may not approve does not, whatever the role',
    votes: [yes(ben), yes(cy, { permissions: ['ledger/*:read'] })],
    met: false,
    discounted: ['VOTE_NOT_ENTITLED'],
  },
  {
    rule: 'the permission is of the kind',
    roles: { approver: ['changes/policy.set:approve'] },
    votes: [yes(ben), yes(cy)],
    met: false,
    discounted: ['VOTE_NOT_ENTITLED', 'VOTE_NOT_ENTITLED'],
  },
  {
    rule: 'a revoked token takes its vote with it',
    votes: [yes(ben), yes(cy, { revoked: true })],
    met: false,
    discounted: ['VOTE_CREDENTIAL_REVOKED'],
  },
  {
    rule: 'a token that the requester made is the requester’s',
    votes: [yes(ben), yes(cy, { minters: new Set(['service:host', ada]) })],
    met: false,
    discounted: ['VOTE_CREDENTIAL_RELATED'],
  },
  {
    rule: 'also when it was made under another of the requester’s pseudonyms',
    principals: { [ada]: {}, [ben]: {}, [cy]: {}, [dee]: { sameAs: ada } },
    votes: [yes(ben), yes(cy, { minters: new Set([dee]) })],
    met: false,
    discounted: ['VOTE_CREDENTIAL_RELATED'],
  },
  {
    rule: 'a token that another voter made is that voter’s',
    votes: [yes(ben), yes(cy, { minters: new Set([ben]) })],
    met: false,
    discounted: ['VOTE_CREDENTIAL_RELATED'],
  },
  {
    rule: 'whoever votes first',
    votes: [yes(cy, { minters: new Set([ben]) }), yes(ben)],
    met: false,
    discounted: ['VOTE_CREDENTIAL_RELATED'],
  },
  {
    rule: 'who made the requester’s token may have asked with it',
    requester: credentialOf(ada, { minters: new Set([ben]) }),
    votes: [yes(ben), yes(cy)],
    met: false,
    discounted: ['VOTE_CREDENTIAL_RELATED'],
  },
  { rule: 'one rejection closes', votes: [yes(ben), no(cy)], met: false, rejected: true },
  {
    rule: 'rejections close by their quorum',
    policy: { ...two, denyQuorum: 2 },
    votes: [no(ben), yes(cy), yes(dee)],
    met: true,
  },
  {
    rule: 'a rejection by who may not vote closes nothing',
    votes: [no(ada), yes(ben), yes(cy)],
    met: true,
    discounted: ['VOTE_BY_REQUESTER'],
  },
  { rule: 'who turns to reject no longer approves', votes: [yes(ben), yes(cy), no(cy)], met: false, rejected: true },
  {
    rule: 'every group has to be met',
    policy: peerAndManager,
    roles: managers,
    votes: [yes(ben), yes(cy)],
    met: false,
  },
  {
    rule: 'somebody who fits two groups fills one',
    policy: peerAndManager,
    roles: managers,
    principals: { [ada]: {}, [ben]: { roles: ['approver', 'manager'] } },
    votes: [yes(ben)],
    met: false,
  },
  {
    rule: 'and leaves room for who fits one only',
    policy: peerAndManager,
    roles: managers,
    principals: { [ada]: {}, [ben]: { roles: ['approver', 'manager'] }, [cy]: {} },
    votes: [yes(ben), yes(cy)],
    met: true,
  },
  {
    rule: 'people may be named',
    policy: { ...two, groups: [{ name: 'named', count: 1, people: [cy] }] },
    votes: [yes(ben), yes(dee)],
    met: false,
  },
  {
    rule: 'a policy that asks for more meanwhile counts too',
    current: { ...two, groups: [{ name: 'approvers', count: 3 }] },
    votes: [yes(ben), yes(cy)],
    met: false,
  },
  {
    rule: 'and one that asks for less does not help',
    policy: { ...two, groups: [{ name: 'approvers', count: 3 }] },
    current: { ...two, groups: [{ name: 'approvers', count: 1 }] },
    votes: [yes(ben), yes(cy)],
    met: false,
  },
]

describe('what votes amount to', () => {
  test.each(rows)('$rule', (row) => {
    const script = new Script()
    const access = accessOf(script, row.principals ?? { [ada]: {}, [ben]: {}, [cy]: {}, [dee]: {} }, row.roles)
    const requester = row.requester ?? credentialOf(ada)
    const policy = row.policy ?? DEFAULT_POLICY
    const change = row.votes.reduce(
      (state, [credential, decision]) => voted(script, state, credential, decision),
      requestedChange(script, { requester, policy, ...row.about }),
    )
    const credentials = [requester, ...row.votes.map(([credential]) => credential)]
    const standing = standingOf(change, groundOf(access, credentials, [policy, row.current ?? policy]))
    expect(standing.met).toBe(row.met)
    expect(standing.rejected).toBe(row.rejected ?? false)
    expect(standing.discounted.map(({ code }) => code)).toEqual(row.discounted ?? [])
  })

  test('a vote whose text says anything else does not count', () => {
    const script = new Script()
    const access = accessOf(script, { [ada]: {}, [ben]: {}, [cy]: {} })
    const change = [ben, cy].reduce(
      (state, voter) => voted(script, state, credentialOf(voter)),
      requestedChange(script, { requester: credentialOf(ada) }),
    )
    const ground = groundOf(
      access,
      [ada, ben, cy].map((each) => credentialOf(each)),
    )
    expect(standingOf(change, ground).met).toBe(true)
    for (const other of [{ payloadHash: '0'.repeat(64) }, { id: '01OTHER' }, { kind: 'role.define' }]) {
      const standing = standingOf({ ...change, ...other }, ground)
      expect(standing.discounted.map(({ code }) => code)).toEqual(['VOTE_STATEMENT_DIFFERS', 'VOTE_STATEMENT_DIFFERS'])
    }
    expect(standingOf(change, { ...ground, tenant: 'other' }).approvals).toEqual([])
  })
})

describe('places in groups', () => {
  const group = (name: string, count: number) => ({ name, count })

  test.each([
    { groups: [group('a', 1), group('b', 1)], voters: ['ab', 'a'], filled: 2 },
    { groups: [group('a', 1), group('b', 1), group('c', 1)], voters: ['abc', 'ab', 'a'], filled: 3 },
    { groups: [group('a', 2), group('b', 1)], voters: ['ab', 'ab', 'a'], filled: 3 },
    { groups: [group('a', 2), group('b', 1), group('c', 1)], voters: ['ab', 'abc', 'a', 'a'], filled: 4 },
    { groups: [group('a', 1)], voters: ['a', 'a'], filled: 1 },
    { groups: [group('a', 1), group('b', 2)], voters: ['b', 'ab'], filled: 2 },
    { groups: [group('a', 1)], voters: ['b'], filled: 0 },
  ])('$filled of $groups by $voters', ({ groups, voters, filled }) => {
    const got = assign(groups, voters, ({ name }, voter) => voter.includes(name))
    expect(got.reduce((sum, n) => sum + n, 0)).toBe(filled)
    for (const [n, { count }] of groups.entries()) expect(got[n]).toBeLessThanOrEqual(count)
  })
})
