import { expect, test } from 'vitest'
import { ADMIN, AUDITOR, permissions } from '../../src/auth/permissions.js'
import { isSensitive } from '../../src/auth/sensitive.js'

test.each([
  [ADMIN, true],
  [AUDITOR, false],
  [['ledger/events:write', 'ledger/entries:read'], false],
  [['ledger/*:*'], false],
  [['access/tokens:write'], true],
  [['access/tokens:read'], false],
  [['access/*:*'], true],
  [['*/tokens:write'], true],
  [['*/*:read'], false],
  [['*/*:approve'], true],
  [['changes/role.define:approve'], true],
  [['changes/external.billing:request', 'changes/*:read'], false],
  [['changes/*:*'], true],
  [['personal/subjects:find'], true],
  [['personal/address:reveal'], true],
  [['reports/reports:write', 'personal/*:reveal'], true],
  [['settings/settings:write'], true],
  [[], false],
])('%j is sensitive: %s', (granted, expected) => {
  expect(isSensitive(granted)).toBe(expected)
})

/** What one person may be given alone: everything else that is not looking, asking or taking back takes two. */
const PLAIN = ['grants', 'ledger', 'reports']

test('every part of the API takes two people, or is known not to', () => {
  for (const permission of Object.values(permissions)) {
    const [area = '', , verb = ''] = permission.split(/[/:]/)
    const harmless = PLAIN.includes(area) || ['read', 'request', 'withdraw'].includes(verb)
    expect([permission, isSensitive([permission])]).toEqual([permission, !harmless])
  }
})
