import fastifySwagger from '@fastify/swagger'
import fastifySwaggerUi from '@fastify/swagger-ui'
import { Type } from 'typebox'
import { publicProblems } from './schemas.js'
import type { App } from './server.js'

const INTRODUCTION = `Applications report what happened; Countersign keeps it in an append-only, hash-chained log, one per tenant.

Every call but those marked public needs \`Authorization: Bearer cs_<tenant>.<secret>\`. The tenant follows from the token;
the header \`countersign-tenant\` can only agree with it. Refusals are problem documents (RFC 9457) with a stable \`code\`,
a JSON \`pointer\` to what is wrong, and \`help\`.`

const TAGS = [
  { name: 'events', description: 'What happened, going in' },
  { name: 'entries', description: 'The log, coming out' },
  { name: 'personal', description: 'Personal data: finding people and opening what was sealed, both on record' },
  { name: 'log', description: 'Size, head and assurance of the log' },
  { name: 'changes', description: 'Changes that need two people: requests, votes, policies' },
  { name: 'reports', description: 'Reports for auditors' },
  { name: 'schedules', description: 'Reports and verification at set times, and how their runs went' },
  { name: 'settings', description: "What a tenant decides about the service's own work" },
  { name: 'tokens', description: 'Credentials' },
  { name: 'roles', description: 'Who may do what: roles, and the people and services that have them' },
  { name: 'webhooks', description: 'Where notices and approved changes are sent' },
  { name: 'operations', description: 'Health, metrics, and this description' },
]

/** Swagger UI sets styles from scripts; everything else comes from files of our own. */
const DOCS_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** Where the pages of the documentation lie; they are public. */
export const DOCS = '/docs'

/** Describes the API as OpenAPI 3.1 at `/openapi.json`, and shows it at `/docs` with nothing from elsewhere. */
export async function describeApi(
  app: App,
  { version, publicUrl }: { version: string; publicUrl: string | undefined },
): Promise<void> {
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Countersign',
        version,
        description: INTRODUCTION,
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      ...(publicUrl !== undefined && { servers: [{ url: publicUrl }] }),
      tags: TAGS,
      components: {
        securitySchemes: { token: { type: 'http', scheme: 'bearer', bearerFormat: 'cs_<tenant>.<secret>' } },
      },
    },
    refResolver: {
      buildLocalReference: (schema, _base, _fragment, n) =>
        typeof schema['$id'] === 'string' ? schema['$id'] : `part-${n}`,
    },
    transform: ({ schema, url, route }) => {
      const { permission, alsoNeeds } = route.config ?? {}
      if (permission === undefined) return { schema: { ...schema, security: [] }, url }
      const needs = [permission, ...(alsoNeeds === undefined ? [] : [alsoNeeds])]
        .map((each) => `\`${each}\``)
        .join(' and ')
      const text = (schema as { description?: string } | undefined)?.description
      const description = `${text === undefined ? '' : `${text}\n\n`}Needs the permission ${needs}.`
      return { schema: { ...schema, description, security: [{ token: [] }] }, url }
    },
  })
  await app.register(fastifySwaggerUi, {
    routePrefix: DOCS,
    staticCSP: DOCS_POLICY,
    uiConfig: { deepLinking: true, docExpansion: 'list', persistAuthorization: false, tryItOutEnabled: false },
    theme: { title: 'Countersign API' },
  })
  app.get(
    '/openapi.json',
    {
      config: { public: true },
      schema: {
        operationId: 'getDescription',
        summary: 'This description, as OpenAPI 3.1',
        tags: ['operations'],
        response: {
          200: Type.Object({}, { additionalProperties: true, description: 'OpenAPI 3.1' }),
          ...publicProblems(),
        },
      },
    },
    async (_request, reply) => {
      void reply.header('content-type', 'application/json; charset=utf-8').serializer((text: unknown) => String(text))
      return JSON.stringify(app.swagger())
    },
  )
}
