import { Type, type TSchema } from 'typebox'

/** Parts that several routes describe their requests and answers with. Those with an `$id` are components of the description. */

export const Seq = Type.Integer({ minimum: 0, description: 'Place in the log: 0, 1, 2, … without gaps' })
export const At = Type.String({ format: 'date-time', description: 'Recorded time, UTC with milliseconds' })
export const Hash = Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256, 64 hex digits' })
export const PrincipalId = Type.String({
  description: 'A person by pseudonym (`person:…`) or a service (`service:billing`)',
})
export const PermissionText = Type.String({
  description: '`area/resource:verb`; `*` stands for a whole segment',
  examples: ['ledger/events:write'],
})

export const Outcome = Type.Enum(['success', 'failure', 'denied'])

export const ProblemSchema = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String(),
    code: Type.String({ description: 'Stable; docs/errors.md lists them all' }),
    pointer: Type.Optional(
      Type.String({
        description:
          'JSON pointer (RFC 6901) into what was sent; of a header its name in lower case: `/idempotency-key`',
      }),
    ),
    index: Type.Optional(Type.Integer({ description: '0-based index of the event that is to blame' })),
    help: Type.String({ description: 'What to do' }),
    requestId: Type.Optional(Type.String()),
  },
  { $id: 'Problem', title: 'Problem', description: 'RFC 9457 problem document' },
)

const reasons: Readonly<Record<number, string>> = {
  400: 'Something in the request is wrong; `pointer` names it. Nothing was stored',
  401: 'No token, or one that is unknown, revoked or expired',
  403: 'The token lacks the permission, or another tenant was named',
  404: 'There is no such thing in this tenant',
  405: 'Not with this method; `Allow` lists those there are',
  408: 'The request took too long to arrive',
  409: 'In conflict with what is there or under way',
  410: 'Erased: its key was destroyed',
  413: 'Too large',
  415: 'A content type that is not taken',
  422: 'Understood, and not possible',
  429: 'Too many requests; see `Retry-After`',
  500: 'Something went wrong here',
  503: 'The database cannot be reached or the queue is full; see `Retry-After`. Nothing was stored',
}

/** The refusals that a route's description lists: its own, and those that every route with a credential has. */
export function problems(...statuses: number[]): Record<number, TSchema> {
  const all = [...new Set([...statuses, 401, 403, 429, 500, 503])].sort((a, b) => a - b)
  return Object.fromEntries(all.map((status) => [status, problem(status)]))
}

/** The same for routes without a credential. */
export function publicProblems(...statuses: number[]): Record<number, TSchema> {
  return Object.fromEntries([...statuses, 429, 500].map((status) => [status, problem(status)]))
}

function problem(status: number): TSchema {
  return {
    description: reasons[status] ?? 'Refused',
    content: { 'application/problem+json': { schema: Type.Ref('Problem') } },
  }
}

type Writable<T> = T extends object ? { -readonly [K in keyof T]: Writable<T[K]> } : T

/** A value as schemas type it, which know nothing of what is never changed. */
export function answer<T>(value: T): Writable<T> {
  return value as Writable<T>
}
