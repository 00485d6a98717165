import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { applyChange } from '../../src/approvals/commands/apply.js'
import { enforceApprovals } from '../../src/approvals/commands/enforce.js'
import type { ChangeInput, RequestedChange } from '../../src/approvals/commands/request.js'
import { withdrawChange } from '../../src/approvals/commands/withdraw.js'
import { DEFAULT_POLICY, HOUR_MS, type Policy } from '../../src/approvals/policy.js'
import { revokeToken } from '../../src/auth/commands.js'
import { DomainError } from '../../src/errors.js'
import { say } from '../support/say.js'
import { changesBench, Tenant, type ChangesBench, type Person } from '../support/changes.js'
import { findingsIn } from '../support/verify-changes.js'

let bench: ChangesBench
const totals = { steps: 0, refused: 0, applied: 0 }

beforeAll(async () => {
  bench = await changesBench()
})
afterAll(() => bench.close())

const PEOPLE = 5
const person = fc.nat(PEOPLE - 1)
/** Counted from the newest. */
const change = fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(3) })
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('request' as const), who: person, what: fc.nat(4) }) },
  {
    weight: 16,
    arbitrary: fc.record({
      do: fc.constant('vote' as const),
      who: person,
      token: fc.nat(2),
      change,
      approve: fc.oneof({ weight: 9, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('apply' as const), change }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('withdraw' as const), change }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('revoke' as const), who: person, token: fc.nat(2) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('clock' as const), hours: fc.nat(12) }) },
)
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never

/** Who makes a token for whom while that is still one person's to do, and who counts as whom. */
const setup = fc.record({
  mints: fc.array(fc.tuple(person, person), { maxLength: 4 }),
  linked: fc.option(fc.tuple(person, person)),
})

/** One tenant with five people, each with a token of the host's and perhaps some that others made. */
class Story {
  private readonly tenant: Tenant
  private readonly tokens: Person[][]
  private readonly changes: RequestedChange[] = []

  private constructor(tenant: Tenant, tokens: Person[][]) {
    this.tenant = tenant
    this.tokens = tokens
  }

  static async begin({ mints, linked }: typeof setup extends fc.Arbitrary<infer S> ? S : never): Promise<Story> {
    const tenant = await Tenant.create(bench)
    const people = await tenant.people(PEOPLE)
    const tokens = people.map((each) => [each])
    for (const [maker, holder] of mints) {
      const [madeBy, whose] = [people[maker], people[holder]]
      if (!madeBy || !whose || maker === holder) continue
      tokens[holder]?.push(await tenant.token(whose.id, ['changes/*:*'], madeBy))
    }
    const [one, other] = (linked ?? []).map((n) => people[n])
    if (one && other && one !== other) await tenant.directly('principal.link', { principal: one.id, sameAs: other.id })
    await tenant.directly('principal.register', { principal: 'service:bot' })
    await enforceApprovals(bench.deps, tenant.host)
    return new Story(tenant, tokens)
  }

  /** What is refused has to say why with a code; anything else is a fault. */
  async take(step: Step): Promise<void> {
    totals.steps += 1
    try {
      await this.act(step)
    } catch (error) {
      if (!(error instanceof DomainError)) throw error
      totals.refused += 1
    }
  }

  private async act(step: Step): Promise<void> {
    const { deps } = bench
    switch (step.do) {
      case 'request':
        this.changes.unshift(await this.tenant.request(this.who(step.who), REQUESTS[step.what] ?? {}))
        break
      case 'vote':
        await this.tenant.vote(
          this.who(step.who, step.token),
          this.which(step.change),
          step.approve ? 'approve' : 'reject',
        )
        break
      case 'apply': {
        const { tenant } = this.tenant
        if ((await applyChange(deps, { tenant, change: this.which(step.change).id })) === 'applied') totals.applied += 1
        break
      }
      case 'withdraw':
        await withdrawChange(deps, this.who(0), this.which(step.change).id)
        break
      case 'revoke':
        await revokeToken(deps.database, this.tenant.host, this.who(step.who, step.token).via.slice('token:'.length))
        break
      case 'clock':
        bench.aheadMs += step.hours * HOUR_MS
    }
  }

  private who(n: number, token = 0): Person {
    const held = this.tokens[n] ?? []
    return held[token % held.length] ?? expect.fail('nobody')
  }

  private which(n: number): RequestedChange {
    const found = this.changes[n % Math.max(1, this.changes.length)]
    if (!found) throw new DomainError('NOTHING_REQUESTED', 'the story has no change yet')
    return found
  }

  /** What an auditor with nothing but the log would say: none of the code that decided is asked. */
  async judge(): Promise<void> {
    const seen = {
      minters: new Map<string, Set<string>>(),
      revoked: new Set<string>(),
      sameAs: new Map<string, string>(),
      counts: new Map<string, number>(),
      open: new Map<
        string,
        {
          requester: string
          via: string
          kind: string
          count: number
          until: string
          votes: Map<string, { via: string; yes: boolean }>
        }
      >(),
    }
    const root = (name: string): string => {
      const next = seen.sameAs.get(name)
      return next === undefined ? name : root(next)
    }
    const countOf = (policy: Policy) => policy.groups.reduce((sum, { count }) => sum + count, 0)
    for (const { entry, event } of await this.tenant.events()) {
      const { stream = '', by, via, at } = entry
      const [area, id = ''] = stream.split('/')
      const data = (event.data ?? {}) as Record<string, unknown>
      if (event.type === 'token.created')
        seen.minters.set(`token:${id}`, new Set([by, ...(seen.minters.get(via) ?? [])]))
      if (event.type === 'token.revoked') seen.revoked.add(`token:${id}`)
      if (event.type === 'principal.linked') seen.sameAs.set(id, String(data['sameAs']))
      if (event.type === 'change.requested') {
        const { kind, expiresAt, policy } = data as { kind: string; expiresAt: string; policy: Policy }
        seen.open.set(id, { requester: by, via, kind, count: countOf(policy), until: expiresAt, votes: new Map() })
      }
      if (event.type === 'change.voted') seen.open.get(id)?.votes.set(by, { via, yes: data['decision'] === 'approve' })
      if (event.type === 'change.applied') {
        const found = seen.open.get(id) ?? expect.fail('applied without a request')
        const agreeing = [...found.votes].filter(([, { yes, via }]) => yes && !seen.revoked.has(via))
        const people = new Set(agreeing.map(([who]) => root(who)))
        const minters = (via: string) =>
          new Set([...(seen.minters.get(via) ?? [])].filter((who) => who !== 'service:host').map(root))
        const independent = agreeing.filter(([who, { via }]) => {
          const made = minters(via)
          return (
            root(who) !== root(found.requester) &&
            !made.has(root(found.requester)) &&
            !minters(found.via).has(root(who))
          )
        })
        const asked = Math.max(found.count, seen.counts.get(found.kind) ?? countOf(DEFAULT_POLICY))
        expect(at <= found.until).toBe(true)
        expect([...found.votes.values()].every(({ yes }) => yes)).toBe(true)
        expect(people.size).toBeGreaterThanOrEqual(asked)
        expect(new Set(independent.map(([who]) => root(who))).size).toBeGreaterThanOrEqual(asked)
      }
      // After the change that set it: a policy in force counts from the next decision on.
      if (event.type === 'policy.set' && area === 'policy') seen.counts.set(id, countOf(data['policy'] as Policy))
    }
    expect(await findingsIn(bench.deps, this.tenant.tenant)).toEqual([])
  }
}

const asking = (count: number) => ({ groups: [{ name: 'all', count }] })
const REQUESTS: readonly Partial<ChangeInput>[] = [
  { kind: 'setting.note', payload: { text: 'a note' } },
  { kind: 'role.grant', payload: { principal: 'service:bot', role: 'approver' } },
  { kind: 'policy.set', payload: { kind: 'setting.note', policy: asking(1) } },
  { kind: 'policy.set', payload: { kind: 'setting.note', policy: asking(3) } },
  { kind: 'policy.set', payload: { kind: 'policy.set', policy: asking(1) } },
]

test('nothing is ever applied without what both policies ask, from distinct and unrelated people', async () => {
  await fc.assert(
    fc.asyncProperty(setup, fc.array(step, { minLength: 20, maxLength: 60 }), async (begin, steps) => {
      const story = await Story.begin(begin).catch((error: unknown) => {
        // Where too many tokens were made by too few, approvals cannot be enforced: that is refused, as it must be.
        if (error instanceof DomainError && error.code === 'POLICY_UNSATISFIABLE') return undefined
        throw error
      })
      for (const each of story ? steps : []) await story?.take(each)
      await story?.judge()
    }),
    { numRuns: 20 },
  )
  expect(totals.applied).toBeGreaterThan(0)
  expect(totals.refused).toBeGreaterThan(0)
  say(`interleavings: ${totals.steps} steps, ${totals.refused} refused, ${totals.applied} changes applied`)
}, 120_000)
