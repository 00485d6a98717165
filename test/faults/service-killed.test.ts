import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { createToken } from '../../src/auth/commands.js'
import { createTenant } from '../../src/keyring/tenants.js'
import { host } from '../../src/principal.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { Proxy } from '../support/proxy.js'
import { say } from '../support/say.js'
import { serve, type Served } from '../support/served.js'
import { verifyChains } from '../support/verify-chain.js'

let server: TestDatabase
let admin: pg.Client
let proxy: Proxy
let served: Served
let tenant: string
let token: string
let tenants = 0

/** The name of every appending statement begins so, and no other's does. */
const APPEND = 'append_'

const start = () => serve({ DATABASE_URL: proxy.url, COUNTERSIGN_HOME: server.home })

beforeAll(async () => {
  server = await testDatabase()
  admin = await server.superuser()
  proxy = await Proxy.to(server.url)
  served = await start()
})

beforeEach(async () => {
  tenant = `tenant-${++tenants}`
  await createTenant(server.db, server.installation, tenant)
  const made = await createToken(server.db, host(tenant), { principal: 'service:billing', permissions: ['*/*:*'] })
  ;({ token } = made)
})

afterAll(async () => {
  await served.end()
  await proxy.close()
  await server.close()
})

interface Answer {
  readonly status: number
  readonly seqs: readonly number[]
}

/** Reports two events under one key. */
async function post(key: string): Promise<Answer> {
  const response = await fetch(`${served.url}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', 'idempotency-key': key },
    body: JSON.stringify([1, 2].map((n) => ({ type: 'invoice.sent', id: `${key}/${n}` }))),
  })
  const { entries = [] } = (await response.json()) as { entries?: { seq: number }[] }
  return { status: response.status, seqs: entries.map(({ seq }) => seq) }
}

/** A client that repeats its request until it is answered. */
async function postUntilAnswered(key: string): Promise<Answer & { tries: number }> {
  for (let tries = 1; ; tries++) {
    const answer = await post(key).catch(() => undefined)
    if (answer && answer.status < 300) return { ...answer, tries }
    if (answer && answer.status !== 503 && answer.status !== 409) throw new Error(`answered ${answer.status}`)
    await sleep(25)
  }
}

/** Places of reported events by their id. */
async function places(): Promise<Map<string, number[]>> {
  const found = new Map<string, number[]>()
  for (const { seq, event } of (await verifyChains(admin)).get(tenant) ?? []) {
    const id = event['id']
    if (typeof id === 'string') found.set(id, [...(found.get(id) ?? []), seq])
  }
  return found
}

const ROUNDS = 3

test('an API killed between commit and answer: the repeat with the same key gets the first answer', async () => {
  const answers: { key: string; seqs: readonly number[] }[] = []
  for (let round = 0; round < ROUNDS; round++) {
    answers.push({ key: `before-${round}`, seqs: (await post(`before-${round}`)).seqs })
    const committed = proxy.withholdAnswers(APPEND)
    const unanswered = post(`lost-${round}`)
    const lost = expect(unanswered).rejects.toThrow()
    await committed
    await served.kill()
    await lost
    served = await start()
    expect((await places()).get(`lost-${round}/1`)).toHaveLength(1)
    answers.push({ key: `lost-${round}`, seqs: (await postUntilAnswered(`lost-${round}`)).seqs })
  }
  const found = await places()
  expect(found.size).toBe(4 * ROUNDS)
  for (const { key, seqs } of answers)
    expect([`${key}/1`, `${key}/2`].map((id) => found.get(id))).toEqual(seqs.map((seq) => [seq]))
  say(`API killed ${ROUNDS} times between commit and answer: each repeat found its events, there once`)
})

test('an API killed before the commit: the repeat with the same key appends', async () => {
  await post('before')
  const { held, release } = proxy.holdQuestions(APPEND)
  const lost = post('lost').catch(() => undefined)
  await held
  await served.kill()
  await lost
  served = await start()
  const { seqs } = await postUntilAnswered('lost')
  // What the killed process had asked for arrives only now.
  await release()
  const found = await places()
  expect(['lost/1', 'lost/2'].map((id) => found.get(id))).toEqual(seqs.map((seq) => [seq]))
})

test(
  'an API killed under load: every client that repeats finds each of its events once',
  { timeout: 120_000 },
  async () => {
    const CLIENTS = 16
    const state = { answered: 0, tries: 0, sent: 0 }
    const stop = new AbortController()
    const clients = Array.from({ length: CLIENTS }, async (_, c) => {
      for (let n = 0; !stop.signal.aborted; n++) {
        state.sent++
        const { tries } = await postUntilAnswered(`client-${c}-${n}`)
        state.answered++
        state.tries += tries
      }
    })
    for (let round = 0; round < ROUNDS; round++) {
      const goal = state.answered + 60
      while (state.answered < goal) await sleep(2)
      await served.kill()
      served = await start()
    }
    stop.abort()
    await Promise.all(clients)
    const found = await places()
    expect(found.size).toBe(2 * state.sent)
    for (const [id, seqs] of found) expect([id, seqs.length]).toEqual([id, 1])
    say(
      `API killed ${ROUNDS} times under ${CLIENTS} clients: ${state.sent} requests answered after ${state.tries} tries, ` +
        `each of their ${found.size} events there once`,
    )
  },
)
