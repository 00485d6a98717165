import { readConfig } from '../../src/config.js'
import { createToken, type TokenRequest } from '../../src/auth/commands.js'
import { ensureTenant } from '../../src/keyring/tenants.js'
import { startService, type Service, type ServiceOptions } from '../../src/main.js'
import { host } from '../../src/principal.js'
import { testDatabase, type TestDatabase } from './database.js'

export interface TestService {
  readonly server: TestDatabase
  readonly service: Service
  readonly url: string
  readonly logLines: string[]
  /** A token of a tenant, which is made where it is missing. */
  token(permissions?: readonly string[], options?: Partial<TokenRequest> & { tenant?: string }): Promise<string>
  /** A request to the API; `body` goes as it is, or as JSON. */
  call(method: string, path: string, options?: CallOptions): Promise<Answer>
  /** How many entries a log has. */
  size(tenant: string): Promise<number>
  close(): Promise<void>
}

export interface CallOptions {
  readonly token?: string | undefined
  readonly headers?: Record<string, string>
  readonly body?: string | Uint8Array | object
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** The body, where it is JSON. */
  readonly json: Record<string, unknown>
}

/** A service of a test file's own, on a database of its own. */
export async function testService(
  env: Record<string, string> = {},
  options: Partial<ServiceOptions> = {},
): Promise<TestService> {
  const server = await testDatabase()
  const logLines: string[] = []
  const service = await startService(
    readConfig({
      COUNTERSIGN_HOME: server.home,
      COUNTERSIGN_HTTP_PORT: '0',
      COUNTERSIGN_LOG_LEVEL: 'debug',
      ...env,
    }),
    {
      databaseUrl: server.url,
      installation: server.installation,
      logStream: { write: (line) => logLines.push(line) },
      ...options,
    },
  )
  const { url } = service
  let closed = false
  return {
    server,
    service,
    url,
    logLines,
    async token(permissions = ['*/*:*'], { tenant = 'acme', principal = 'service:billing', ...rest } = {}) {
      await ensureTenant(server.db, server.installation, tenant)
      const { token } = await createToken(server.db, host(tenant), { principal, permissions, ...rest })
      return token
    },
    call: (method, path, given) => call(`${url}${path}`, method, given),
    async size(tenant) {
      const head = await server.db.operator
        .selectFrom('heads')
        .select('next_seq')
        .where('tenant', '=', tenant)
        .executeTakeFirst()
      return head?.next_seq ?? 0
    },
    async close() {
      if (closed) return
      closed = true
      await service.close()
      await server.close()
    },
  }
}

async function call(url: string, method: string, { token, headers, body }: CallOptions = {}): Promise<Answer> {
  const raw = typeof body === 'string' || body instanceof Uint8Array
  const response = await fetch(url, {
    method,
    headers: {
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...(body !== undefined && !raw && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body !== undefined && { body: raw ? (body as BodyInit) : JSON.stringify(body) }),
  })
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.includes('json') === true && text !== ''
  return {
    status: response.status,
    headers: response.headers,
    text,
    json: (isJson ? safeParse(text) : {}) as Record<string, unknown>,
  }
}

function safeParse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return {}
  }
}
