import { NamespaceNotFoundError, ServiceError } from '@temporalio/client'
import { expect, test } from 'vitest'
import { faultOf } from '../../src/dispatcher/faults.js'

const answered = (code: number) =>
  new ServiceError('failed', { cause: Object.assign(new Error('a text with data'), { code }) })

test.each([
  { code: 3, kind: 'poison', name: 'INVALID_ARGUMENT' },
  { code: 11, kind: 'poison', name: 'OUT_OF_RANGE' },
  { code: 1, kind: 'outage', name: 'CANCELLED' },
  { code: 4, kind: 'outage', name: 'DEADLINE_EXCEEDED' },
  { code: 7, kind: 'outage', name: 'PERMISSION_DENIED' },
  { code: 8, kind: 'outage', name: 'RESOURCE_EXHAUSTED' },
  { code: 9, kind: 'outage', name: 'FAILED_PRECONDITION' },
  { code: 14, kind: 'outage', name: 'UNAVAILABLE' },
  { code: 16, kind: 'outage', name: 'UNAUTHENTICATED' },
  { code: 13, kind: 'obscure', name: 'INTERNAL' },
  { code: 2, kind: 'obscure', name: 'UNKNOWN' },
])('$name is $kind', ({ code, kind, name }) => {
  expect(faultOf(answered(code))).toEqual({ kind, code: name })
})

test('a namespace that is not there is an outage: whoever runs Temporal makes it', () => {
  expect(faultOf(new NamespaceNotFoundError('countersign'))).toEqual({ kind: 'outage', code: 'NOT_FOUND' })
})

test('what no gRPC said is obscure, and its text goes nowhere', () => {
  expect(faultOf(new TypeError('ada@example.org is not a function'))).toEqual({ kind: 'obscure', code: 'INTERNAL' })
})
