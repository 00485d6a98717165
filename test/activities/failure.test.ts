import { ApplicationFailure, CancelledFailure, RetryState } from '@temporalio/common'
import { expect, test } from 'vitest'
import { toFailure } from '../../src/activities/failure.js'
import { DomainError } from '../../src/errors.js'

const SECRET = 'Jane Doe'

test('what a domain refuses is not tried again, and goes by its code alone', () => {
  const failure = toFailure(new DomainError('CHANGE_CLOSED', `the change of ${SECRET} is closed`))
  expect(failure).toMatchObject({ type: 'CHANGE_CLOSED', message: 'CHANGE_CLOSED', nonRetryable: true })
  expect(JSON.stringify(failure) + String(failure.stack)).not.toContain(SECRET)
})

test('what names a time to try again is tried again then', () => {
  const failure = toFailure(new DomainError('STORE_UNAVAILABLE', SECRET, { retryAfterS: 2 }))
  expect(failure).toMatchObject({ type: 'STORE_UNAVAILABLE', nonRetryable: false, nextRetryDelay: 2_000 })
})

test('an outage or a bug is tried again and tells Temporal nothing', () => {
  const failure = toFailure(new Error(SECRET, { cause: new Error(SECRET) }))
  expect(failure).toMatchObject({ type: 'INTERNAL', nonRetryable: false })
  expect(failure.cause).toBeUndefined()
  expect(JSON.stringify(failure) + String(failure.stack)).not.toContain(SECRET)
})

test('what was meant for Temporal passes', () => {
  for (const meant of [ApplicationFailure.nonRetryable('X', 'X'), new CancelledFailure('CANCELLED')]) {
    expect(toFailure(meant)).toBe(meant)
  }
  expect(RetryState).toBeDefined()
})
