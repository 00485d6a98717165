import { CompleteAsyncError } from '@temporalio/activity'
import { ApplicationFailure, CancelledFailure } from '@temporalio/common'
import type { ActivityInterceptorsFactory } from '@temporalio/worker'
import { DomainError } from '../errors.js'

/**
 * What Temporal gets to know of an error: a code, never a text, which may hold data. What a domain refuses is refused
 * again however often it is tried; what names a time to try again, and what is no DomainError (an outage, a bug), is
 * tried again by the activity's retry policy.
 */
export function toFailure(error: unknown): Error {
  if (error instanceof ApplicationFailure || error instanceof CancelledFailure || error instanceof CompleteAsyncError) {
    return error
  }
  if (!(error instanceof DomainError)) {
    return ApplicationFailure.create({ message: 'failed, as the log of the worker says', type: 'INTERNAL' })
  }
  const { code, retryAfterS } = error
  const retry = retryAfterS === undefined ? { nonRetryable: true } : { nextRetryDelay: retryAfterS * 1_000 }
  return ApplicationFailure.create({ message: code, type: code, ...retry })
}

/** Stands round every activity of a worker. @param onUnexpected told of what was neither a domain's refusal nor meant for Temporal */
export function failuresByCode(
  onUnexpected: (error: unknown, activity: string) => void = () => {},
): ActivityInterceptorsFactory {
  return ({ info }) => ({
    inbound: {
      async execute(input, next) {
        try {
          return await next(input)
        } catch (error) {
          const failure = toFailure(error)
          if (failure !== error && !(error instanceof DomainError)) onUnexpected(error, info.activityType)
          throw failure
        }
      },
    },
  })
}
