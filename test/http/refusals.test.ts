import { afterAll, beforeAll, expect, test } from 'vitest'
import { testService, type CallOptions, type TestService } from '../support/service.js'

// What bad input gets: a problem document with code, place and what to do, and nothing stored.

let api: TestService
let writer: string
let admin: string
let superuser: Awaited<ReturnType<TestService['server']['superuser']>>

beforeAll(async () => {
  api = await testService({
    COUNTERSIGN_BODY_LIMIT_BYTES: String(512 * 1024),
    COUNTERSIGN_SEALED_LIMIT_BYTES: String(MAX_GROUP_BYTES),
  })
  superuser = await api.server.superuser()
  writer = await api.token(['ledger/events:write'])
  await api.token(['ledger/*:read'], { tenant: 'other' })
})
afterAll(() => api.close())

interface Case {
  name: string
  body?: CallOptions['body']
  type?: string
  headers?: Record<string, string>
  status: number
  code: string
  pointer?: string
  index?: number
  says?: RegExp
}

const event = (members: object) => ({ type: 'role.granted', ...members })
const cloudEvent = (members: object) => ({
  specversion: '1.0',
  id: '1',
  source: '/a',
  type: 'role.granted',
  dataschema: 'urn:countersign:event:1',
  data: members,
})
const newcomer = { kind: 'email', value: 'newcomer@example.org' }
const aboutNewcomer = (data: unknown) => ({ group: 'note', subject: newcomer, data })
const MAX_GROUP_BYTES = 1024
const LARGE = 'x'.repeat(MAX_GROUP_BYTES)
const nested = (levels: number): object => (levels === 1 ? {} : { a: nested(levels - 1) })
const deep = `{"type":"a.b","data":${'{"a":'.repeat(65)}1${'}'.repeat(65)}}`

const cases: Case[] = [
  { name: 'malformed JSON', body: '{"type":', status: 400, code: 'JSON_MALFORMED', pointer: '/type' },
  { name: 'no body', status: 400, code: 'JSON_MALFORMED', pointer: '' },
  {
    name: 'bad UTF-8',
    body: Buffer.from('7b2274797065223a22612e62222c226964223a22ff227d', 'hex'),
    status: 400,
    code: 'JSON_BAD_UTF8',
    pointer: '/id',
  },
  {
    name: 'a duplicate key',
    body: '{"type":"a.b","data":{"x":1,"x":2}}',
    status: 400,
    code: 'JSON_DUPLICATE_KEY',
    pointer: '/data/x',
  },
  {
    name: 'an unsafe number',
    body: '{"type":"a.b","data":{"n":9007199254740993}}',
    status: 400,
    code: 'JSON_UNSAFE_NUMBER',
    pointer: '/data/n',
    says: /string/,
  },
  {
    name: 'a number that a double would round',
    body: '{"type":"a.b","data":{"n":0.10000000000000000001}}',
    status: 400,
    code: 'JSON_UNSAFE_NUMBER',
    pointer: '/data/n',
  },
  { name: 'depth', body: deep, status: 400, code: 'JSON_TOO_DEEP' },
  {
    name: 'half a surrogate pair',
    body: String.raw`{"type":"a.b","data":{"x":"\ud800"}}`,
    status: 400,
    code: 'JSON_LONE_SURROGATE',
    pointer: '/data/x',
  },
  { name: 'U+0000', body: String.raw`{"type":"a.b","id":"a\u0000"}`, status: 400, code: 'JSON_NUL', pointer: '/id' },
  {
    name: 'a control character in an id',
    body: event({ id: 'a\u0007b' }),
    status: 400,
    code: 'EVENT_ID',
    pointer: '/id',
  },
  {
    name: 'an id of 300 bytes',
    body: event({ actor: { id: 'x'.repeat(300) } }),
    status: 400,
    code: 'EVENT_ID',
    pointer: '/actor/id',
    says: /300.*255/,
  },
  {
    name: 'an unknown member',
    body: event({ colour: 'red' }),
    status: 400,
    code: 'EVENT_UNKNOWN_MEMBER',
    pointer: '/colour',
  },
  {
    name: 'a stream, which only commands write',
    body: event({ stream: 'change/1' }),
    status: 400,
    code: 'EVENT_UNKNOWN_MEMBER',
    pointer: '/stream',
  },
  {
    name: 'a tenant, which the credential names',
    body: event({ tenant: 'other' }),
    status: 400,
    code: 'EVENT_UNKNOWN_MEMBER',
    pointer: '/tenant',
  },
  {
    name: 'the wrong type of a member',
    body: event({ targets: 'project:9' }),
    status: 400,
    code: 'EVENT_MEMBER_TYPE',
    pointer: '/targets',
  },
  { name: 'a number as a type', body: { type: 5 }, status: 400, code: 'EVENT_MEMBER_TYPE', pointer: '/type' },
  { name: 'a missing type', body: { id: 'x' }, status: 400, code: 'EVENT_MEMBER_MISSING', pointer: '/type' },
  { name: 'null', body: event({ actor: null }), status: 400, code: 'EVENT_MEMBER_TYPE', pointer: '/actor' },
  { name: 'an event that is a string', body: '"a.b"', status: 400, code: 'EVENT_MEMBER_TYPE', pointer: '' },
  {
    name: 'a time without a zone',
    body: event({ occurredAt: '2026-11-20T10:00:00' }),
    status: 400,
    code: 'EVENT_TIME',
    pointer: '/occurredAt',
  },
  {
    name: 'the year 0000',
    body: event({ occurredAt: '0000-11-20T10:00:00Z' }),
    status: 400,
    code: 'EVENT_TIME',
    pointer: '/occurredAt',
  },
  {
    name: 'a type that is not dotted',
    body: { type: 'granted' },
    status: 400,
    code: 'EVENT_TYPE_GRAMMAR',
    pointer: '/type',
  },
  {
    name: 'an oversize leaf',
    body: event({ data: { text: 'x'.repeat(66_000) } }),
    status: 413,
    code: 'EVENT_TOO_LARGE',
    says: /66\d{3} bytes.*65535/,
  },
  {
    name: 'an oversize leaf in a batch',
    body: [event({}), event({ data: { text: 'x'.repeat(66_000) } })],
    status: 413,
    code: 'EVENT_TOO_LARGE',
    pointer: '/1',
    index: 1,
    says: /^event 1: /,
  },
  {
    name: 'an oversize leaf that names somebody new',
    body: event({ actor: newcomer, personal: [aboutNewcomer('x')], data: { text: 'x'.repeat(66_000) } }),
    status: 413,
    code: 'EVENT_TOO_LARGE',
    pointer: '',
  },
  {
    name: 'an oversize group of somebody new',
    body: event({ personal: [aboutNewcomer(LARGE)] }),
    status: 413,
    code: 'GROUP_TOO_LARGE',
    pointer: '/personal/0/data',
  },
  {
    name: 'an oversize group in a batch',
    body: [event({ actor: newcomer }), event({ personal: [aboutNewcomer(LARGE)] })],
    status: 413,
    code: 'GROUP_TOO_LARGE',
    pointer: '/1/personal/0/data',
    index: 1,
    says: /^event 1: /,
  },
  {
    name: 'an oversize group in a CloudEvent',
    body: JSON.stringify(cloudEvent({ personal: [aboutNewcomer(LARGE)] })),
    type: 'application/cloudevents+json',
    status: 413,
    code: 'GROUP_TOO_LARGE',
    pointer: '/data/personal/0/data',
  },
  {
    name: 'depth that a CloudEvent reaches in its entry',
    body: JSON.stringify({ ...cloudEvent({}), dataschema: 'urn:a:b', data: nested(63) }),
    type: 'application/cloudevents+json',
    status: 400,
    code: 'JSON_TOO_DEEP',
    says: /64/,
  },
  ...[' ', '\u00a0', '\u3000', '\ufeff \u2028'].map((value) => ({
    name: `the identifier ${JSON.stringify(value)}`,
    body: event({ actor: { kind: 'email', value } }),
    status: 400,
    code: 'EVENT_MEMBER_VALUE',
    pointer: '/actor/value',
  })),
  {
    name: 'a blank identifier of a target in a batch',
    body: [event({}), event({ targets: [{ id: 'x' }, { kind: 'email', value: '  ' }] })],
    status: 400,
    code: 'EVENT_MEMBER_VALUE',
    pointer: '/1/targets/1/value',
    index: 1,
  },
  {
    name: 'a blank identifier of a subject',
    body: event({ personal: [{ group: 'note', subject: { kind: 'email', value: ' ' }, data: 1 }] }),
    status: 400,
    code: 'EVENT_MEMBER_VALUE',
    pointer: '/personal/0/subject/value',
  },
  {
    name: 'a body beyond the limit',
    body: `"${'x'.repeat(600_000)}"`,
    status: 413,
    code: 'BODY_TOO_LARGE',
    says: /600002 bytes.* \d+ bytes/,
  },
  {
    name: 'a pseudonym of nobody',
    body: event({ actor: { id: 'person:01JDDDDDDDDDDDDDDDDDDDDDDD' } }),
    status: 422,
    code: 'SUBJECT_UNKNOWN',
    pointer: '/actor/id',
  },
  {
    name: 'a pseudonym of nobody in a batch, beside somebody new',
    body: [event({ actor: newcomer }), event({ targets: [{ id: 'x' }, { id: 'person:01NO' }] })],
    status: 422,
    code: 'SUBJECT_UNKNOWN',
    pointer: '/1/targets/1/id',
    index: 1,
    says: /^event 1: person:01NO /,
  },
  {
    name: 'a pseudonym of nobody in a CloudEvents batch',
    body: JSON.stringify([
      cloudEvent({}),
      cloudEvent({ personal: [aboutNewcomer(1), { group: 'b', subject: 'person:01NO', data: 1 }] }),
    ]),
    type: 'application/cloudevents-batch+json',
    status: 422,
    code: 'SUBJECT_UNKNOWN',
    pointer: '/1/data/personal/1/subject',
    index: 1,
  },
  { name: 'an empty batch', body: [], status: 400, code: 'BATCH_EMPTY' },
  { name: 'an empty NDJSON', body: '\n\n', type: 'application/x-ndjson', status: 400, code: 'BATCH_EMPTY' },
  {
    name: 'a batch too large',
    body: Array.from({ length: 1001 }, () => event({})),
    status: 413,
    code: 'BATCH_TOO_LARGE',
    says: /1000/,
  },
  {
    name: 'NDJSON too large',
    body: `${JSON.stringify(event({}))}\n`.repeat(1001),
    type: 'application/x-ndjson',
    status: 413,
    code: 'BATCH_TOO_LARGE',
  },
  {
    name: 'one bad event of a batch',
    body: [event({}), event({}), event({ id: '' })],
    status: 400,
    code: 'EVENT_MEMBER_VALUE',
    pointer: '/2/id',
    index: 2,
  },
  {
    name: 'bad JSON in one event of a batch',
    body: '[{"type":"a.b"},{"type":"a.b","data":{"x":1,"x":1}}]',
    status: 400,
    code: 'JSON_DUPLICATE_KEY',
    pointer: '/1/data/x',
    index: 1,
  },
  {
    name: 'one bad line of NDJSON',
    body: '{"type":"a.b"}\n{"type":"nodots"}\n',
    type: 'application/x-ndjson',
    status: 400,
    code: 'EVENT_TYPE_GRAMMAR',
    pointer: '/1/type',
    index: 1,
  },
  {
    name: 'a line of NDJSON that is no JSON',
    body: '{"type":"a.b"}\n\n{"type":\n',
    type: 'application/x-ndjson',
    status: 400,
    code: 'JSON_MALFORMED',
    index: 1,
    says: /line 3/,
  },
  {
    name: 'one bad event of a CloudEvents batch',
    body: JSON.stringify([{ specversion: '1.0', id: '1', source: '/a', type: 'a.b' }, { specversion: '1.0' }]),
    type: 'application/cloudevents-batch+json',
    status: 400,
    code: 'CLOUDEVENT_INVALID',
    pointer: '/1/id',
    index: 1,
  },
  {
    name: 'a CloudEvent of another version',
    body: JSON.stringify({ specversion: '0.3', id: '1', source: '/a', type: 'a.b' }),
    type: 'application/cloudevents+json',
    status: 400,
    code: 'CLOUDEVENT_INVALID',
    pointer: '/specversion',
  },
  {
    name: 'an unknown content type',
    body: '<a/>',
    type: 'application/xml',
    status: 415,
    code: 'CONTENT_TYPE_UNSUPPORTED',
    pointer: '/content-type',
  },
  {
    name: 'another charset',
    body: '{"type":"a.b"}',
    type: 'application/json; charset=latin1',
    status: 415,
    code: 'CONTENT_TYPE_UNSUPPORTED',
    pointer: '/content-type',
  },
  {
    name: 'a compressed body',
    body: '{"type":"a.b"}',
    headers: { 'content-encoding': 'gzip' },
    status: 415,
    code: 'CONTENT_TYPE_UNSUPPORTED',
    pointer: '/content-encoding',
  },
  {
    name: 'an Idempotency-Key of 256 characters',
    body: event({}),
    headers: { 'idempotency-key': 'k'.repeat(256) },
    status: 400,
    code: 'IDEMPOTENCY_KEY_INVALID',
    pointer: '/idempotency-key',
  },
  {
    name: 'an Idempotency-Key that is not ASCII',
    body: event({}),
    headers: { 'idempotency-key': 'ké' },
    status: 400,
    code: 'IDEMPOTENCY_KEY_INVALID',
    pointer: '/idempotency-key',
  },
]

test.each(cases)('$name: $status $code', async ({ body, type, headers, status, code, pointer, index, says }) => {
  const before = await stored()
  const answer = await api.call('POST', '/v1/events', {
    token: writer,
    ...(body !== undefined && { body }),
    headers: { 'content-type': type ?? 'application/json', ...headers },
  })
  expect(answer.json).toMatchObject({ status, code })
  expect(answer.json['index']).toBe(index)
  expect(answer.status).toBe(status)
  expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
  if (pointer !== undefined) expect(answer.json['pointer']).toBe(pointer)
  if (says) expect(answer.json['detail']).toMatch(says)
  expect(answer.json['type']).toBe(`urn:countersign:error:${code}`)
  expect(String(answer.json['help']).length).toBeGreaterThan(10)
  expect(answer.json['requestId']).toBe(answer.headers.get('x-request-id'))
  expect(await stored()).toEqual(before)
})

/** What a request could have left behind. */
async function stored(): Promise<object> {
  const { rows } = await superuser.query<object>(
    `select (select next_seq from heads where tenant = 'acme') as size,
            (select count(*) from identifiers) as identifiers, (select count(*) from subjects) as subjects,
            (select count(*) from subject_keys) as keys`,
  )
  return rows
}

interface RequestCase {
  name: string
  method: string
  path: string
  token?: () => string | undefined
  headers?: Record<string, string>
  body?: CallOptions['body']
  status: number
  code: string
  pointer?: string
  header?: [string, string | RegExp]
}

let revoked: string
let expired: string
let reader: string

beforeAll(async () => {
  reader = await api.token(['ledger/*:read'])
  admin = await api.token(['*/*:*'])
  const made = await api.call('POST', '/v1/tokens', {
    token: admin,
    body: { principal: 'service:gone', permissions: ['ledger/events:write'] },
  })
  revoked = String(made.json['token'])
  await api.call('DELETE', `/v1/tokens/${String(made.json['id'])}`, { token: admin })
  expired = await api.token(['ledger/events:write'], { expiresAt: new Date(Date.now() + 400).toISOString() })
  await new Promise((resolve) => setTimeout(resolve, 500))
})

const requests: RequestCase[] = [
  {
    name: 'no token',
    method: 'POST',
    path: '/v1/events',
    body: '{ this is never parsed',
    status: 401,
    code: 'TOKEN_MISSING',
    header: ['www-authenticate', /^Bearer/],
  },
  {
    name: 'another scheme',
    method: 'POST',
    path: '/v1/events',
    headers: { authorization: 'Basic YTpi' },
    status: 401,
    code: 'TOKEN_MISSING',
  },
  {
    name: 'a token of another form',
    method: 'POST',
    path: '/v1/events',
    token: () => 'secret',
    status: 401,
    code: 'TOKEN_INVALID',
  },
  {
    name: 'an unknown token',
    method: 'POST',
    path: '/v1/events',
    token: () => `cs_acme.${'A'.repeat(43)}`,
    body: '{ nor is this',
    status: 401,
    code: 'TOKEN_INVALID',
  },
  {
    name: 'a token of an unknown tenant',
    method: 'POST',
    path: '/v1/events',
    token: () => `cs_nobody.${'A'.repeat(43)}`,
    status: 401,
    code: 'TOKEN_INVALID',
  },
  {
    name: "another tenant's secret",
    method: 'POST',
    path: '/v1/events',
    token: () => writer.replace('cs_acme.', 'cs_other.'),
    status: 401,
    code: 'TOKEN_INVALID',
  },
  {
    name: 'a revoked token',
    method: 'POST',
    path: '/v1/events',
    token: () => revoked,
    status: 401,
    code: 'TOKEN_REVOKED',
  },
  {
    name: 'an expired token',
    method: 'POST',
    path: '/v1/events',
    token: () => expired,
    status: 401,
    code: 'TOKEN_EXPIRED',
  },
  {
    name: 'a missing permission',
    method: 'POST',
    path: '/v1/events',
    token: () => reader,
    body: '{ nor this',
    status: 403,
    code: 'PERMISSION_MISSING',
  },
  {
    name: 'another tenant in the header',
    method: 'POST',
    path: '/v1/events',
    token: () => writer,
    headers: { 'countersign-tenant': 'other' },
    body: event({}),
    status: 403,
    code: 'TENANT_MISMATCH',
  },
  {
    name: 'the wrong method',
    method: 'DELETE',
    path: '/v1/events',
    token: () => admin,
    status: 405,
    code: 'METHOD_NOT_ALLOWED',
    header: ['allow', 'POST'],
  },
  {
    name: 'the wrong method below a parameter',
    method: 'PUT',
    path: '/v1/tokens/x',
    token: () => admin,
    body: {},
    status: 405,
    code: 'METHOD_NOT_ALLOWED',
    header: ['allow', 'DELETE'],
  },
  {
    name: 'an address that is too long',
    method: 'DELETE',
    path: `/v1/tokens/${'x'.repeat(400)}`,
    token: () => admin,
    status: 414,
    code: 'URL_TOO_LONG',
  },
  { name: 'an unknown address', method: 'GET', path: '/v2/events', status: 404, code: 'ROUTE_UNKNOWN' },
  { name: 'a broken escape', method: 'GET', path: '/v1/tokens/%zz', status: 400, code: 'REQUEST_MALFORMED' },
  {
    name: 'an unknown member of a small body',
    method: 'POST',
    path: '/v1/tokens',
    token: () => admin,
    body: { principal: 'service:a', permissions: ['a/b:c'], tenant: 'other' },
    status: 400,
    code: 'REQUEST_INVALID',
    pointer: '/tenant',
  },
  {
    name: 'a wrong type in a small body, which is not coerced',
    method: 'POST',
    path: '/v1/tokens',
    token: () => admin,
    body: { principal: 5, permissions: ['a/b:c'] },
    status: 400,
    code: 'REQUEST_INVALID',
    pointer: '/principal',
  },
  {
    name: 'a missing member of a small body',
    method: 'POST',
    path: '/v1/tokens',
    token: () => admin,
    body: { permissions: ['a/b:c'] },
    status: 400,
    code: 'REQUEST_INVALID',
    pointer: '/principal',
  },
  {
    name: 'a duplicate key in a small body',
    method: 'POST',
    path: '/v1/tokens',
    token: () => admin,
    body: '{"principal":"service:a","principal":"service:b"}',
    headers: { 'content-type': 'application/json' },
    status: 400,
    code: 'JSON_DUPLICATE_KEY',
    pointer: '/principal',
  },
  {
    name: 'another content type for a small body',
    method: 'POST',
    path: '/v1/tokens',
    token: () => admin,
    body: 'principal=service:a',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    status: 415,
    code: 'CONTENT_TYPE_UNSUPPORTED',
  },
  {
    name: 'a small body that is too large',
    method: 'POST',
    path: '/v1/tokens',
    token: () => admin,
    body: { principal: 'x'.repeat(70_000) },
    status: 413,
    code: 'BODY_TOO_LARGE',
  },
  {
    name: 'a bad number in the query',
    method: 'GET',
    path: '/v1/tokens?limit=ten',
    token: () => admin,
    status: 400,
    code: 'REQUEST_INVALID',
    pointer: '/limit',
  },
  {
    name: 'a search for white space',
    method: 'POST',
    path: '/v1/subjects/find',
    token: () => admin,
    body: { kind: 'email', value: ' ', reason: 'a test' },
    status: 400,
    code: 'EVENT_MEMBER_VALUE',
    pointer: '/value',
  },
  ...['%ff', 'a%zz', '%'].map((value) => ({
    name: `a parameter ${value}, which is no UTF-8`,
    method: 'GET',
    path: `/v1/entries?type=a.b&actor=${value}`,
    token: () => admin,
    status: 400,
    code: 'REQUEST_INVALID',
    pointer: '/actor',
  })),
  {
    name: 'an unknown parameter',
    method: 'GET',
    path: '/v1/tokens?page=2',
    token: () => admin,
    status: 400,
    code: 'REQUEST_INVALID',
    pointer: '/page',
  },
]

test.each(requests)(
  '$name: $status $code',
  async ({ method, path, token, headers, body, status, code, pointer, header }) => {
    const before = await storedEvents()
    const answer = await api.call(method, path, {
      ...(token && { token: token() }),
      headers: { ...(typeof body === 'string' && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body }),
    })
    expect(answer.json).toMatchObject({ status, code })
    expect(answer.status).toBe(status)
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
    expect(String(answer.json['help']).length).toBeGreaterThan(10)
    if (pointer !== undefined) expect(answer.json['pointer']).toBe(pointer)
    if (header) expect(answer.headers.get(header[0])).toMatch(header[1])
    expect(await storedEvents()).toBe(before)
  },
)

/** Entries of the tenant that are no denials. */
async function storedEvents(): Promise<number> {
  const rows = await api.server.db.operator.selectFrom('entries').select('leaf').where('tenant', '=', 'acme').execute()
  return rows.filter(({ leaf }) => !leaf.includes('"type":"access.denied"')).length
}
