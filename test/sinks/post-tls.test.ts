import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Guard } from '../../src/sinks/guard.js'
import { post } from '../../src/sinks/post.js'
import { root } from '../support/root.js'

// A key and a certificate of its own for hooks.test, which nobody trusts unless told to.
const tls = (name: string) => join(root, 'test', 'fixtures', 'tls', name)

let server: Server
let port: number
/** The names under which it was asked. */
const asked: (string | false | null)[] = []

beforeAll(async () => {
  server = createServer(
    { key: readFileSync(tls('hooks.test.key')), cert: readFileSync(tls('hooks.test.crt')) },
    (request, response) => {
      asked.push((request.socket as TLSSocket & { servername?: string | false }).servername ?? null)
      request.resume()
      response.writeHead(204).end()
    },
  )
  server.on('tlsClientError', () => undefined)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  ;({ port } = server.address() as AddressInfo)
})
afterAll(async () => {
  server.closeAllConnections()
  server.close()
  await once(server, 'close')
})

test('a receiver whose certificate nobody vouches for gets nothing', async () => {
  const guard = new Guard(['127.0.0.0/8'], async () => [{ address: '127.0.0.1', family: 4 }])
  const sent = post(guard, {
    target: `https://hooks.test:${port}/`,
    headers: {},
    body: Buffer.from('x'),
    timeoutMs: 5_000,
  })
  await expect(sent).rejects.toMatchObject({ code: 'WEBHOOK_UNREACHABLE' })
  expect(asked).toEqual([])
})

/** The same in a process that trusts the certificate, as NODE_EXTRA_CA_CERTS has it. */
async function sentByTrusting(host: string): Promise<string> {
  const script = `
    const { Guard } = await import(${JSON.stringify(join(root, 'dist', 'src', 'sinks', 'guard.js'))})
    const { post } = await import(${JSON.stringify(join(root, 'dist', 'src', 'sinks', 'post.js'))})
    const guard = new Guard(['127.0.0.0/8'], async () => [{ address: '127.0.0.1', family: 4 }])
    const sending = { target: 'https://${host}:${port}/', headers: {}, body: Buffer.from('x'), timeoutMs: 5_000 }
    console.log(await post(guard, sending).then(({ status }) => status, ({ code }) => code))`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    env: { PATH: process.env['PATH'] ?? '', NODE_EXTRA_CA_CERTS: tls('hooks.test.crt') },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
  await once(child, 'close')
  return said.trim()
}

test('a trusted one is asked by its name although the connection goes to a checked address', async () => {
  expect(await sentByTrusting('hooks.test')).toBe('204')
  expect(asked).toEqual(['hooks.test'])
})

test('a certificate of another name is refused', async () => {
  const before = asked.length
  expect(await sentByTrusting('other.test')).toBe('WEBHOOK_UNREACHABLE')
  expect(asked).toHaveLength(before)
})
