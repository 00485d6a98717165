import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { allows, checkPermission, intersect, PERMISSION, withoutCovered } from '../../src/auth/permissions.js'

test.each([
  [['ledger/events:write'], 'ledger/events:write', true],
  [['ledger/events:write'], 'ledger/events:read', false],
  [['ledger/*:read'], 'ledger/entries:read', true],
  [['ledger/*:read'], 'ledger/entries:write', false],
  [['*/*:read'], 'reports/reports:read', true],
  [['*/*:*'], 'anything/at-all:goes', true],
  [['personal/*:reveal'], 'personal/address:reveal', true],
  [[], 'a/b:c', false],
  // Granting on: a * is covered by a * alone.
  [['ledger/events:write'], 'ledger/*:write', false],
  [['ledger/*:write'], 'ledger/*:write', true],
  [['ledger/*:write'], '*/*:write', false],
  [['a/b:*', 'a/*:c'], 'a/*:*', false],
  // Segments may have dots; a * still stands for all of one.
  [['changes/*:approve'], 'changes/external.billing:approve', true],
  [['changes/external:approve'], 'changes/external.billing:approve', false],
])('%j covers %s: %s', (granted, needed, expected) => {
  expect(allows(granted, needed)).toBe(expected)
})

test.each([
  [['ledger/*:read'], ['*/entries:*'], ['ledger/entries:read']],
  [['*/*:*'], ['a/b:c', 'changes/role.define:approve'], ['a/b:c', 'changes/role.define:approve']],
  [['a/b:c'], ['a/b:d'], []],
  [[], ['*/*:*'], []],
  [['a/b:c', 'a/*:c'], ['a/*:*'], ['a/*:c']],
])('%j and %j both allow %j', (a, b, expected) => {
  expect(intersect(a, b)).toEqual(expected)
  expect(intersect(b, a)).toEqual(expected)
})

test.each(['changes/role.define:approve', 'a/b.c.d:e', 'a.b/c:d'])('%j is a permission', (text) => {
  expect(() => checkPermission(text)).not.toThrow()
})

test.each(['a/b.:c', 'a/.b:c', 'a/b..c:d', 'a/external.*:c', 'a/b.c.d.e.f:g', 'a/b.1:c'])('%j is none', (text) => {
  expect(() => checkPermission(text)).toThrow(expect.objectContaining({ code: 'PERMISSION_INVALID' }) as Error)
})

test.each(['', 'a', 'a/b', 'a:b', 'a/b/c:d', 'a/b:c:d', 'A/b:c', 'a/b*:c', 'a/**:c', ' a/b:c', 'a/b:c\n', '1a/b:c'])(
  '%j is no permission',
  (text) => {
    expect(() => checkPermission(text)).toThrow(expect.objectContaining({ code: 'PERMISSION_INVALID' }) as Error)
  },
)

describe('laws', () => {
  const segment = fc.constantFrom('*', 'a', 'b', 'ledger', 'x-1', 'a.b')
  const permission = fc.tuple(segment, segment, segment).map(([area, resource, verb]) => `${area}/${resource}:${verb}`)
  const concrete = permission.filter((text) => !text.includes('*'))

  test('every permission has the grammar, and covers itself', () => {
    fc.assert(
      fc.property(permission, (text) => {
        expect(text).toMatch(PERMISSION)
        expect(allows([text], text)).toBe(true)
      }),
    )
  })

  test('what can be passed on allows nothing that its maker may not do', () => {
    fc.assert(
      fc.property(fc.array(permission, { maxLength: 4 }), permission, concrete, (makers, passedOn, needed) => {
        if (allows(makers, passedOn) && allows([passedOn], needed)) expect(allows(makers, needed)).toBe(true)
      }),
    )
  })

  test('what two sets have in common is what both allow', () => {
    const set = fc.array(permission, { maxLength: 5 })
    fc.assert(
      fc.property(set, set, permission, (a, b, needed) => {
        expect(allows(intersect(a, b), needed)).toBe(allows(a, needed) && allows(b, needed))
      }),
    )
  })

  test('leaving out what is covered changes nothing', () => {
    fc.assert(
      fc.property(fc.array(permission, { maxLength: 6 }), permission, (all, needed) => {
        const few = withoutCovered(all)
        expect(allows(few, needed)).toBe(allows(all, needed))
        for (const one of few)
          expect(
            allows(
              few.filter((other) => other !== one),
              one,
            ),
          ).toBe(false)
      }),
    )
  })
})
