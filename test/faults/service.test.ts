import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createToken } from '../../src/auth/commands.js'
import { readConfig } from '../../src/config.js'
import { createTenant } from '../../src/keyring/tenants.js'
import { startService, type Service } from '../../src/main.js'
import { host } from '../../src/principal.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { eventually } from '../support/processes.js'
import { Proxy } from '../support/proxy.js'
import { say } from '../support/say.js'
import { verifyChains } from '../support/verify-chain.js'

const TENANT = 'acme'

let server: TestDatabase
let admin: pg.Client
let proxy: Proxy
let service: Service | undefined
let token: string

beforeEach(async () => {
  server = await testDatabase()
  admin = await server.superuser()
  proxy = await Proxy.to(server.url)
  await createTenant(server.db, server.installation, TENANT)
  const made = await createToken(server.db, host(TENANT), { principal: 'service:billing', permissions: ['*/*:*'] })
  ;({ token } = made)
})

afterEach(async () => {
  await service?.close()
  service = undefined
  await proxy.close()
  await verifyChains(admin)
  await server.close()
})

async function start(env: Record<string, string> = {}): Promise<void> {
  service = await startService(readConfig({ COUNTERSIGN_HOME: server.home, COUNTERSIGN_HTTP_PORT: '0', ...env }), {
    databaseUrl: proxy.url,
    installation: server.installation,
    logStream: { write: () => undefined },
  })
}

interface Answer {
  readonly status: number
  readonly code: string | undefined
  readonly retryAfter: string | null
  readonly seq: number | undefined
}

async function call(method: string, path: string, body?: object): Promise<Answer> {
  const response = await fetch(`${service?.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  })
  const answer = (await response.json()) as { code?: string; entries?: { seq: number }[] }
  const { status, headers } = response
  return { status, code: answer.code, retryAfter: headers.get('retry-after'), seq: answer.entries?.[0]?.seq }
}

const post = (id: string) => call('POST', '/v1/events', { type: 'thing.happened', id })

/** Ids of reported events, in the order of the log. */
async function found(): Promise<unknown[]> {
  const entries = (await verifyChains(admin)).get(TENANT) ?? []
  return entries.filter(({ event }) => event['source']).map(({ event }) => event['id'])
}

test('a database that is gone: 503 and not ready, and back without a restart', async () => {
  await start({ COUNTERSIGN_APPEND_TIMEOUT_MS: '500' })
  const told = new Map<string, Answer>()
  const state = { sent: 0, over: false }
  const clients = Array.from({ length: 8 }, async () => {
    while (!state.over) {
      const id = `event-${state.sent++}`
      told.set(id, await post(id))
    }
  })
  const accepted = () => [...told.values()].filter(({ status }) => status === 201).length
  const refused = () => [...told.values()].filter(({ status }) => status === 503)
  await eventually(() => accepted() > 50)
  expect((await call('GET', '/readyz')).status).toBe(200)

  proxy.shut()
  await eventually(async () => (await call('GET', '/readyz')).status === 503)
  expect((await call('GET', '/healthz')).status).toBe(200)
  await eventually(() => refused().length > 50)
  expect(await call('GET', '/v1/entries')).toMatchObject({ status: 503, code: 'STORE_UNAVAILABLE' })
  const before = accepted()

  proxy.reopen()
  await eventually(async () => (await call('GET', '/readyz')).status === 200)
  await eventually(() => accepted() > before + 50)
  state.over = true
  await Promise.all(clients)

  for (const { code, retryAfter } of refused()) {
    expect(['STORE_UNAVAILABLE', 'OUTCOME_UNKNOWN']).toContain(code)
    expect(Number(retryAfter)).toBeGreaterThan(0)
  }
  const inLog = await found()
  const unique = new Set(inLog)
  expect(unique.size).toBe(inLog.length)
  let unknown = 0
  for (const [id, { status, code }] of told) {
    if (code === 'OUTCOME_UNKNOWN') unknown++
    else expect([id, status, unique.has(id)]).toEqual([id, status === 201 ? 201 : 503, status === 201])
  }
  // The index follows again, too.
  const { seq } = await post('last')
  expect((await call('GET', `/v1/entries?atLeast=${seq}`)).status).toBe(200)
  say(
    `database gone and back: ${accepted()} requests accepted, all there; ${refused().length} answered 503, ` +
      `${unknown} of them with an unknown outcome, none of the others there`,
  )
})

test('a full queue: 503 with Retry-After, and nothing lost that was acknowledged', async () => {
  const LIMIT = 60
  const SENT = 150
  await start({ COUNTERSIGN_QUEUE_LIMIT_EVENTS: String(LIMIT) })
  await post('first')
  await admin.query('begin')
  await admin.query('select from heads where tenant = $1 for update', [TENANT])
  const answers = Array.from({ length: SENT }, (_, n) => post(`event-${n}`))
  const refused: Answer[] = []
  for (const answer of answers) {
    void answer.then((got) => {
      if (got.status !== 201) refused.push(got)
    })
  }
  await eventually(() => refused.length === SENT - LIMIT)
  await admin.query('commit')
  const all = await Promise.all(answers)
  for (const answer of refused) expect(answer).toMatchObject({ status: 503, code: 'QUEUE_FULL', retryAfter: '1' })
  const accepted = all.flatMap(({ status }, n) => (status === 201 ? [`event-${n}`] : []))
  expect(accepted).toHaveLength(LIMIT)
  expect(new Set(await found())).toEqual(new Set(['first', ...accepted]))
  expect((await post('last')).status).toBe(201)
  say(`queue of ${LIMIT} full: ${SENT} requests, ${accepted.length} accepted and there, ${refused.length} answered 503`)
})

test('slow clients keep nobody waiting, whether they send or read slowly', async () => {
  await start({ COUNTERSIGN_REQUEST_TIMEOUT_MS: '1500' })
  const SLOW = 40
  const head =
    `POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n` +
    'content-type: application/json\r\ncontent-length: 500000\r\n\r\n{"type":'
  const senders = Array.from({ length: SLOW }, () => raw(head))
  for (let n = 0; n < 60; n++) {
    const events = Array.from({ length: 50 }, (_, k) => ({
      type: 'thing.happened',
      id: `e-${n}-${k}`,
      data: { text: 'x'.repeat(1000) },
    }))
    expect((await call('POST', '/v1/events', events)).status).toBe(201)
  }
  const { seq } = await post('last')
  const stream = `GET /v1/entries?atLeast=${seq} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\naccept: application/x-ndjson\r\nconnection: close\r\n\r\n`
  const readers = Array.from({ length: 4 }, () => raw(stream, { reads: false }))
  for (let n = 0; n < 100; n++) expect((await post(`after-${n}`)).status).toBe(201)
  const timedOut = (await Promise.all(senders.map((sender) => sender.answer()))).filter((text) =>
    text.startsWith('HTTP/1.1 408 '),
  )
  expect(timedOut).toHaveLength(SLOW)
  for (const reader of readers) {
    const text = await reader.answer()
    expect(text).toMatch(/^HTTP\/1.1 200 /)
    expect(text).toContain('"e-59-49"')
  }
  expect(await found()).toHaveLength(60 * 50 + 101)
  say(
    `${SLOW} clients that never ended their requests got 408, 4 that read late got it all; 161 requests meanwhile were answered`,
  )
})

/** A connection of a client that is not in a hurry: what it reads it reads when asked for. */
function raw(text: string, { reads = true } = {}): { answer(): Promise<string> } {
  const { port, hostname } = new URL(service?.url ?? '')
  const socket = connect(Number(port), hostname)
  const chunks: Buffer[] = []
  socket.on('error', () => undefined)
  const ended = new Promise<void>((done) => socket.once('close', () => done()))
  const read = () => socket.on('data', (bytes: Buffer) => chunks.push(bytes))
  if (reads) read()
  socket.write(text)
  return {
    async answer() {
      if (!reads) read()
      await Promise.race([ended, sleep(30_000, undefined, { ref: false })])
      return Buffer.concat(chunks).toString()
    },
  }
}
