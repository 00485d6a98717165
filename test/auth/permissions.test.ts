import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { allows, checkPermission, PERMISSION } from '../../src/auth/permissions.js'

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
])('%j covers %s: %s', (granted, needed, expected) => {
  expect(allows(granted, needed)).toBe(expected)
})

test.each(['', 'a', 'a/b', 'a:b', 'a/b/c:d', 'a/b:c:d', 'A/b:c', 'a/b*:c', 'a/**:c', ' a/b:c', 'a/b:c\n', '1a/b:c'])(
  '%j is no permission',
  (text) => {
    expect(() => checkPermission(text)).toThrow(expect.objectContaining({ code: 'PERMISSION_INVALID' }) as Error)
  },
)

describe('laws', () => {
  const segment = fc.constantFrom('*', 'a', 'b', 'ledger', 'x-1')
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
})
