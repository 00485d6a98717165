import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PERMISSION } from '../../src/auth/permissions.js'
import { testService, type TestService } from '../support/service.js'

let api: TestService
beforeAll(async () => {
  api = await testService()
})
afterAll(() => api.close())

describe('the router', () => {
  test('every route names its permission, or is one of these public ones', () => {
    const open = api.service.server.routes.filter(({ permission }) => permission === undefined)
    expect([...new Set(open.map(({ url }) => url))].filter((url) => !url.startsWith('/docs')).sort()).toEqual([
      '/healthz',
      '/metrics',
      '/openapi.json',
      '/readyz',
      '/t/:tenant/.well-known/jwks.json',
    ])
    for (const { permission } of api.service.server.routes) {
      if (permission !== undefined) expect(permission).toMatch(PERMISSION)
    }
  })

  test('every route with a permission refuses who has no token', async () => {
    const guarded = api.service.server.routes.filter(({ permission }) => permission !== undefined)
    expect(guarded.length).toBeGreaterThan(3)
    for (const { method, url } of guarded) {
      const answer = await api.call(method, url.replaceAll(/:[a-zA-Z]+/g, '1'))
      expect([method, url, answer.status]).toEqual([method, url, 401])
    }
  })

  test('every route with a permission refuses who has another one', async () => {
    const token = await api.token(['nothing/at-all:read'])
    for (const { method, url, permission } of api.service.server.routes) {
      if (permission === undefined) continue
      const answer = await api.call(method, url.replaceAll(/:[a-zA-Z]+/g, '1'), { token })
      expect([method, url, answer.status]).toEqual([method, url, 403])
    }
  })

  test('a route that names no permission cannot be registered', async () => {
    const refused = testService({}, { extend: async (app) => void app.get('/open', () => 'open') })
    await expect(refused).rejects.toThrow(/must name its permission/)
  })
})

describe('the description', () => {
  interface Operation {
    operationId?: string
    summary?: string
    responses: Record<string, { description: string; content?: Record<string, { schema: unknown }> }>
    security?: object[]
  }

  test('is OpenAPI 3.1 and names every route', async () => {
    const { json } = await api.call('GET', '/openapi.json')
    expect(json['openapi']).toBe('3.1.0')
    const paths = json['paths'] as Record<string, Record<string, Operation>>
    const text = JSON.stringify(json)
    const components = (json['components'] as { schemas: object }).schemas
    for (const [, name = ''] of text.matchAll(/"\$ref":"([^"]+)"/g)) {
      expect(Object.keys(components).map((key) => `#/components/schemas/${key}`)).toContain(name)
    }
    // Keywords that OpenAPI 3.0 had and JSON Schema 2020-12 has not.
    expect(text).not.toMatch(/"nullable":|"exclusiveMinimum":true|"\$id":/)
    const operations = Object.values(paths).flatMap((path) => Object.values(path))
    const ids = operations.map(({ operationId }) => operationId)
    expect(ids).not.toContain(undefined)
    expect(new Set(ids).size).toBe(ids.length)
    for (const { responses } of operations) {
      for (const { description } of Object.values(responses)) expect(description).not.toBe('Default Response')
    }
    for (const { method, url, permission } of api.service.server.routes) {
      if (method === 'HEAD' || url.startsWith('/docs')) continue
      const operation = paths[url.replaceAll(/:([a-zA-Z]+)/g, '{$1}')]?.[method.toLowerCase()]
      expect([method, url, operation?.summary]).toEqual([method, url, expect.stringMatching(/./)])
      const statuses = Object.keys(operation?.responses ?? {})
      expect(statuses.some((status) => status.startsWith('2'))).toBe(true)
      if (permission === undefined) {
        expect(operation?.security).toEqual([])
        continue
      }
      expect(operation?.security).toEqual([{ token: [] }])
      for (const status of ['401', '403', '429', '503']) {
        expect(Object.keys(operation?.responses[status]?.content ?? {})).toEqual(['application/problem+json'])
      }
    }
  })

  test('shows at /docs without anything from elsewhere', async () => {
    const seen = new Set<string>()
    const page = await api.call('GET', '/docs')
    expect(page.status).toBe(200)
    const policy = page.headers.get('content-security-policy') ?? ''
    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain("script-src 'self';")
    expect(policy).not.toMatch(/https?:|upgrade-insecure-requests/)
    expect(page.text).not.toMatch(/<script(?![^>]*\bsrc=)/)
    for (const [, address = ''] of page.text.matchAll(/(?:src|href)="([^"]+)"/g)) {
      expect(address).not.toMatch(/^(https?:)?\/\//)
      const asset = await api.call('GET', new URL(address, 'http://x/docs').pathname)
      expect([address, asset.status]).toEqual([address, 200])
      seen.add(address)
    }
    expect(seen.size).toBeGreaterThan(4)
    const description = await api.call('GET', '/docs/json')
    expect(description.json['openapi']).toBe('3.1.0')
  })
})

describe('health', () => {
  test('the process is alive and ready', async () => {
    expect((await api.call('GET', '/healthz')).json).toEqual({ status: 'alive' })
    const ready = await api.call('GET', '/readyz')
    expect(ready.status).toBe(200)
    expect(ready.json).toMatchObject({ status: 'ready', database: 'up' })
  })

  test('metrics are Prometheus text without tenants', async () => {
    await api.token([], { tenant: 'hushhush', permissions: ['a/b:c'] })
    await api.call('GET', '/healthz')
    const { text, headers } = await api.call('GET', '/metrics')
    expect(headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
    expect(text).toMatch(/^countersign_http_request_duration_seconds_count\{route="GET \/healthz",status="200"\} \d+$/m)
    expect(text).toMatch(/^countersign_appender_queued_events 0$/m)
    expect(text).toMatch(/^countersign_follower_lag_entries\{consumer="entry-index"\} \d+$/m)
    expect(text).not.toContain('hushhush')
    const line = /^(#.*|[a-zA-Z_:][a-zA-Z0-9_:]*(\{[^{}]*\})? (NaN|[+-]?Inf|[-+0-9.e]+)|)$/
    for (const each of text.split('\n')) expect(each).toMatch(line)
  })
})

test('answers carry security headers, and plain HTTP is not told to upgrade', async () => {
  const { headers } = await api.call('GET', '/healthz')
  expect(headers.get('x-content-type-options')).toBe('nosniff')
  expect(headers.get('x-frame-options')).toBe('DENY')
  expect(headers.get('content-security-policy')).toMatch(/^default-src 'none'/)
  expect(headers.get('content-security-policy')).not.toContain('upgrade-insecure-requests')
  expect(headers.get('strict-transport-security')).toBeNull()
  expect(headers.get('x-powered-by')).toBeNull()
  const secure = await testService({ COUNTERSIGN_PUBLIC_URL: 'https://audit.example.org' })
  try {
    const answer = await secure.call('GET', '/healthz')
    expect(answer.headers.get('strict-transport-security')).toMatch(/^max-age=\d+/)
    const description = await secure.call('GET', '/openapi.json')
    expect(description.json['servers']).toEqual([{ url: 'https://audit.example.org' }])
  } finally {
    await secure.close()
  }
})

test('the log holds no credential, no body and no query', async () => {
  const own = await testService()
  try {
    const token = await own.token()
    await own.call('POST', '/v1/events', { token, body: { type: 'nodots', data: { secret: 'ada@example.org' } } })
    await own.call('GET', '/v1/tokens?before=ada@example.org', { token })
    await own.call('GET', '/ada@example.org')
    const log = own.logLines.join('')
    expect(own.logLines.length).toBeGreaterThan(2)
    for (const line of own.logLines) expect(JSON.parse(line)).toHaveProperty('level')
    expect(log).not.toContain('ada@')
    expect(log).not.toContain(token.split('.')[1])
  } finally {
    await own.close()
  }
})

/** Sends bytes as they are; @returns what came back until the connection ended */
async function raw(url: string, parts: string[], pauseMs = 0): Promise<string> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  let answer = ''
  socket.setEncoding('utf8').on('data', (text: string) => (answer += text))
  const ended = new Promise<void>((resolve) => socket.on('close', () => resolve()).on('error', () => undefined))
  for (const part of parts) {
    socket.write(part)
    if (pauseMs > 0) await sleep(pauseMs)
  }
  await Promise.race([ended, sleep(8_000)])
  socket.destroy()
  return answer
}

test.each([
  ['no HTTP', ['HELLO\r\n\r\n'], 400, 'REQUEST_MALFORMED'],
  ['no host', ['GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n'], 400, 'REQUEST_MALFORMED'],
  ['no host at no address', ['GET /nowhere HTTP/1.1\r\nconnection: close\r\n\r\n'], 400, 'REQUEST_MALFORMED'],
  [
    'headers beyond the limit',
    [`GET / HTTP/1.1\r\nhost: x\r\nx-a: ${'a'.repeat(20_000)}\r\n\r\n`],
    431,
    'HEADERS_TOO_LARGE',
  ],
])('%s is answered with a problem document', async (_name, parts, status, code) => {
  const answer = await raw(api.url, parts)
  expect(answer).toContain(`HTTP/1.1 ${status} `)
  expect(answer).toContain(code)
  expect(answer).toContain('application/problem+json')
})

test('HTTP/1.0 needs no host', async () => {
  expect(await raw(api.url, ['GET /healthz HTTP/1.0\r\n\r\n'])).toContain(' 200 OK')
})

test('a slow client is let go, and others are served meanwhile', async () => {
  const own = await testService({ COUNTERSIGN_REQUEST_TIMEOUT_MS: '1000' })
  try {
    const token = await own.token(['ledger/events:write'])
    const size = await own.size('acme')
    const head = `POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n`
    const slow = raw(own.url, [head, '{"type":'])
    expect((await own.call('POST', '/v1/events', { token, body: { type: 'a.b' } })).status).toBe(201)
    const answer = await slow
    expect(answer).toContain('HTTP/1.1 408 ')
    expect(answer).toContain('REQUEST_TIMEOUT')
    expect(await own.size('acme')).toBe(size + 1)
  } finally {
    await own.close()
  }
})

test('a shutdown answers everything that was accepted', async () => {
  const own = await testService()
  const token = await own.token(['ledger/events:write'])
  const size = await own.size('acme')
  const admin = await own.server.superuser()
  // Hold the head, so that the requests are under way when the shutdown begins.
  await admin.query('begin')
  await admin.query(`select from heads where tenant = 'acme' for update`)
  const calls = Array.from({ length: 40 }, () => own.call('POST', '/v1/events', { token, body: { type: 'a.b' } }))
  await sleep(300)
  const closing = own.service.close()
  await sleep(200)
  await admin.query('rollback')
  const answers = await Promise.all(calls)
  await closing
  expect(answers.map(({ status }) => status)).toEqual(calls.map(() => 201))
  expect(await own.size('acme')).toBe(size + 40)
  await expect(own.call('GET', '/healthz')).rejects.toThrow()
  await own.close()
})
