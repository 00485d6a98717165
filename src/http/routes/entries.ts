import { Readable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { DomainError } from '../../errors.js'
import { permissions } from '../../auth/permissions.js'
import { DEFAULT_LIMIT, getEntry, headOf, listEntries, MAX_LIMIT, streamEntries } from '../../ledger/query.js'
import { callerOf, stillAllowed } from '../authorize.js'
import { At, Hash, Outcome, PrincipalId, problems, Seq } from '../schemas.js'
import type { App, ServerDeps } from '../server.js'
import { eventStream, goneSignal, linesOf } from '../stream.js'

const EntryMembers = {
  seq: Seq,
  at: At,
  by: PrincipalId,
  via: Type.String({ description: 'The credential used: `token:…`, `session:…` or `host`' }),
  stream: Type.Optional(Type.String({ description: 'Only entries of commands' })),
  version: Type.Optional(Type.Integer({ minimum: 1 })),
  reported: Type.Boolean({ description: 'Somebody reported it; the log acts on nothing of it' }),
  event: Type.Object(
    { type: Type.String() },
    { additionalProperties: true, description: 'People by pseudonym, personal data by commitment' },
  ),
  chainHash: Hash,
}
export const EntrySchema = Type.Object(EntryMembers, { $id: 'Entry', title: 'Entry' })

const Text = Type.String({ minLength: 1, maxLength: 255 })
const Time = Type.String({ description: 'RFC 3339 with an offset', examples: ['2026-11-20T10:00:00Z'] })

const Filter = {
  type: Type.Optional(Type.String({ description: 'An event type, or a prefix: `role.*`', examples: ['role.*'] })),
  actor: Type.Optional(Text),
  target: Type.Optional(Type.String({ minLength: 1, maxLength: 255, description: "Any of an entry's targets" })),
  subject: Type.Optional(
    Type.String({ description: 'A person, by pseudonym: acting, acted on, or with personal data sealed in it' }),
  ),
  stream: Type.Optional(Text),
  outcome: Type.Optional(Outcome),
  fromSeq: Type.Optional(Seq),
  toSeq: Type.Optional(Type.Integer({ minimum: 0, description: 'Included' })),
  from: Type.Optional(Time),
  to: Type.Optional(Type.String({ description: 'RFC 3339 with an offset; recorded before this' })),
  occurredFrom: Type.Optional(Time),
  occurredTo: Type.Optional(Time),
}

const IndexedUpTo = Type.Integer({
  minimum: -1,
  description: 'Filters find all entries up to and including this seq; -1 where they find none',
})

const NDJSON = 'application/x-ndjson'
/** How often an open feed asks whether its token still holds. */
const RECHECK_MS = 5_000
/** Feeds that one token may hold open at once, in one process. */
const MAX_FEEDS = 100

/** The log, coming out: pages, streams, single entries, live. */
export async function entryRoutes(app: App, deps: ServerDeps): Promise<void> {
  const { database, live, settings } = deps
  const feeds = new Map<string, number>()
  app.get(
    '/v1/entries',
    {
      config: { permission: permissions.readEntries },
      schema: {
        operationId: 'listEntries',
        summary: 'List entries',
        description:
          'In the order of seq, page by page. With `Accept: application/x-ndjson` all that is found comes as one stream, ' +
          'one entry per line, with `Countersign-Indexed-Up-To` among its headers; `limit` and `cursor` do not apply to it.',
        tags: ['entries'],
        querystring: Type.Object(
          {
            ...Filter,
            limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_LIMIT, default: DEFAULT_LIMIT })),
            cursor: Type.Optional(Type.String({ description: '`next` of the page before' })),
            order: Type.Optional(Type.Enum(['asc', 'desc'])),
            atLeast: Type.Optional(
              Type.Integer({ minimum: 0, description: 'Wait, a bounded time, until filters find this seq' }),
            ),
          },
          { additionalProperties: false },
        ),
        response: {
          200: {
            description: 'Entries',
            content: {
              'application/json': {
                schema: Type.Object(
                  {
                    entries: Type.Array(Type.Ref('Entry')),
                    next: Type.Optional(Type.String({ description: 'Send it as `cursor` for the next page' })),
                    indexedUpTo: IndexedUpTo,
                    head: Type.Object({ size: Type.Integer({ minimum: 0 }) }),
                  },
                  { title: 'EntryPage' },
                ),
              },
              [NDJSON]: { schema: Type.String({ description: 'One entry per line' }) },
            },
          },
          ...problems(400),
        },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request, reply) => {
      const { limit, cursor, order, atLeast, ...filter } = request.query
      const { tenant } = callerOf(request)
      const patience = { atLeast, patienceMs: settings.waitLimitMs, signal: goneSignal(reply.raw) }
      void reply.header('vary', 'accept')
      if (!wantsLines(request.headers.accept)) {
        const page = await listEntries(database, tenant, filter, { limit, cursor, order, ...patience })
        void reply.header('content-type', 'application/json; charset=utf-8')
        return page
      }
      const { indexedUpTo, entries } = await streamEntries(database, tenant, filter, { order, ...patience })
      void reply.header('content-type', NDJSON).header('countersign-indexed-up-to', indexedUpTo)
      return reply.send(Readable.from(linesOf(entries)) as never)
    },
  )

  app.get(
    '/v1/entries/live',
    {
      config: { permission: permissions.readEntries },
      exposeHeadRoute: false,
      schema: {
        operationId: 'followEntries',
        summary: 'Follow the log',
        description:
          "Server-sent events, one per entry as it is committed: `id` is the entry's seq, `event` is `entry`, `data` the " +
          'entry as JSON. With `Last-Event-ID` it goes on behind that entry; else it begins with what comes next, or at `from`.',
        tags: ['entries'],
        headers: Type.Object({ 'last-event-id': Type.Optional(Type.String()) }),
        querystring: Type.Object(
          { from: Type.Optional(Type.Integer({ minimum: 0, description: 'seq of the first entry to send' })) },
          { additionalProperties: false },
        ),
        response: {
          200: { description: 'A stream of entries', content: { 'text/event-stream': { schema: Type.String() } } },
          ...problems(400),
        },
      },
    },
    async (request, reply) => {
      const last = request.headers['last-event-id']
      const gone = goneSignal(reply.raw)
      const { tenant, via } = callerOf(request)
      const from =
        last === undefined || last === ''
          ? request.query.from
          : placeBehind(last, (await headOf(database, tenant)).size)
      holdFeed(feeds, `${tenant} ${via}`, gone)
      const ended = AbortSignal.any([gone, lapsed(deps, request, gone)])
      const entries = live.entries(tenant, from, ended)
      void reply
        .header('content-type', 'text/event-stream; charset=utf-8')
        .header('cache-control', 'no-store, no-transform')
        .header('x-accel-buffering', 'no')
      return reply.send(Readable.from(eventStream(entries), { objectMode: false, highWaterMark: 64 * 1024 }) as never)
    },
  )

  app.get(
    '/v1/entries/:seq',
    {
      config: { permission: permissions.readEntries },
      schema: {
        operationId: 'getEntry',
        summary: 'Read one entry',
        description:
          'With its exact leaf bytes: leafHash = SHA-256(0x00, leaf), chainHash = SHA-256(chainHash before, leafHash).',
        tags: ['entries'],
        params: Type.Object({ seq: Seq }),
        response: {
          200: Type.Object(
            { ...EntryMembers, leaf: Type.String({ description: 'Base64' }), leafHash: Hash },
            { title: 'EntryProof', description: 'The entry' },
          ),
          ...problems(400, 404),
        },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request) => {
      const { leaf, ...entry } = await getEntry(database, callerOf(request).tenant, request.params.seq)
      return { ...entry, leaf: leaf.toString('base64') }
    },
  )
}

/**
 * @param size of the log: who has seen an entry that it does not have has followed another one
 * @throws DomainError CURSOR_INVALID
 */
function placeBehind(lastEventId: string | string[], size: number): number {
  const seq = typeof lastEventId === 'string' && /^\d{1,15}$/.test(lastEventId) ? Number(lastEventId) : undefined
  if (seq !== undefined && seq < size) return seq + 1
  const fault = seq === undefined ? 'is the seq of an entry' : `is ${seq}, and the log ends at entry ${size - 1}`
  throw new DomainError('CURSOR_INVALID', `Last-Event-ID ${fault}: send the id that came last, or none`, {
    pointer: '/last-event-id',
  })
}

/** Counts a feed until it ends. @throws DomainError RATE_LIMITED */
function holdFeed(feeds: Map<string, number>, holder: string, gone: AbortSignal): void {
  const open = feeds.get(holder) ?? 0
  if (open >= MAX_FEEDS) {
    throw new DomainError('RATE_LIMITED', `a token holds at most ${MAX_FEEDS} feeds open: close some`, {
      retryAfterS: 5,
    })
  }
  feeds.set(holder, open + 1)
  gone.addEventListener('abort', () => {
    const left = (feeds.get(holder) ?? 1) - 1
    if (left > 0) feeds.set(holder, left)
    else feeds.delete(holder)
  })
}

/** Aborts once the token that opened the feed no longer holds. */
function lapsed({ authenticator }: ServerDeps, request: FastifyRequest, gone: AbortSignal): AbortSignal {
  const ended = new AbortController()
  const timer = setInterval(() => {
    stillAllowed(authenticator, request, permissions.readEntries).then(
      (allowed) => {
        if (!allowed) ended.abort()
      },
      // A database that cannot be asked ends no feed: it cannot feed it either.
      () => undefined,
    )
  }, RECHECK_MS)
  gone.addEventListener('abort', () => clearInterval(timer))
  return ended.signal
}

/** Whether NDJSON is asked for by name. */
function wantsLines(accept: string | undefined): boolean {
  return accept !== undefined && /(?:^|,)\s*application\/(?:x-)?ndjson\b/i.test(accept)
}
