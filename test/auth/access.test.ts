import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  evolveAccess,
  foldAccess,
  holdsRole,
  linkedTo,
  NO_ACCESS,
  ownersOf,
  personOf,
  rolePermissions,
} from '../../src/auth/access.js'
import { allows } from '../../src/auth/permissions.js'
import { accessEntries } from '../support/access.js'

const [ada, bob, eve] = ['person:01A', 'person:01B', 'person:01E'] as const

const acme = foldAccess(
  NO_ACCESS,
  accessEntries([
    ['role/clerk', 'role.defined', { role: 'clerk', permissions: ['ledger/events:write'] }],
    ['role/approver', 'role.defined', { role: 'approver', permissions: ['changes/*:approve'], inherits: ['clerk'] }],
    [`principal/${ada}`, 'principal.registered', { principal: ada, kind: 'person' }],
    [`principal/${ada}`, 'role.granted', { principal: ada, role: 'approver' }],
    [`principal/${bob}`, 'principal.registered', { principal: bob, kind: 'person' }],
    [`principal/${bob}`, 'principal.linked', { principal: bob, sameAs: ada }],
    ['principal/service:crm', 'principal.registered', { principal: 'service:crm', kind: 'service', owner: bob }],
    [
      'principal/service:job',
      'principal.registered',
      { principal: 'service:job', kind: 'service', owner: 'service:crm' },
    ],
  ]),
)

test('a role has what it inherits, and so has who holds it', () => {
  expect([...rolePermissions(acme, ada)].sort()).toEqual(['changes/*:approve', 'ledger/events:write'])
  expect([holdsRole(acme, ada, 'approver'), holdsRole(acme, ada, 'clerk')]).toEqual([true, true])
  expect(holdsRole(acme, ada, 'auditor')).toBe(false)
})

test('people who are linked count as one, and keep their own roles', () => {
  expect([ada, bob, eve].map((who) => personOf(acme, who))).toEqual([ada, ada, eve])
  expect(new Set(linkedTo(acme, ada))).toEqual(new Set([ada, bob]))
  expect(new Set(linkedTo(acme, bob))).toEqual(new Set([ada, bob]))
  expect(rolePermissions(acme, bob)).toEqual([])
  const apart = foldAccess(acme, accessEntries([[`principal/${bob}`, 'principal.unlinked', { principal: bob }]]))
  expect(personOf(apart, bob)).toBe(bob)
})

test('a service has the owners of its owner', () => {
  expect(ownersOf(acme, 'service:job')).toEqual(['service:crm', bob])
  expect(ownersOf(acme, ada)).toEqual([])
  expect(ownersOf(acme, 'service:nobody')).toEqual([])
})

test('who is disabled or not registered may do nothing', () => {
  const disabled = foldAccess(acme, accessEntries([[`principal/${ada}`, 'principal.disabled', { principal: ada }]]))
  expect(rolePermissions(disabled, ada)).toEqual([])
  expect(holdsRole(disabled, ada, 'approver')).toBe(false)
  expect(rolePermissions(acme, eve)).toEqual([])
  const again = foldAccess(
    disabled,
    accessEntries([[`principal/${ada}`, 'principal.registered', { principal: ada, kind: 'person' }]]),
  )
  expect(holdsRole(again, ada, 'approver')).toBe(true)
})

test('a role that was removed, or taken away, allows nothing', () => {
  const removed = foldAccess(acme, accessEntries([['role/clerk', 'role.removed', { role: 'clerk' }]]))
  expect(rolePermissions(removed, ada)).toEqual(['changes/*:approve'])
  const revoked = foldAccess(
    acme,
    accessEntries([[`principal/${ada}`, 'role.revoked', { principal: ada, role: 'approver' }]]),
  )
  expect(rolePermissions(revoked, ada)).toEqual([])
})

test('versions are those of the streams', () => {
  expect(acme.principals[ada]?.version).toBe(2)
  expect(acme.roles['approver']?.version).toBe(1)
})

test.each(['__proto__', 'constructor', 'toString'])('a role or a principal may be called %s', (name) => {
  expect(NO_ACCESS.roles[name]).toBeUndefined()
  expect(rolePermissions(acme, name)).toEqual([])
  const access = foldAccess(
    NO_ACCESS,
    accessEntries([
      [`role/${name}`, 'role.defined', { role: name, permissions: ['a/b:c'] }],
      [`principal/${name}`, 'principal.registered', { principal: name, kind: 'service' }],
      [`principal/${name}`, 'role.granted', { principal: name, role: name }],
    ]),
  )
  expect(rolePermissions(access, name)).toEqual(['a/b:c'])
})

test('what is on other streams changes nothing', () => {
  expect(evolveAccess(acme, ...only(accessEntries([['policy/role.define', 'policy.set', {}]])))).toBe(acme)
})

describe('laws', () => {
  const names = ['a', 'b', 'c', 'd']
  const name = fc.constantFrom(...names)
  const entry = fc.oneof(
    fc.tuple(name, fc.subarray(names)).map(([role, inherits]) => {
      const data = { role, permissions: [`area/${role}:do`], inherits }
      return [`role/${role}`, 'role.defined', data] as const
    }),
    name.map((role) => [`role/${role}`, 'role.removed', { role }] as const),
    name.map((who) => [`principal/${who}`, 'principal.registered', { principal: who, kind: 'person' }] as const),
    fc
      .tuple(name, name)
      .map(([who, to]) => [`principal/${who}`, 'principal.linked', { principal: who, sameAs: to }] as const),
    fc.tuple(name, name).map(([who, role]) => [`principal/${who}`, 'role.granted', { principal: who, role }] as const),
    fc.tuple(name, name).map(([who, role]) => [`principal/${who}`, 'role.revoked', { principal: who, role }] as const),
  )

  test('folding one by one or all at once comes to the same, and changes no earlier state', () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 30 }), (given) => {
        const entries = accessEntries(given)
        const before = JSON.stringify(NO_ACCESS)
        let access = NO_ACCESS
        for (const each of entries) access = evolveAccess(access, each)
        expect(access).toEqual(foldAccess(NO_ACCESS, entries))
        expect(JSON.stringify(NO_ACCESS)).toBe(before)
        for (const who of names) {
          for (const role of names) {
            if (holdsRole(access, who, role)) expect(allows(rolePermissions(access, who), `area/${role}:do`)).toBe(true)
          }
        }
      }),
    )
  })
})

function only<T>(values: readonly T[]): [T] {
  const [first] = values
  if (first === undefined) throw new Error('nothing there')
  return [first]
}
