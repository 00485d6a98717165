import { ActivityFailure, ApplicationFailure } from '@temporalio/workflow'

/** What a failed activity failed with: a code, as all our failures carry. */
export function codeOf(error: unknown): string {
  const cause = error instanceof ActivityFailure ? error.cause : error
  return cause instanceof ApplicationFailure && cause.type ? cause.type : 'RUN_TIMED_OUT'
}
