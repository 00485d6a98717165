import { expect, test } from 'vitest'
import { ADMIN, AUDITOR } from '../../src/auth/permissions.js'
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
])('%j is sensitive: %s', (permissions, expected) => {
  expect(isSensitive(permissions)).toBe(expected)
})
