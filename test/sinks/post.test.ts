import { afterAll, beforeAll, expect, test } from 'vitest'
import { Guard } from '../../src/sinks/guard.js'
import { post } from '../../src/sinks/post.js'
import { receiver, type Receiver } from '../support/receiver.js'

let there: Receiver
beforeAll(async () => {
  there = await receiver()
})
afterAll(() => there.close())

const LOOPBACK = ['127.0.0.0/8', '::1']
const body = Buffer.from('{"a":1}')
const sending = (target: string, timeoutMs = 5_000) => ({ target, headers: { 'x-one': '1' }, body, timeoutMs })
const refusal = (code: string) => expect.objectContaining({ code }) as Error

test('a request arrives as it was sent', async () => {
  expect(await post(new Guard(LOOPBACK), sending(there.url))).toEqual({ status: 204 })
  expect(there.received.at(-1)).toMatchObject({ path: '/hook', headers: { 'x-one': '1', 'content-length': '7' }, body })
})

test('nothing is sent to this machine unless its network is allowed', async () => {
  const { length } = there.received
  const named = new Guard([], async () => [{ address: '127.0.0.1', family: 4 }])
  for (const target of [there.url, `http://localhost:${there.port}/`, `https://[::ffff:127.0.0.1]:${there.port}/`]) {
    await expect(post(new Guard(), sending(target))).rejects.toEqual(refusal('WEBHOOK_TARGET_REFUSED'))
  }
  await expect(post(named, sending(`https://example.org:${there.port}/`))).rejects.toEqual(
    refusal('WEBHOOK_TARGET_REFUSED'),
  )
  expect(there.received).toHaveLength(length)
})

test('a name is asked for once: what it points to later is not connected to', async () => {
  const { length } = there.received
  let asked = 0
  const rebinding = new Guard(LOOPBACK, async () => [
    { address: ++asked === 1 ? '127.0.0.1' : '169.254.169.254', family: 4 },
  ])
  const target = `http://rebind.example.org:${there.port}/hook`
  expect((await post(rebinding, sending(target))).status).toBe(204)
  expect(asked).toBe(1)
  expect(there.received.at(-1)?.headers.host).toBe(`rebind.example.org:${there.port}`)
  // The next delivery asks again, and meets what it points to by now.
  await expect(post(rebinding, sending(target))).rejects.toEqual(refusal('WEBHOOK_TARGET_REFUSED'))
  expect(there.received).toHaveLength(length + 1)
})

test('redirects are answers, and are not followed', async () => {
  const { length } = there.received
  there.answer((response) => response.writeHead(307, { location: there.url }).end())
  expect((await post(new Guard(LOOPBACK), sending(there.url))).status).toBe(307)
  expect(there.received).toHaveLength(length + 1)
})

test('what the receiver asks for in Retry-After is told', async () => {
  there.answer((response) => response.writeHead(503, { 'retry-after': '120' }).end())
  expect(await post(new Guard(LOOPBACK), sending(there.url))).toEqual({ status: 503, retryAfterS: 120 })
  there.answer((response) => response.writeHead(503, { 'retry-after': 'Fri, 20 Nov 2026 10:00:00 GMT' }).end())
  expect(await post(new Guard(LOOPBACK), sending(there.url))).toEqual({ status: 503 })
})

test('an answer without end is cut off', async () => {
  there.answer((response) => {
    response.writeHead(200)
    const chunk = Buffer.alloc(16 * 1024)
    const more = () => {
      while (!response.destroyed && response.write(chunk));
    }
    response.on('drain', more)
    more()
  })
  expect((await post(new Guard(LOOPBACK), sending(there.url))).status).toBe(200)
})

test('who is silent, drips headers, or has no patience for ours, is given up on', async () => {
  there.answer(() => undefined)
  await expect(post(new Guard(LOOPBACK), sending(there.url, 200))).rejects.toEqual(refusal('WEBHOOK_TIMEOUT'))
  const slowName = new Guard(LOOPBACK, () => new Promise(() => undefined))
  await expect(post(slowName, sending('https://slow.example.org/', 200))).rejects.toEqual(refusal('WEBHOOK_TIMEOUT'))
  there.answer((response) => response.socket?.destroy())
  await expect(post(new Guard(LOOPBACK), sending(there.url))).rejects.toEqual(refusal('WEBHOOK_UNREACHABLE'))
  there.answer((response) => response.writeHead(200, { 'x-large': 'x'.repeat(32 * 1024) }).end())
  await expect(post(new Guard(LOOPBACK), sending(there.url))).rejects.toEqual(refusal('WEBHOOK_UNREACHABLE'))
  there.answer(204)
})

test('nobody there, and no TLS there, are told apart from a refusal', async () => {
  const gone = await receiver()
  await gone.close()
  await expect(post(new Guard(LOOPBACK), sending(gone.url))).rejects.toEqual(refusal('WEBHOOK_UNREACHABLE'))
  const tls = sending(there.url.replace('http:', 'https:'))
  await expect(post(new Guard(LOOPBACK), tls)).rejects.toEqual(refusal('WEBHOOK_UNREACHABLE'))
})
