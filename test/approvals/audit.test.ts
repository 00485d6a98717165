import { Type } from 'typebox'
import { describe, expect, test } from 'vitest'
import { ChangeAudit } from '../../src/approvals/audit.js'
import { evolveChange, type ChangeState } from '../../src/approvals/change.js'
import { statementOf } from '../../src/approvals/decision.js'
import { Kinds, type ChangeKind } from '../../src/approvals/kind.js'
import { payloadHash } from '../../src/approvals/payload.js'
import { DEFAULT_POLICY, HOUR_MS, policyHash } from '../../src/approvals/policy.js'
import type { StreamEntry } from '../../src/ledger/streams.js'
import { Script, TENANT } from '../support/approvals.js'

const note: ChangeKind = {
  name: 'setting.note',
  what: 'writes a note',
  payload: Type.Object({ text: Type.String() }),
  beneficiaries: () => [],
  base: (_payload, { settings }) => ({ 'setting/note': settings.get('note')?.version ?? 0 }),
  diff: (payload) => ({ before: null, after: payload }),
  effects: (payload, { authority, cause }) => [
    {
      stream: 'setting/note',
      events: [
        {
          type: 'setting.set',
          data: { value: payload, authority: { ...authority } },
          ...(cause !== undefined && { cause }),
        },
      ],
    },
  ],
}
const roles: ChangeKind = { ...note, name: 'setting.roles', neverInEmergency: true }
const outside: ChangeKind = {
  name: 'external.*',
  what: 'does something elsewhere',
  payload: Type.Unknown(),
  beneficiaries: () => [],
  base: () => ({}),
  diff: (payload) => ({ before: null, after: payload }),
  outside: () => 'taken',
}
const kinds = new Kinds([note, roles, outside])

const [ada, ben, cy] = ['person:ada', 'person:ben', 'person:cy'] as const
const tokens = { [ada]: 'token:ADA', [ben]: 'token:BEN', [cy]: 'token:CY' }
type Person = keyof typeof tokens

/** A log in which approvals are enforced, and a story goes on. */
class Story {
  readonly script = new Script()
  readonly entries: StreamEntry[] = []
  change: ChangeState | undefined

  constructor() {
    const setup = { authority: { setup: true } }
    this.add('role/approver', 'role.defined', { role: 'approver', permissions: ['*/*:*'], inherits: [], ...setup })
    for (const person of [ada, ben, cy] as const) {
      const stream = `principal/${person}`
      this.add(stream, 'principal.registered', { principal: person, kind: 'person', ...setup })
      this.add(stream, 'role.granted', { principal: person, role: 'approver', ...setup })
      this.add(`token/${tokens[person].slice('token:'.length)}`, 'token.created', {
        principal: person,
        permissions: ['*/*:*'],
      })
    }
    this.add('approvals/enforcement', 'approvals.enforced')
  }

  add(stream: string, type: string, data: object = {}, who?: { by: string; via: string }): StreamEntry {
    const entry = this.script.entry(stream, type, data, who)
    this.entries.push(entry)
    return entry
  }

  request(overrides: object = {}, kind = note.name): this {
    const payload = { text: 'hello' }
    const hashed = { tenant: TENANT, change: '01CHANGE', kind, payload, sealed: [], nonce: 'bm9uY2U=' }
    const until = new Date(this.script.nowMs + DEFAULT_POLICY.ttlMs).toISOString()
    this.onChange(
      'change.requested',
      {
        kind,
        payload,
        payloadHash: payloadHash(hashed),
        nonce: hashed.nonce,
        policy: DEFAULT_POLICY,
        policyHash: policyHash(DEFAULT_POLICY),
        expiresAt: until,
        applyBy: until,
        base: { 'setting/note': 0 },
        beneficiaries: [],
        ...overrides,
      },
      ada,
    )
    return this
  }

  vote(...people: readonly Person[]): this {
    for (const voter of people) {
      const statement = statementOf(TENANT, this.requested(), { voter, decision: 'approve' })
      this.onChange('change.voted', { decision: 'approve', statement }, voter)
    }
    return this
  }

  approve(): this {
    const notBefore = new Date(this.script.nowMs).toISOString()
    const votes = this.requested().votes.map(({ seq }) => seq)
    this.onChange('change.approved', { notBefore, votes }, cy)
    return this
  }

  effect(text = 'hello'): this {
    const cause = this.requested().approved?.seq
    const entry = this.script.entry('setting/note', 'setting.set', {
      value: { text },
      authority: { change: '01CHANGE' },
    })
    this.entries.push({ ...entry, event: { ...entry.event, ...(cause !== undefined && { cause }) } })
    return this
  }

  applied(): this {
    this.onChange('change.applied')
    return this
  }

  onChange(type: string, data: object = {}, by?: Person): void {
    const who = by === undefined ? undefined : { by, via: tokens[by] }
    this.change = evolveChange(this.change, this.add('change/01CHANGE', type, data, who))
  }

  /** Codes of the findings. */
  found(): string[] {
    const audit = new ChangeAudit(TENANT, kinds)
    const seen = this.entries.flatMap((entry) => audit.see(entry))
    return [...seen, ...audit.end()].map(({ code }) => code)
  }

  private requested(): ChangeState {
    if (this.change === undefined) throw new Error('nothing was requested')
    return this.change
  }
}

describe('an audit of changes', () => {
  test('finds nothing where all went by the rules', () => {
    expect(new Story().request().vote(ben, cy).approve().effect().applied().found()).toEqual([])
  })

  test('finds a change that was applied without having been approved', () => {
    const story = new Story().request().vote(ben)
    story.add('setting/note', 'setting.set', { value: { text: 'hello' }, authority: { change: '01CHANGE' } })
    expect(story.applied().found()).toEqual([
      'PROTECTED_WITHOUT_CHANGE',
      'CHANGE_NOT_APPROVED',
      'CHANGE_EFFECTS_DIFFER',
      // What it rested on has moved by its own effect.
      'CHANGE_EFFECTS_DIFFER',
    ])
  })

  test('finds an approval with too few votes', () => {
    expect(new Story().request().vote(ben).approve().effect().applied().found()).toEqual(['CHANGE_NOT_APPROVED'])
  })

  test('finds the requester among the voters', () => {
    expect(new Story().request().vote(ada, ben).approve().effect().applied().found()).toEqual(['CHANGE_NOT_APPROVED'])
  })

  test('finds votes whose ground was gone', () => {
    const story = new Story().request().vote(ben, cy).approve()
    story.add('principal/person:cy', 'role.revoked', { principal: cy, role: 'approver' })
    expect(story.effect().applied().found()).toEqual(['CHANGE_NOT_APPROVED'])
  })

  test('finds votes of a token that was revoked', () => {
    const story = new Story().request().vote(ben, cy).approve()
    story.add('token/CY', 'token.revoked')
    expect(story.effect().applied().found()).toEqual(['CHANGE_NOT_APPROVED'])
  })

  test('finds what was applied too late', () => {
    const story = new Story().request().vote(ben, cy).approve()
    story.script.nowMs += 73 * HOUR_MS
    expect(story.effect().applied().found()).toEqual(['CHANGE_NOT_APPROVED'])
  })

  test('finds an effect that nobody approved', () => {
    expect(new Story().request().vote(ben, cy).approve().effect('goodbye').applied().found()).toEqual([
      'CHANGE_EFFECTS_DIFFER',
    ])
  })

  test('finds an approved change without its effect, and one with more', () => {
    expect(new Story().request().vote(ben, cy).approve().applied().found()).toEqual(['CHANGE_EFFECTS_DIFFER'])
    expect(new Story().request().vote(ben, cy).approve().effect().effect().applied().found()).toEqual([
      'CHANGE_EFFECTS_DIFFER',
    ])
  })

  test('finds a change whose base had moved', () => {
    expect(
      new Story()
        .request({ base: { 'setting/note': 7 } })
        .vote(ben, cy)
        .approve()
        .effect()
        .applied()
        .found(),
    ).toEqual(['CHANGE_EFFECTS_DIFFER'])
  })

  test.each([
    ['payload', { payload: { text: 'other' } }],
    ['policy', { policy: { ...DEFAULT_POLICY, denyQuorum: 3 } }],
  ])('finds a request whose %s is not what its hash says', (_what, overrides) => {
    expect(new Story().request(overrides).found()).toEqual(['CHANGE_REQUEST_DIFFERS'])
  })

  test('finds a request under a policy of its own making', () => {
    const policy = { ...DEFAULT_POLICY, groups: [{ name: 'me', count: 1 }] }
    const story = new Story().request({ policy, policyHash: policyHash(policy) })
    expect(story.found()).toEqual(['CHANGE_REQUEST_DIFFERS'])
  })

  test('finds protected entries that rest on nothing, and takes those of setup and of the host', () => {
    const story = new Story()
    const who = { by: ada, via: 'token:ADA' }
    story.add('role/mine', 'role.defined', { role: 'mine', permissions: ['*/*:*'], inherits: [] }, who)
    story.add('role/mine', 'role.defined', { role: 'mine', authority: { setup: true } }, who)
    story.add('role/mine', 'role.defined', { role: 'mine', authority: { override: true } }, who)
    story.add('token/EVE', 'token.created', { principal: 'service:eve', permissions: ['access/*:write'] }, who)
    expect(story.found()).toEqual(Array(4).fill('PROTECTED_WITHOUT_CHANGE'))

    const fine = new Story()
    fine.add('role/mine', 'role.defined', {
      role: 'mine',
      permissions: [],
      inherits: [],
      authority: { override: true },
    })
    fine.add('principal/person:cy', 'role.revoked', { principal: cy, role: 'approver' }, who)
    fine.add('token/BEN', 'token.revoked', {}, who)
    fine.add('token/BOT', 'token.created', { principal: 'service:bot', permissions: ['ledger/events:write'] }, who)
    expect(fine.found()).toEqual([])
  })

  test('takes break-glass by who was listed, once, and for what may be had so', () => {
    const listed = (kind = note.name) => {
      const story = new Story()
      story.add('approvals/emergency', 'emergency.listed', {
        people: [ben],
        kinds: [kind],
        authority: { override: true },
      })
      return story
    }
    const used = (story: Story, by: Person, kind = note.name) => {
      story.request({}, kind).onChange('change.emergency-used', {}, by)
      return story.effect().applied().found()
    }
    expect(used(listed(), ben)).toEqual([])
    // When it was used, and again when it was applied.
    expect(used(listed(), cy)).toEqual(['CHANGE_NOT_APPROVED', 'CHANGE_NOT_APPROVED'])
    expect(used(new Story(), ben)).toEqual(['CHANGE_NOT_APPROVED', 'CHANGE_NOT_APPROVED'])
    expect(used(listed(roles.name), ben, roles.name)).toEqual(['CHANGE_NOT_APPROVED'])
  })

  test('finds a use of break-glass by a token that was revoked, one that was late, and votes too few after it', () => {
    const listed = () => {
      const story = new Story()
      const list = { people: [ben], kinds: [note.name], authority: { override: true } }
      story.add('approvals/emergency', 'emergency.listed', list)
      return story
    }
    const revoked = listed().request()
    revoked.add('token/BEN', 'token.revoked')
    revoked.onChange('change.emergency-used', {}, ben)
    expect(revoked.effect().applied().found()).toEqual(['CHANGE_NOT_APPROVED'])

    const late = listed().request()
    late.onChange('change.emergency-used', {}, ben)
    late.script.nowMs += 2 * HOUR_MS
    expect(late.effect().applied().found()).toEqual(['CHANGE_NOT_APPROVED'])

    const voted = listed().request()
    voted.onChange('change.emergency-used', {}, ben)
    voted.onChange('change.reopened', { votes: [] })
    expect(voted.vote(cy).approve().effect().applied().found()).toEqual(['CHANGE_NOT_APPROVED'])
  })

  test('finds a review by who broke glass, and the next use after it', () => {
    const story = new Story()
    const list = { people: [ben], kinds: [note.name], authority: { override: true } }
    story.add('approvals/emergency', 'emergency.listed', list)
    story.request().onChange('change.emergency-used', {}, ben)
    story.effect().applied().onChange('change.reviewed', { verdict: 'justified' }, ben)
    expect(story.found()).toEqual(['CHANGE_NOT_APPROVED'])
  })

  test('finds protected entries whose change was never applied, or ended otherwise', () => {
    expect(new Story().request().approve().effect().found()).toEqual(['PROTECTED_WITHOUT_CHANGE'])
    const failed = new Story().request().approve().effect()
    failed.onChange('change.failed', { code: 'ROLE_UNKNOWN' })
    expect(failed.found()).toEqual(['PROTECTED_WITHOUT_CHANGE'])
  })

  test('finds protected entries that rest on a change outside the service', () => {
    const story = new Story().request({ base: {} }, 'external.billing').vote(ben, cy).approve()
    expect(story.effect().applied().found()).toEqual(['CHANGE_EFFECTS_DIFFER'])
  })

  test('finds a grant that was redeemed and never given out, or after its end', () => {
    const granted = (lasts: number, jti: string) => {
      const story = new Story().request({ base: {} }, 'external.billing').vote(ben, cy).approve()
      const expiresAt = new Date(story.script.nowMs + HOUR_MS).toISOString()
      story.onChange('change.granted', { jti: 'one', kid: 'k', expiresAt }, ada)
      story.script.nowMs += lasts
      story.onChange('change.redeemed', { jti })
      return story.applied().found()
    }
    expect(granted(HOUR_MS - 1, 'one')).toEqual([])
    expect(granted(HOUR_MS, 'one')).toEqual(['CHANGE_NOT_APPROVED'])
    expect(granted(0, 'two')).toEqual(['CHANGE_NOT_APPROVED'])
  })

  test('finds what is applied after its end', () => {
    const story = new Story().request({ base: {} }, 'external.billing')
    story.onChange('change.rejected', { votes: [] })
    expect(story.vote(ben, cy).approve().applied().found()).toEqual(['CHANGE_NOT_APPROVED', 'CHANGE_NOT_APPROVED'])
  })

  test('finds votes of a token that had expired', () => {
    const story = new Story()
    const expiresAt = new Date(story.script.nowMs + HOUR_MS).toISOString()
    const grant = { principal: cy, permissions: ['*/*:*'], expiresAt, authority: { override: true } }
    story.add('token/SHORT', 'token.created', grant)
    story.request().vote(ben)
    story.script.nowMs += HOUR_MS
    story.vote(cy)
    const last = story.entries.pop() ?? expect.fail('no vote')
    story.entries.push({ ...last, via: 'token:SHORT' })
    expect(story.approve().effect().applied().found()).toEqual(['CHANGE_NOT_APPROVED'])
  })

  test('goes on behind a change of a kind that nobody knows', () => {
    const story = new Story().request({}, 'setting.unknown').vote(ben, cy).approve().applied()
    story.add('role/mine', 'role.defined', { role: 'mine', permissions: ['*/*:*'], inherits: [] })
    expect(story.found()).toEqual(['CHANGE_NOT_APPROVED', 'CHANGE_EFFECTS_DIFFER', 'PROTECTED_WITHOUT_CHANGE'])
  })
})
