import { Check } from 'typebox/value'
import { describe, expect, test } from 'vitest'
import { Kinds, type EffectContext } from '../../src/approvals/kind.js'
import { NO_GOVERNANCE, type Governance } from '../../src/approvals/governance.js'
import { foldAccess, NO_ACCESS, type Access } from '../../src/auth/access.js'
import { accessKinds } from '../../src/auth/kinds.js'
import type { Json } from '../../src/ledger/event.js'
import { host } from '../../src/principal.js'
import { accessEntries } from '../support/access.js'

const [ada, ada2, bob, eve] = ['person:01A', 'person:01A2', 'person:01B', 'person:01E'] as const
const kinds = new Kinds(accessKinds)

const registered = (principal: string, more: object = {}) =>
  [
    `principal/${principal}`,
    'principal.registered',
    { principal, kind: principal.startsWith('person:') ? 'person' : 'service', ...more },
  ] as const
const granted = (principal: string, role: string) =>
  [`principal/${principal}`, 'role.granted', { principal, role }] as const
const defined = (role: string, permissions: string[], inherits: string[] = []) =>
  [`role/${role}`, 'role.defined', { role, permissions, inherits }] as const

const acme = foldAccess(
  NO_ACCESS,
  accessEntries([
    defined('clerk', ['ledger/events:write']),
    defined('lead', ['ledger/entries:read'], ['clerk']),
    defined('spare', ['reports/reports:read']),
    registered(ada),
    registered(ada2),
    [`principal/${ada2}`, 'principal.linked', { principal: ada2, sameAs: ada }],
    registered(bob),
    registered('service:crm', { owner: bob }),
    registered('service:old'),
    ['principal/service:old', 'principal.disabled', { principal: 'service:old' }],
    granted(ada, 'lead'),
    granted('service:crm', 'clerk'),
  ]),
)

const governanceOf = (access: Access): Governance => ({ ...NO_GOVERNANCE, access })
const inSetup: EffectContext = {
  governance: governanceOf(acme),
  authority: { setup: true },
  by: host('acme'),
  nowMs: 0,
}

function effectsOf(name: string, payload: Json, context: Partial<EffectContext> = {}) {
  const { effects } = kinds.find(name)
  if (!effects) throw new Error('no effects')
  return effects(payload, { ...inSetup, ...context })
}

function failureOf(work: () => unknown): unknown {
  try {
    work()
    return undefined
  } catch (error) {
    return error
  }
}

describe('what takes effect', () => {
  test('a role is defined, with who did it and why it may', () => {
    const payload = { role: 'auditor', permissions: ['ledger/*:read', 'reports/*:read'], inherits: ['spare'] }
    expect(effectsOf('role.define', payload, { authority: { change: '01C' }, cause: 7 })).toEqual([
      {
        stream: 'role/auditor',
        events: [
          {
            type: 'role.defined',
            actor: { id: 'service:host', type: 'service' },
            cause: 7,
            data: { ...payload, authority: { change: '01C' } },
            targets: [{ id: 'role:auditor', type: 'role' }],
          },
        ],
      },
    ])
  })

  test('folding the effects gives what the diff promised', () => {
    const each: [string, Json][] = [
      ['role.define', { role: 'clerk', permissions: ['a/b:c', 'ledger/events:write'] }],
      ['role.remove', { role: 'spare' }],
      ['role.grant', { principal: bob, role: 'clerk' }],
      ['principal.register', { principal: eve }],
      ['principal.register', { principal: 'service:old', owner: ada }],
      ['principal.link', { principal: bob, sameAs: ada }],
      ['principal.unlink', { principal: ada2 }],
    ]
    for (const [name, payload] of each) {
      const kind = kinds.find(name)
      const entries = effectsOf(name, payload).flatMap(({ stream, events }) =>
        events.map((event) => [stream, event.type, event.data ?? {}] as const),
      )
      expect(entries).toHaveLength(1)
      const after = governanceOf(foldAccess(acme, accessEntries(entries)))
      const promised = kind.diff(payload, governanceOf(acme)).after
      if (name === 'role.remove') expect([promised, after.access.roles['spare']]).toEqual([null, undefined])
      else expect(kind.diff(payload, after)).toEqual({ before: promised, after: promised })
      expect(kind.diff(payload, governanceOf(acme)).before).not.toEqual(promised)
    }
  })

  test.each([
    ['role.define', { role: 'clerk', permissions: ['ledger/events:write', 'ledger/events:write'] }],
    ['role.grant', { principal: ada, role: 'lead' }],
    ['role.remove', { role: 'nothing' }],
    ['principal.register', { principal: bob }],
    ['principal.register', { principal: 'service:crm' }],
    ['principal.register', { principal: 'service:crm', owner: bob }],
    ['principal.link', { principal: ada, sameAs: ada2 }],
    ['principal.unlink', { principal: bob }],
  ])('%s %j is so already and changes nothing', (name, payload) => {
    expect(effectsOf(name, payload)).toEqual([])
  })
})

describe('what cannot be done', () => {
  test.each([
    ['role.define', { role: 'own:bob', permissions: ['a/b:c'] }, 'ROLE_INVALID', '/role'],
    ['role.define', { role: 'Clerk', permissions: ['a/b:c'] }, 'ROLE_INVALID', '/role'],
    ['role.define', { role: 'new', permissions: [] }, 'ROLE_INVALID', '/permissions'],
    ['role.define', { role: 'new', permissions: ['a/b:c', 'a'] }, 'PERMISSION_INVALID', '/permissions/1'],
    ['role.define', { role: 'new', permissions: [], inherits: ['gone'] }, 'ROLE_UNKNOWN', '/inherits/0'],
    ['role.define', { role: 'new', permissions: [], inherits: ['new'] }, 'ROLE_CYCLE', '/inherits/0'],
    ['role.define', { role: 'clerk', permissions: [], inherits: ['spare', 'lead'] }, 'ROLE_CYCLE', '/inherits/1'],
    ['role.remove', { role: 'clerk' }, 'ROLE_IN_USE', '/role'],
    ['role.grant', { principal: bob, role: 'gone' }, 'ROLE_UNKNOWN', '/role'],
    ['role.grant', { principal: eve, role: 'clerk' }, 'PRINCIPAL_UNKNOWN', '/principal'],
    ['role.grant', { principal: 'service:old', role: 'clerk' }, 'PRINCIPAL_DISABLED', '/principal'],
    ['principal.register', { principal: 'nobody' }, 'PRINCIPAL_INVALID', '/principal'],
    ['principal.register', { principal: 'service:host' }, 'PRINCIPAL_RESERVED', '/principal'],
    ['principal.register', { principal: 'service:countersign' }, 'PRINCIPAL_RESERVED', '/principal'],
    ['principal.register', { principal: 'service:new', owner: eve }, 'PRINCIPAL_UNKNOWN', '/owner'],
    ['principal.register', { principal: bob, owner: ada }, 'PRINCIPAL_OWNER_INVALID', '/owner'],
    ['principal.register', { principal: 'service:crm', owner: 'service:crm' }, 'PRINCIPAL_OWNER_INVALID', '/owner'],
    ['principal.link', { principal: ada2, sameAs: bob }, 'PRINCIPAL_LINKED', '/principal'],
    ['principal.link', { principal: ada, sameAs: 'service:crm' }, 'PRINCIPAL_NOT_A_PERSON', '/sameAs'],
    ['principal.link', { principal: eve, sameAs: ada }, 'PRINCIPAL_UNKNOWN', '/principal'],
    ['principal.unlink', { principal: eve }, 'PRINCIPAL_UNKNOWN', '/principal'],
  ])('%s %j: %s', (name, payload, code, pointer) => {
    for (const work of [() => effectsOf(name, payload), () => kinds.find(name).diff(payload, inSetup.governance)]) {
      expect(failureOf(work)).toMatchObject({ code, pointer })
    }
  })

  test("nobody grants what they do not have; what was approved may go beyond its requester's", () => {
    const by = { ...host('acme'), id: 'service:crm', permissions: ['ledger/events:write', 'access/*:write'] }
    const escalating: [string, Json, string][] = [
      ['role.define', { role: 'new', permissions: ['ledger/events:write', 'a/b:c'] }, '/permissions/1'],
      ['role.define', { role: 'new', permissions: [], inherits: ['spare'] }, '/inherits'],
      ['role.grant', { principal: bob, role: 'lead' }, '/role'],
    ]
    for (const [name, payload, pointer] of escalating) {
      expect(failureOf(() => effectsOf(name, payload, { by }))).toMatchObject({
        code: 'PERMISSION_ESCALATION',
        pointer,
      })
      expect(effectsOf(name, payload, { by, authority: { change: '01C' }, cause: 1 })).toHaveLength(1)
    }
    expect(effectsOf('role.grant', { principal: bob, role: 'clerk' }, { by })).toHaveLength(1)
    // Narrowing what one does not have oneself is no escalation.
    expect(effectsOf('role.define', { role: 'lead', permissions: ['ledger/entries:read'] }, { by })).toHaveLength(1)
  })

  test('who was disabled is brought back by who has what its roles allow', () => {
    const off = foldAccess(acme, accessEntries([[`principal/${ada}`, 'principal.disabled', { principal: ada }]]))
    const by = { ...host('acme'), permissions: ['access/*:write'] }
    const context = { governance: governanceOf(off), by }
    expect(failureOf(() => effectsOf('principal.register', { principal: ada }, context))).toMatchObject({
      code: 'PERMISSION_ESCALATION',
    })
    expect(effectsOf('principal.register', { principal: ada }, { ...context, by: host('acme') })).toHaveLength(1)
  })
})

describe('who gains, and so may not vote', () => {
  test.each([
    ['role.grant', { principal: ada2, role: 'clerk' }, [ada, ada2]],
    ['role.grant', { principal: 'service:crm', role: 'lead' }, ['service:crm', bob]],
    ['role.define', { role: 'clerk', permissions: ['a/b:c', 'ledger/events:write'] }, [ada, ada2, 'service:crm', bob]],
    ['role.define', { role: 'lead', permissions: ['a/b:c', 'ledger/entries:read'], inherits: ['clerk'] }, [ada, ada2]],
    ['role.define', { role: 'lead', permissions: ['ledger/entries:read'] }, []],
    ['role.define', { role: 'new', permissions: ['a/b:c'] }, []],
    ['role.remove', { role: 'spare' }, []],
    ['principal.register', { principal: 'service:crm', owner: ada }, ['service:crm', ada, ada2, bob]],
    ['principal.link', { principal: bob, sameAs: ada }, [bob, ada, ada2]],
    ['principal.unlink', { principal: ada2 }, [ada, ada2]],
  ])('%s %j: %j', (name, payload, expected) => {
    expect(new Set(kinds.find(name).beneficiaries(payload, inSetup.governance))).toEqual(new Set(expected))
  })
})

test('a change rests on the versions of what it looked at', () => {
  const base = (name: string, payload: Json) => kinds.find(name).base(payload, inSetup.governance)
  expect(base('role.define', { role: 'new', permissions: [], inherits: ['lead'] })).toEqual({
    'role/new': 0,
    'role/lead': 1,
    'role/clerk': 1,
  })
  expect(base('role.grant', { principal: ada, role: 'lead' })).toEqual({
    [`principal/${ada}`]: 2,
    'role/lead': 1,
    'role/clerk': 1,
  })
  expect(base('principal.register', { principal: 'service:new', owner: bob })).toEqual({
    'principal/service:new': 0,
    [`principal/${bob}`]: 1,
  })
  expect(base('principal.link', { principal: ada2, sameAs: ada })).toEqual({
    [`principal/${ada2}`]: 2,
    [`principal/${ada}`]: 2,
  })
})

test.each([
  ['role.define', {}],
  ['role.define', { role: 'a', permissions: 'a/b:c' }],
  ['role.define', { role: 'a', permissions: Array.from({ length: 65 }, () => 'a/b:c') }],
  ['role.define', { role: 'a', permissions: [], more: 1 }],
  ['role.grant', { principal: ada }],
  ['principal.link', { principal: ada }],
  ['principal.register', { principal: ada, owner: null }],
])('the payload of %s is not %j', (name, payload) => {
  expect(Check(kinds.find(name).payload, payload)).toBe(false)
})

test('none of them can be made by break-glass', () => {
  expect(accessKinds.every(({ neverInEmergency }) => neverInEmergency)).toBe(true)
})
