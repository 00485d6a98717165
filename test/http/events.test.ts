import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { testService, type TestService } from '../support/service.js'

let api: TestService
let token: string

beforeAll(async () => {
  api = await testService()
  token = await api.token(['ledger/events:write'])
})
afterAll(() => api.close())

interface Entry {
  seq: number
  at: string
  chainHash: string
  actor?: string
  targets?: string[]
  subjects?: string[]
  duplicate?: true
}

const entriesOf = (answer: { json: Record<string, unknown> }) => answer.json['entries'] as Entry[]
const granted = { type: 'role.granted', actor: { id: 'service:hr' }, targets: [{ id: 'project:9', type: 'project' }] }

const post = (body: string | Uint8Array | object, headers: Record<string, string> = {}) =>
  api.call('POST', '/v1/events', { token, body, headers })

test('one event is answered with its place, time and chain hash', async () => {
  const before = await api.size('acme')
  const answer = await post(granted)
  expect(answer.text).toContain('entries')
  expect(answer.status).toBe(201)
  const [entry] = entriesOf(answer)
  expect(entry).toEqual({
    seq: before,
    at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string,
    chainHash: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    actor: 'service:hr',
    targets: ['project:9'],
  })
  expect(await api.size('acme')).toBe(before + 1)
})

test('an array is taken whole, in its order', async () => {
  const answer = await post([granted, { type: 'role.revoked' }, { type: 'role.granted' }])
  expect(answer.status).toBe(201)
  const [first, second, third] = entriesOf(answer)
  expect([second?.seq, third?.seq]).toEqual([(first?.seq ?? 0) + 1, (first?.seq ?? 0) + 2])
})

test('NDJSON is taken line by line', async () => {
  const body = `${JSON.stringify(granted)}\n\n${JSON.stringify({ type: 'role.revoked' })}\r\n`
  const answer = await post(body, { 'content-type': 'application/x-ndjson' })
  expect(answer.status).toBe(201)
  expect(entriesOf(answer)).toHaveLength(2)
})

test('people are answered as pseudonyms, the same for the same person', async () => {
  const person = { kind: 'email', value: 'Ada@example.org' }
  const event = { type: 'user.moved', actor: person, personal: [{ group: 'address', subject: person, data: 'Here 1' }] }
  const [first] = entriesOf(await post(event))
  const [second] = entriesOf(await post(event))
  expect(first?.actor).toMatch(/^person:/)
  expect(first?.subjects).toEqual([first?.actor])
  expect(second?.actor).toBe(first?.actor)
})

test('a thousand events are one request', async () => {
  const answer = await post(Array.from({ length: 1000 }, (_, n) => ({ type: 'load.tested', data: { n } })))
  expect(answer.status).toBe(201)
  expect(entriesOf(answer)).toHaveLength(1000)
})

describe('an Idempotency-Key', () => {
  test('gives a repeat the first answer, byte for byte', async () => {
    const first = await post(granted, { 'idempotency-key': 'order 1' })
    const before = await api.size('acme')
    const second = await post(granted, { 'idempotency-key': 'order 1' })
    expect([first.status, second.status]).toEqual([201, 201])
    expect(second.text).toBe(first.text)
    expect(second.headers.get('idempotency-replayed')).toBe('true')
    expect(await api.size('acme')).toBe(before)
  })

  test('with another body is refused', async () => {
    await post(granted, { 'idempotency-key': 'order 2' })
    const before = await api.size('acme')
    const answer = await post({ type: 'role.revoked' }, { 'idempotency-key': 'order 2' })
    expect(answer.status).toBe(422)
    expect(answer.json).toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED', pointer: '/idempotency-key' })
    expect(await api.size('acme')).toBe(before)
  })

  test('whose first request is still being answered is refused', async () => {
    const admin = await api.server.superuser()
    await admin.query('begin')
    await admin.query(`select from heads where tenant = 'acme' for update`)
    const first = post(granted, { 'idempotency-key': 'order 3' })
    let second = await post(granted, { 'idempotency-key': 'order 3' })
    // The first of the two is whichever arrived first; the other is told to wait.
    await admin.query('rollback')
    const answers = [await first, second]
    expect(answers.map((answer) => answer.status).sort((a, b) => a - b)).toEqual([201, 409])
    second = answers.find((answer) => answer.status === 409) ?? second
    expect(second.json['code']).toBe('IDEMPOTENCY_IN_FLIGHT')
    expect(second.headers.get('retry-after')).toBe('1')
  })

  test('is another principal’s own', async () => {
    const other = await api.token(['ledger/events:write'], { principal: 'service:crm' })
    await post(granted, { 'idempotency-key': 'order 4' })
    const answer = await api.call('POST', '/v1/events', {
      token: other,
      body: { type: 'role.revoked' },
      headers: { 'idempotency-key': 'order 4' },
    })
    expect(answer.status).toBe(201)
  })
})

describe('CloudEvents', () => {
  const event = {
    specversion: '1.0',
    id: 'A-1',
    source: '/billing',
    type: 'com.Example.Paid',
    data: { amount: '4.50' },
  }

  test('in structured mode', async () => {
    const answer = await post(JSON.stringify(event), { 'content-type': 'application/cloudevents+json; charset=UTF-8' })
    expect(answer.status).toBe(201)
    const repeat = await post(JSON.stringify(event), { 'content-type': 'application/cloudevents+json' })
    expect(entriesOf(repeat)).toEqual([{ ...entriesOf(answer)[0], duplicate: true }])
  })

  test('in batched mode, told apart one by one', async () => {
    const batch = [event, { ...event, id: 'A-2' }, { ...event, id: 'A-2' }]
    const before = await api.size('acme')
    const answer = await post(JSON.stringify(batch), { 'content-type': 'application/cloudevents-batch+json' })
    expect(answer.status).toBe(201)
    const [old, fresh, again] = entriesOf(answer)
    expect([old?.duplicate, fresh?.duplicate, again?.duplicate]).toEqual([true, undefined, true])
    expect(again?.seq).toBe(fresh?.seq)
    expect(await api.size('acme')).toBe(before + 1)
  })

  test('in binary mode', async () => {
    const headers = {
      'ce-specversion': '1.0',
      'ce-id': 'A-3',
      'ce-source': '/billing',
      'ce-type': 'com.Example.Paid',
      'content-type': 'application/json',
    }
    expect((await post('{"amount":"4.50"}', headers)).status).toBe(201)
    const text = await post('hello', { ...headers, 'ce-id': 'A-4', 'content-type': 'text/plain' })
    expect(text.status).toBe(201)
  })

  test('with a key, the key wins', async () => {
    const headers = { 'content-type': 'application/cloudevents+json', 'idempotency-key': 'ce 1' }
    const first = await post(JSON.stringify({ ...event, id: 'A-5' }), headers)
    const second = await post(JSON.stringify({ ...event, id: 'A-5' }), headers)
    expect(second.text).toBe(first.text)
    expect(entriesOf(second)[0]?.duplicate).toBeUndefined()
  })
})
