import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readConfig, temporalVariables } from '../../src/config.js'
import { grpcCode } from '../../src/temporal/grpc.js'
import { namespaceOf, openTemporal } from '../../src/temporal/connection.js'
import { configuredTemporal } from '../../src/temporal/target.js'
import { testTemporal } from '../support/temporal.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'countersign-test-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const configured = (env: Record<string, string>) => configuredTemporal(readConfig(env), temporalVariables(env))
const AT = { TEMPORAL_ADDRESS: 'temporal.example.org:7233' }

test('without an address there is none, whatever else is set', () => {
  expect(configured({})).toBeUndefined()
  expect(configured({ TEMPORAL_API_KEY: 'k', TEMPORAL_NAMESPACE: 'n' })).toBeUndefined()
})

test('an address alone is a cluster that asks for nothing, in our namespace', () => {
  expect(configured(AT)).toEqual({ address: 'temporal.example.org:7233', namespace: 'countersign' })
  expect(configured({ ...AT, TEMPORAL_NAMESPACE: 'audit' })?.namespace).toBe('audit')
})

test.each(['temporal.example.org', 'https://temporal.example.org:7233', 'a b:7233', ':7233'])(
  'an address like %s is refused',
  (address) => {
    expect(() => configured({ TEMPORAL_ADDRESS: address })).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID' }) as Error,
    )
  },
)

test('an API key turns TLS on', () => {
  expect(configured({ ...AT, TEMPORAL_API_KEY: 'secret' })?.access).toEqual({ apiKey: 'secret', tls: true })
})

test('certificates of our own and of the server, by path', () => {
  for (const name of ['cert', 'key', 'ca']) writeFileSync(join(folder, name), `PEM of ${name}`)
  const access = configured({
    ...AT,
    TEMPORAL_TLS_CLIENT_CERT_PATH: join(folder, 'cert'),
    TEMPORAL_TLS_CLIENT_KEY_PATH: join(folder, 'key'),
    TEMPORAL_TLS_SERVER_CA_CERT_PATH: join(folder, 'ca'),
    TEMPORAL_TLS_SERVER_NAME: 'inside.example.org',
  })?.access
  const tls = access?.tls as { serverNameOverride?: string; serverRootCACertificate?: Uint8Array }
  expect(tls.serverNameOverride).toBe('inside.example.org')
  expect(Buffer.from(tls.serverRootCACertificate ?? []).toString()).toBe('PEM of ca')
  expect(JSON.stringify(tls)).toContain('clientCertPair')
})

test('a certificate that is not there is said, and no secret with it', () => {
  const env = { ...AT, TEMPORAL_API_KEY: 'secret', TEMPORAL_TLS_SERVER_CA_CERT_PATH: join(folder, 'missing') }
  const error = (() => {
    try {
      return configured(env)
    } catch (error) {
      return error
    }
  })()
  expect(error).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('missing') })
  expect(String(error)).not.toContain('secret')
})

test('a configuration file is read where a variable asks for it, and not because it lies about', () => {
  const file = join(folder, 'temporal.toml')
  writeFileSync(file, '[profile.default]\nnamespace = "from-file"\napi_key = "of-the-file"\n')
  expect(configured({ ...AT, HOME: folder, XDG_CONFIG_HOME: folder })?.access).toBeUndefined()
  const read = configured({ ...AT, TEMPORAL_CONFIG_FILE: file })
  expect(read).toMatchObject({ namespace: 'from-file', access: { apiKey: 'of-the-file' } })
  expect(configured({ ...AT, TEMPORAL_CONFIG_FILE: file, TEMPORAL_NAMESPACE: 'ours' })?.namespace).toBe('ours')
})

test('TLS where the server speaks none fails soon, and is no success', async () => {
  const server = await testTemporal()
  const temporal = openTemporal({
    address: server.target.address.replace('127.0.0.1', 'localhost'),
    namespace: 'countersign',
    access: { tls: true, apiKey: 'secret' },
  })
  try {
    const error: unknown = await namespaceOf(temporal).catch((error: unknown) => error)
    expect(grpcCode(error)).toBeGreaterThan(0)
    expect(String(error)).not.toContain('secret')
  } finally {
    await temporal.close()
    await server.close()
  }
})
