import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, { LogController } from 'fastify'
import type { FastifyBaseLogger, FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { ReportDeps } from '../../reports/generate.js'
import type { Authenticator } from '../auth/queries.js'
import type { Config } from '../config.js'
import type { Database } from '../db/database.js'
import { DomainError } from '../errors.js'
import type { IngestDeps } from '../keyring/ingest.js'
import type { LiveFeed } from '../ledger/live.js'
import type { WorkflowsState } from '../temporal/state.js'
import { parseStrict } from '../ledger/gate.js'
import { storeUnavailable } from '../ledger/errors.js'
import type { Outside } from '../sinks/outside.js'
import { guardRoutes, type RouteAccess } from './authorize.js'
import { describeApi } from './describe.js'
import type { Denials } from './denials.js'
import type { Metrics } from './metrics.js'
import { allowedMethods, answerBrokenRequest } from './unroutable.js'
import { refuseUndecodable } from './query-text.js'
import { fromFastify, internalProblem, isOutage, problemOf, sendProblem } from './problem.js'
import { RateLimit } from './rate-limit.js'
import { changeRoutes, ChangeSchema } from './routes/changes.js'
import { CloudEventSchema, eventRoutes, EventSchema, eventStore } from './routes/events.js'
import { personalRoutes } from './routes/personal.js'
import { policyRoutes } from './routes/policies.js'
import { principalRoutes } from './routes/principals.js'
import { reportRoutes, ReportSchema } from './routes/reports.js'
import { keyRoutes } from './routes/keys.js'
import { entryRoutes, EntrySchema } from './routes/entries.js'
import { logRoutes } from './routes/log.js'
import { operationRoutes } from './routes/operations.js'
import { roleRoutes } from './routes/roles.js'
import { scheduleRoutes, ScheduleSchema } from './routes/schedules.js'
import { settingRoutes } from './routes/settings.js'
import { tokenRoutes } from './routes/tokens.js'
import { takingRoutes } from './routes/taking.js'
import { webhookRoutes } from './routes/webhooks.js'
import { ProblemSchema } from './schemas.js'
import { secureHeaders } from './security-headers.js'
import { validatorCompiler } from './validate.js'

export type App = FastifyInstance<Server, IncomingMessage, ServerResponse, FastifyBaseLogger, TypeBoxTypeProvider>

export type HttpSettings = Pick<
  Config,
  | 'bodyLimitBytes'
  | 'headerLimitBytes'
  | 'rateLimitPerMinute'
  | 'anonymousRateLimitPerMinute'
  | 'requestTimeoutMs'
  | 'waitLimitMs'
  | 'publicUrl'
  | 'trustedProxies'
  | 'logLevel'
  | 'verificationHour'
>

export interface ServerDeps {
  readonly settings: HttpSettings
  readonly database: Database
  readonly ingest: IngestDeps
  readonly approvals: Outside
  readonly reports: ReportDeps
  readonly live: LiveFeed
  readonly authenticator: Authenticator
  readonly denials: Denials
  readonly metrics: Metrics
  readonly workflows: () => WorkflowsState | 'off'
  /** Of the service, for its description. */
  readonly version: string
  /** Where log lines go; standard error unless said otherwise. */
  readonly logStream?: { write(line: string): void } | undefined
}

export interface HttpServer {
  readonly app: App
  /** Every route, with what it needs. */
  readonly routes: readonly RouteAccess[]
}

/** Bodies of everything but events are small. */
const SMALL_BODY_BYTES = 64 * 1024

/** Builds the API, not yet listening, so that more routes can be added. */
export async function buildServer(deps: ServerDeps): Promise<HttpServer> {
  const { settings, authenticator, denials } = deps
  const { requestTimeoutMs } = settings
  let requests = 0
  const run = Math.random().toString(36).slice(2, 8)
  const app: App = Fastify({
    bodyLimit: SMALL_BODY_BYTES,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: 75_000,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 300 },
    genReqId: () => `${run}-${(requests++).toString(36)}`,
    logController: new LogController({ disableRequestLogging: true }),
    clientErrorHandler: answerBrokenRequest,
    frameworkErrors: (error, request, reply) => void answerError(error, request, reply),
    trustProxy: settings.trustedProxies.length > 0 && [...settings.trustedProxies],
    http: {
      // Node's own refusal is no problem document: `refuseHostless` answers.
      requireHostHeader: false,
      maxHeaderSize: settings.headerLimitBytes,
      headersTimeout: Math.min(requestTimeoutMs, 15_000),
      connectionsCheckingInterval: Math.min(Math.max(250, requestTimeoutMs / 4), 5_000),
    },
    logger: {
      level: settings.logLevel,
      // Neither addresses nor headers nor bodies are logged: they may hold personal data and credentials.
      serializers: {
        req: (request: { id: string }) => ({ id: request.id }),
        res: ({ statusCode }) => ({ statusCode }),
        err: (error: Error) => loggable(error) as never,
      },
      stream: deps.logStream ?? process.stderr,
    },
  }).withTypeProvider<TypeBoxTypeProvider>()

  app.setValidatorCompiler(validatorCompiler)
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    done(null, parseStrict(body as Buffer))
  })
  app.setErrorHandler(answerError)

  refuseUndecodable(app)
  secureHeaders(app, { https: settings.publicUrl?.startsWith('https:') ?? false })
  app.addHook('onRequest', refuseHostless)
  deps.metrics.observe(app)
  const routes = guardRoutes(app, {
    authenticator,
    denials,
    rateLimit: new RateLimit(settings.rateLimitPerMinute),
    anonymousRateLimit: new RateLimit(settings.anonymousRateLimitPerMinute),
    publicUrl: settings.publicUrl,
  })
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0] ?? ''
    const allowed = allowedMethods(routes, path)
    if (allowed.length === 0) {
      throw new DomainError('ROUTE_UNKNOWN', `there is nothing at this address for ${request.method}`)
    }
    void reply.header('allow', allowed.join(', '))
    throw new DomainError('METHOD_NOT_ALLOWED', `this address takes ${allowed.join(', ')}, not ${request.method}`)
  })

  for (const schema of [
    ProblemSchema,
    EventSchema,
    CloudEventSchema,
    EntrySchema,
    ReportSchema,
    ScheduleSchema,
    ChangeSchema,
  ])
    app.addSchema(schema)
  await describeApi(app, { version: deps.version, publicUrl: settings.publicUrl })
  await app.register(eventRoutes, {
    take: eventStore(deps.ingest),
    path: '/v1/events',
    bodyLimitBytes: settings.bodyLimitBytes,
  })
  await app.register(entryRoutes, deps)
  await app.register(personalRoutes, deps)
  await app.register(logRoutes, deps)
  await app.register(tokenRoutes, deps)
  await app.register(roleRoutes, deps)
  await app.register(principalRoutes, deps)
  await app.register(keyRoutes, deps)
  await app.register(changeRoutes, deps)
  await app.register(policyRoutes, deps)
  await app.register(takingRoutes, deps)
  await app.register(webhookRoutes, deps)
  await app.register(reportRoutes, deps)
  await app.register(scheduleRoutes, deps)
  await app.register(settingRoutes, deps)
  await app.register(operationRoutes, deps)
  return { app, routes }
}

/** RFC 9112 §3.2: HTTP/1.1 names its host. */
function refuseHostless({ raw }: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void {
  if (raw.headers.host !== undefined || raw.httpVersion !== '1.1') done()
  else done(new DomainError('REQUEST_MALFORMED', 'HTTP/1.1 without a Host header: send one', { pointer: '/host' }))
}

/** An error without what drivers hang on to it: rows and parameters may be personal data. */
function loggable(error: Error & { code?: unknown }): object {
  const { name, code, message, stack, cause } = error
  return {
    name,
    code,
    message,
    stack,
    ...(cause instanceof Error && { cause: { name: cause.name, message: cause.message } }),
  }
}

/** Turns whatever went wrong into a problem document. */
async function answerError(
  error: FastifyError | DomainError | Error,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const known = toDomainError(error, request)
  if (!known && error.name === 'AbortError' && reply.raw.destroyed) {
    request.log.debug({ route: request.route }, 'nobody waits for the answer any more')
    return
  }
  if (!known) {
    request.log.error({ err: error, route: request.route }, 'a request failed')
    await sendProblem(request, reply, internalProblem())
    return
  }
  const problem = problemOf(known)
  const told = { code: known.code, route: request.route }
  if (problem.status >= 500) request.log.warn({ ...told, err: error }, 'a request failed')
  else request.log.debug(told, 'a request was refused')
  await sendProblem(request, reply, problem, known.retryAfterS)
}

function toDomainError(error: FastifyError | DomainError | Error, request: FastifyRequest): DomainError | undefined {
  if (error instanceof DomainError) return error
  return fromFastify(error as FastifyError, request) ?? (isOutage(error) ? storeUnavailable() : undefined)
}
