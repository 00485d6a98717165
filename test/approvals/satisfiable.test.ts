import { describe, expect, test } from 'vitest'
import { DEFAULT_POLICY, type Policy } from '../../src/approvals/policy.js'
import { unsatisfied } from '../../src/approvals/satisfiable.js'
import { accessOf, credentialOf, Script } from '../support/approvals.js'

const [ada, ben, cy] = ['person:ada', 'person:ben', 'person:cy'] as const
const KIND = 'role.grant'
const made = (principal: string, ...minters: string[]) =>
  credentialOf(principal, { minters: new Set([...minters, 'service:host']) })

function found(
  principals: Parameters<typeof accessOf>[1],
  credentials = Object.keys(principals)
    .filter((each) => each.startsWith('person:'))
    .map((each) => credentialOf(each)),
  policy: Policy = DEFAULT_POLICY,
) {
  return unsatisfied(accessOf(new Script(), principals), KIND, [policy], credentials)
}

describe('whether changes could be approved whoever asks', () => {
  test('three people are enough for two, two are not when one of them asks', () => {
    expect(found({ [ada]: {}, [ben]: {}, [cy]: {} })).toBeUndefined()
    expect(found({ [ada]: {}, [ben]: {} })).toMatchObject({ requester: ada, groups: [{ count: 2, could: 1 }] })
    expect(found({ [ada]: {} })).toEqual({ kind: KIND, groups: [{ name: 'approvers', count: 2, could: 1 }] })
  })

  test('people who count as one are one', () => {
    expect(found({ [ada]: {}, [ben]: {}, [cy]: { sameAs: ben } })?.kind).toBe(KIND)
  })

  test('the owner of a service may not vote when it asks', () => {
    const outsider = { roles: [] }
    const principals = { [ada]: {}, [ben]: {}, [cy]: outsider, 'service:bot': { owner: ada, roles: [] } }
    const policy = { ...DEFAULT_POLICY, groups: [{ name: 'ada', count: 1, people: [ada] }] }
    expect(
      found(
        principals,
        [ada, ben].map((each) => credentialOf(each)),
        policy,
      ),
    ).toMatchObject({ requester: ada })
    const one = { ...DEFAULT_POLICY, groups: [{ name: 'all', count: 1 }] }
    expect(
      found(
        principals,
        [ada, ben].map((each) => credentialOf(each)),
        one,
      ),
    ).toBeUndefined()
  })

  test('who made the others’ tokens, by a service of theirs too, leaves too few', () => {
    const principals = { [ada]: {}, [ben]: {}, [cy]: {}, 'service:bot': { owner: ada, roles: [] } }
    for (const maker of [ada, 'service:bot']) {
      const tokens = [made(ada), made(ben, maker), made(cy, maker)]
      expect(found(principals, tokens)).toMatchObject({ requester: ada, groups: [{ could: 0 }] })
      // Another token of theirs that the host made is enough.
      expect(
        found(principals, [...tokens, credentialOf(ben, { via: 'token:B2' }), credentialOf(cy, { via: 'token:C2' })]),
      ).toBeUndefined()
    }
  })

  test('hundreds of people with services of their own are looked at while others wait for the lock', () => {
    const names = Array.from({ length: 300 }, (_, n) => `p${n}`)
    const people = Object.fromEntries(names.map((name) => [`person:${name}`, {}]))
    const services = Object.fromEntries(
      names.map((name) => [`service:${name}`, { owner: `person:${name}`, roles: [] }]),
    )
    expect(found({ ...people, ...services })).toBeUndefined()
  })
})
