import { Type, type Static } from 'typebox'
import { permissions } from '../../auth/permissions.js'
import { DomainError } from '../../errors.js'
import { ingest, type IngestDeps, type Ingested } from '../../keyring/ingest.js'
import { callerOf } from '../authorize.js'
import { identityOf, inBody, modeOf, readEvents } from '../events-body.js'
import { At, Hash, Outcome, PrincipalId, problems, Seq } from '../schemas.js'
import type { App } from '../server.js'

const Accepted = Type.Object(
  {
    entries: Type.Array(
      Type.Object({
        seq: Seq,
        at: At,
        chainHash: Hash,
        actor: Type.Optional(PrincipalId),
        targets: Type.Optional(Type.Array(Type.String())),
        subjects: Type.Optional(
          Type.Array(Type.String(), { description: 'Whom each sealed group is about, in the order of `personal`' }),
        ),
        duplicate: Type.Optional(
          Type.Boolean({ description: 'This CloudEvent was accepted before: this is its first entry' }),
        ),
      }),
      { description: 'In the order of the events' },
    ),
  },
  { title: 'Accepted', description: 'Every event is in the log and durable' },
)

const Id = Type.String({ minLength: 1, maxLength: 255 })
const Identifier = { kind: Type.String({ examples: ['email'] }), value: Type.String({ examples: ['ada@example.org'] }) }
const PartySchema = Type.Union([
  Type.Object({ id: Id, type: Type.Optional(Id) }, { additionalProperties: false }),
  Type.Object(
    { ...Identifier, type: Type.Optional(Id) },
    { additionalProperties: false, description: 'A person: resolved to a pseudonym before anything is written' },
  ),
])

export const EventSchema = Type.Object(
  {
    type: Type.String({ description: 'Dotted words, a past fact', examples: ['role.granted'] }),
    actor: Type.Optional(PartySchema),
    targets: Type.Optional(Type.Array(PartySchema, { minItems: 1, maxItems: 32 })),
    personal: Type.Optional(
      Type.Array(
        Type.Object(
          {
            group: Type.String({ examples: ['address'] }),
            subject: Type.Union([
              Type.String({ description: 'A pseudonym, `person:…`' }),
              Type.Object(Identifier, { additionalProperties: false }),
            ]),
            data: Type.Unknown(),
          },
          { additionalProperties: false },
        ),
        { minItems: 1, description: 'Personal data: sealed under the key of its subject, never in clear in the log' },
      ),
    ),
    data: Type.Optional(Type.Record(Type.String(), Type.Unknown(), { description: 'Anything that is not personal' })),
    id: Type.Optional(Id),
    occurredAt: Type.Optional(
      Type.String({ format: 'date-time', description: 'RFC 3339 with an offset; kept as written' }),
    ),
    outcome: Type.Optional(Outcome),
    reason: Type.Optional(Type.String({ maxLength: 64 })),
    schema: Type.Optional(Type.Integer({ minimum: 1, description: "Version of the type's data" })),
    source: Type.Optional(
      Type.Object(
        {
          name: Type.Optional(Id),
          delivery: Type.Optional(Type.Enum(['at-least-once', 'at-most-once', 'exactly-once'])),
          position: Type.Optional(Id),
          replayable: Type.Optional(Type.Boolean()),
        },
        { additionalProperties: false },
      ),
    ),
    trace: Type.Optional(Type.String({ description: 'W3C traceparent' })),
    cause: Type.Optional(Type.Integer({ minimum: 0, description: 'seq of the entry that led to this' })),
  },
  { additionalProperties: false, $id: 'Event', title: 'Event' },
)

export const CloudEventSchema = Type.Object(
  { specversion: Type.Literal('1.0'), id: Type.String(), source: Type.String(), type: Type.String() },
  { $id: 'CloudEvent', title: 'CloudEvent', description: 'CloudEvents 1.0, JSON event format' },
)

const content = (schema: unknown) => ({ schema })

/** The body as each content type carries it. The gate and `checkEvent` hold it against this, with better words. */
const EventsBody = {
  content: {
    'application/json': content(
      Type.Union([Type.Ref('Event'), Type.Array(Type.Ref('Event'), { minItems: 1, maxItems: 1000 })]),
    ),
    'application/x-ndjson': content(Type.String({ description: 'One event per line' })),
    'application/cloudevents+json': content(Type.Ref('CloudEvent')),
    'application/cloudevents-batch+json': content(Type.Array(Type.Ref('CloudEvent'), { minItems: 1, maxItems: 1000 })),
  },
}

const KEY = /^[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?$/

/**
 * @returns the request's Idempotency-Key
 * @throws DomainError IDEMPOTENCY_KEY_INVALID
 */
function idempotencyKey(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined
  if (typeof header === 'string' && KEY.test(header)) return header
  throw new DomainError('IDEMPOTENCY_KEY_INVALID', 'an Idempotency-Key has 1 to 255 printable ASCII characters')
}

export interface EventRoutes {
  /** Takes in what was read. The bench puts a route without a store beside the real one. */
  readonly take: (...request: TakeArguments) => Promise<Ingested>
  readonly path: string
  readonly bodyLimitBytes: number
}

type TakeArguments = [
  by: Parameters<typeof ingest>[1],
  events: Parameters<typeof ingest>[2],
  options: Parameters<typeof ingest>[3],
]

/** The ingest of the real store. */
export function eventStore(deps: IngestDeps): EventRoutes['take'] {
  return (by, events, options) => ingest(deps, by, events, options)
}

/** `POST /v1/events`. Bodies arrive as bytes, so that the gate sees what was sent. */
export async function eventRoutes(app: App, { take, path, bodyLimitBytes }: EventRoutes): Promise<void> {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))

  app.post(
    path,
    {
      config: { permission: permissions.writeEvents },
      bodyLimit: bodyLimitBytes,
      // Who sends what is not taken learns so before sending all of it.
      onRequest: (request, _reply, done) => {
        modeOf(request.headers)
        done()
      },
      validatorCompiler: () => () => true,
      schema: {
        operationId: 'appendEvents',
        summary: 'Append events',
        description:
          'One event, an array, NDJSON, or CloudEvents 1.0 (structured, batched, or binary mode with `ce-` headers): up to ' +
          '1,000 events, all or nothing. Answers after the commit is durable. With an `Idempotency-Key` a repeat gets the ' +
          'first answer for 7 days; CloudEvents are told apart one by one by `source` and `id`.',
        tags: ['events'],
        headers: Type.Object({
          'idempotency-key': Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
        }),
        body: EventsBody,
        response: { 201: Accepted, ...problems(400, 408, 409, 410, 413, 415, 422) },
      },
    },
    async (request, reply) => {
      const { headers } = request
      const body = (request.body as Buffer | undefined) ?? NOTHING
      const mode = modeOf(headers)
      const key = idempotencyKey(headers['idempotency-key'])
      const read = readEvents(mode, headers, body)
      const { events, keys } = read
      const options =
        key !== undefined
          ? { idempotency: { key, body: identityOf(mode, headers, body) } }
          : keys !== undefined
            ? { eventKeys: keys }
            : undefined
      let answer: Ingested
      try {
        answer = await take(callerOf(request), events, options)
      } catch (error) {
        throw inBody(error, read)
      }
      if (answer.repeated) void reply.header('idempotency-replayed', 'true')
      void reply.code(201)
      return answer as unknown as Static<typeof Accepted>
    },
  )
}

const NOTHING = Buffer.alloc(0)
