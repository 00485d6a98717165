import { NamespaceNotFoundError } from '@temporalio/client'

/**
 * Why Temporal did not take something.
 * - `poison`: it will never take this one
 * - `outage`: it takes nothing at the moment, or not from us
 * - `obscure`: neither is certain; what is obscure again and again is poison
 */
export interface Fault {
  readonly kind: 'poison' | 'outage' | 'obscure'
  /** gRPC's name for it, or `INTERNAL` where it comes from our own code; never a text, which may hold data. */
  readonly code: string
}

// gRPC's status codes by their numbers.
const NAMES = (
  'OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED ' +
  'RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED'
).split(' ')
const [UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, OUT_OF_RANGE, INTERNAL, DATA_LOSS] = [
  2, 3, 5, 6, 11, 13, 15,
]

const POISON = new Set([INVALID_ARGUMENT, OUT_OF_RANGE])
const OBSCURE = new Set([UNKNOWN, ALREADY_EXISTS, INTERNAL, DATA_LOSS])

export function faultOf(error: unknown): Fault {
  const status = statusOf(error)
  if (status === undefined) return { kind: 'obscure', code: 'INTERNAL' }
  const kind = POISON.has(status) ? 'poison' : OBSCURE.has(status) ? 'obscure' : 'outage'
  return { kind, code: NAMES[status] ?? 'UNKNOWN' }
}

/** The SDK wraps what gRPC said, sometimes twice. */
function statusOf(error: unknown): number | undefined {
  if (error instanceof NamespaceNotFoundError) return NOT_FOUND
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    const { code } = cause as { code?: unknown }
    if (typeof code === 'number') return code
  }
  return undefined
}
