import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { applyChange } from '../../src/approvals/commands/apply.js'
import { enforceApprovals } from '../../src/approvals/commands/enforce.js'
import { withdrawChange } from '../../src/approvals/commands/withdraw.js'
import { changeStep, expireChange, remindChange } from '../../src/approvals/commands/times.js'
import { changesBench, Tenant, type ChangesBench, type Person } from '../support/changes.js'

let bench: ChangesBench
let acme: Tenant
let ada: Person
let ben: Person
let cy: Person

beforeAll(async () => {
  bench = await changesBench()
})
afterAll(() => bench.close())
beforeEach(async () => {
  bench.aheadMs = 0
  acme = await Tenant.create(bench)
  ;[ada, ben, cy] = (await acme.people(3)) as [Person, Person, Person]
})

const apply = (change: string) => applyChange(bench.deps, { tenant: acme.tenant, change })

describe('a change', () => {
  test('is requested, approved by two others, applied, and says what rests on what', async () => {
    const change = await acme.request(ada, { reason: 'the old one is wrong' })
    await acme.vote(ben, change)
    expect(await apply(change.id)).toBe('not-due')
    await acme.vote(cy, change)
    expect(await apply(change.id)).toBe('applied')
    const found = await acme.events(`change/${change.id}`)
    expect(found.map(({ event, entry }) => [event.type, entry.by])).toEqual([
      ['change.requested', ada.id],
      ['change.voted', ben.id],
      ['change.voted', cy.id],
      ['change.approved', 'service:countersign'],
      ['change.applied', 'service:countersign'],
    ])
    const approved = found[3]
    const [effect] = await acme.events('setting/note')
    expect(effect?.event).toMatchObject({
      type: 'setting.set',
      cause: approved?.entry.seq,
      data: { value: { text: 'hello' }, authority: { change: change.id } },
    })
    expect(found[4]?.event.data).toEqual({
      payloadHash: change.payloadHash,
      effects: [{ stream: 'setting/note', seq: effect?.entry.seq }],
    })
    // The reason is nowhere in clear.
    expect(JSON.stringify(found)).not.toContain('the old one')
    expect(found[0]?.event.sealed).toMatchObject([{ group: 'reason', subject: ada.id }])
  })

  test('is applied once, however often and by however many', async () => {
    const change = await acme.request(ada)
    await acme.vote(ben, change)
    await acme.vote(cy, change)
    const answers = await Promise.all(Array.from({ length: 8 }, () => apply(change.id)))
    expect(new Set(answers)).toEqual(new Set(['applied']))
    expect(await apply(change.id)).toBe('applied')
    expect(await acme.types('setting/note')).toEqual(['setting.set'])
  })

  test('is withdrawn by who asked, and nobody else', async () => {
    const change = await acme.request(ada)
    await expect(withdrawChange(bench.deps, ben, change.id)).rejects.toMatchObject({ code: 'CHANGE_NOT_YOURS' })
    await withdrawChange(bench.deps, ada, change.id)
    await withdrawChange(bench.deps, ada, change.id)
    await expect(acme.vote(ben, change)).rejects.toMatchObject({ code: 'CHANGE_CLOSED' })
    expect(await acme.types(`change/${change.id}`)).toEqual(['change.requested', 'change.withdrawn'])
  })

  test('reminds, then expires, each once', async () => {
    const { tenant } = acme
    const { id: change } = await acme.request(ada)
    expect(await changeStep(bench.deps, { tenant, change })).toMatchObject({ closed: false })
    bench.aheadMs = 25 * 3_600_000
    expect(await changeStep(bench.deps, { tenant, change })).toMatchObject({ do: 'remind' })
    const repeats = await Promise.all([1, 2, 3].map(() => remindChange(bench.deps, { tenant, change })))
    expect(repeats.filter(Boolean)).toHaveLength(1)
    bench.aheadMs = 80 * 3_600_000
    expect(await changeStep(bench.deps, { tenant, change })).toMatchObject({ do: 'expire' })
    expect(await expireChange(bench.deps, { tenant, change })).toBe(true)
    expect(await expireChange(bench.deps, { tenant, change })).toBe(false)
    expect(await changeStep(bench.deps, { tenant, change })).toEqual({ closed: true })
    const found = await acme.events(`change/${change}`)
    expect(found.map(({ event }) => event.type)).toEqual(['change.requested', 'change.reminded', 'change.expired'])
    expect(found[1]?.event.data).toEqual({ n: 1, waitsFor: [ben.id, cy.id].sort() })
  })
})

describe('enforcing', () => {
  test('is refused while nobody could approve, and says whose changes and which group', async () => {
    const small = await Tenant.create(bench)
    const [first, second] = await small.people(2)
    const size = (await small.events()).length
    // Whoever of the two asked, the other would be alone.
    await expect(enforceApprovals(bench.deps, small.host)).rejects.toMatchObject({
      code: 'POLICY_UNSATISFIABLE',
      message: expect.stringMatching(
        new RegExp(`requested by (${first?.id}|${second?.id}): group approvers needs 2 and 1 could`),
      ) as string,
    })
    expect(await small.events()).toHaveLength(size)
  })

  test('is one-way, and protects', async () => {
    const { seq } = await enforceApprovals(bench.deps, acme.host)
    expect(await enforceApprovals(bench.deps, acme.host)).toEqual({ seq })
    await expect(acme.directly('setting.note', { text: 'x' })).rejects.toMatchObject({ code: 'CHANGE_REQUIRED' })
  })
})
