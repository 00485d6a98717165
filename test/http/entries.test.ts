import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { testService, type TestService } from '../support/service.js'

let api: TestService
let admin: string
let auditor: string

beforeAll(async () => {
  api = await testService()
  admin = await api.token()
  auditor = await api.token(['ledger/*:read'], { principal: 'service:auditor' })
  const events = Array.from({ length: 30 }, (_, n) => ({
    type: n % 3 === 0 ? 'disk.mounted' : 'file.read',
    actor: { id: `service:${n % 2 === 0 ? 'even' : 'odd'}` },
    targets: [{ id: `file:${n}` }, { id: 'disk:1' }],
    outcome: n % 5 === 0 ? 'denied' : 'success',
    data: { n },
  }))
  await api.call('POST', '/v1/events', { token: admin, body: events })
})
afterAll(() => api.close())

interface View {
  seq: number
  at: string
  chainHash: string
  reported: boolean
  event: { type: string; data?: { n?: number } }
}
interface Page {
  entries: View[]
  next?: string
  indexedUpTo: number
}

async function page(query: string, token = auditor): Promise<Page> {
  const answer = await api.call('GET', `/v1/entries${query}`, { token })
  expect([query, answer.status, answer.json['code']]).toEqual([query, 200, undefined])
  return answer.json as unknown as Page
}

const atHead = async () => `atLeast=${(await api.size('acme')) - 1}`

test('pages follow each other without gap or repeat', async () => {
  const seen: number[] = []
  let cursor = ''
  for (;;) {
    const { entries, next } = await page(`?limit=7${cursor}`)
    seen.push(...entries.map(({ seq }) => seq))
    if (next === undefined) break
    cursor = `&cursor=${next}`
  }
  expect(seen).toEqual(Array.from({ length: await api.size('acme') }, (_, seq) => seq))
})

test('filters find what was reported, once the index has it', async () => {
  const wait = await atHead()
  const found = await page(`?${wait}&type=disk.*&limit=1000`)
  expect(found.entries.map(({ event }) => event.data?.n)).toEqual([0, 3, 6, 9, 12, 15, 18, 21, 24, 27])
  expect(found.indexedUpTo).toBeGreaterThanOrEqual((await api.size('acme')) - 1)
  expect((await page(`?${wait}&actor=service:odd&outcome=denied`)).entries.map(({ event }) => event.data?.n)).toEqual([
    5, 15, 25,
  ])
  expect((await page(`?${wait}&target=file:7`)).entries.map(({ event }) => event.data?.n)).toEqual([7])
  expect((await page(`?${wait}&target=disk:1&limit=1000`)).entries).toHaveLength(30)
})

test('one’s own write is there when one waits for it', async () => {
  const written = await api.call('POST', '/v1/events', { token: admin, body: { type: 'own.write' } })
  const [{ seq }] = written.json['entries'] as [{ seq: number }]
  const { entries } = await page(`?type=own.write&atLeast=${seq}`)
  expect(entries.map((entry) => entry.seq)).toEqual([seq])
})

test('NDJSON streams everything that a filter finds', async () => {
  const answer = await api.call('GET', `/v1/entries?${await atHead()}&type=file.*`, {
    token: auditor,
    headers: { accept: 'application/x-ndjson' },
  })
  expect(answer.status).toBe(200)
  expect(answer.headers.get('content-type')).toBe('application/x-ndjson')
  expect(Number(answer.headers.get('countersign-indexed-up-to'))).toBeGreaterThan(29)
  const lines = answer.text.trimEnd().split('\n')
  expect(lines).toHaveLength(20)
  for (const line of lines) expect((JSON.parse(line) as View).event.type).toBe('file.read')
})

test('an entry comes with the bytes that its hashes are of', async () => {
  const last = (await api.size('acme')) - 1
  const previous = (await api.call('GET', `/v1/entries/${last - 1}`, { token: auditor })).json
  const answer = await api.call('GET', `/v1/entries/${last}`, { token: auditor })
  const { leaf, leafHash, chainHash, seq, reported } = answer.json as {
    leaf: string
    leafHash: string
    chainHash: string
    seq: number
    reported: boolean
  }
  expect([seq, reported]).toEqual([last, true])
  const sha256 = (...parts: Buffer[]) => createHash('sha256').update(Buffer.concat(parts)).digest()
  const hashed = sha256(Buffer.from([0]), Buffer.from(leaf, 'base64'))
  expect(leafHash).toBe(hashed.toString('hex'))
  expect(chainHash).toBe(sha256(Buffer.from(String(previous['chainHash']), 'hex'), hashed).toString('hex'))
})

test("another tenant's entries are not there", async () => {
  const other = await api.token(['*/*:*'], { tenant: 'other' })
  const size = await api.size('other')
  const answer = await api.call('GET', `/v1/entries/${size + 3}`, { token: other })
  expect(answer.json).toMatchObject({ status: 404, code: 'ENTRY_UNKNOWN' })
  const text = (await api.call('GET', '/v1/entries?limit=1000', { token: other })).text
  expect(text).not.toContain('file.read')
  const reveal = await api.call('POST', `/v1/entries/${size + 3}/reveal`, {
    token: other,
    body: { group: 'name', reason: 'curiosity' },
  })
  expect(reveal.json).toMatchObject({ status: 404, code: 'ENTRY_UNKNOWN' })
})

test.each([
  ['?cursor=nonsense', 'CURSOR_INVALID', '/cursor'],
  ['?fromSeq=9&toSeq=3', 'RANGE_INVALID', '/fromSeq'],
  ['?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z', 'RANGE_INVALID', '/from'],
  ['?from=yesterday', 'RANGE_INVALID', '/from'],
  ['?from=2026-01-02T00:00:00', 'RANGE_INVALID', '/from'],
  ['?fromSeq=-1', 'REQUEST_INVALID', '/fromSeq'],
  ['?fromSeq=0x10', 'REQUEST_INVALID', '/fromSeq'],
  ['?limit=0', 'REQUEST_INVALID', '/limit'],
  ['?limit=1001', 'REQUEST_INVALID', '/limit'],
  ['?type=role*', 'FILTER_INVALID', '/type'],
  ['?type=a.b&type=a.c', 'REQUEST_INVALID', '/type'],
  ['?outcome=maybe', 'REQUEST_INVALID', '/outcome'],
  ['?colour=red', 'REQUEST_INVALID', '/colour'],
  ['/minus-one', 'REQUEST_INVALID', '/seq'],
  ['/99999999999999999999', 'RANGE_INVALID', '/seq'],
])('%s is refused as %s', async (query, code, pointer) => {
  const answer = await api.call('GET', `/v1/entries${query}`, { token: auditor })
  expect(answer.json).toMatchObject({ status: 400, code, pointer })
})

test('a cursor of another query is refused', async () => {
  const { next } = await page('?limit=2')
  const answer = await api.call('GET', `/v1/entries?limit=2&type=a.b&cursor=${next}`, { token: auditor })
  expect(answer.json['code']).toBe('CURSOR_INVALID')
})

test.each([
  { path: '/v1/entries?atLeast=9007199254740993', pointer: '/atLeast' },
  { path: '/v1/entries?fromSeq=9007199254740993', pointer: '/fromSeq' },
  { path: '/v1/entries?toSeq=99999999999999999999999', pointer: '/toSeq' },
  { path: '/v1/entries/live?from=9007199254740993', pointer: '/from' },
  { path: '/v1/entries/9007199254740993', pointer: '/seq' },
])('$path names no number that doubles can hold', async ({ path, pointer }) => {
  const answer = await api.call('GET', path, { token: auditor })
  expect(answer.json).toMatchObject({ status: 400, code: 'RANGE_INVALID', pointer })
})

test('waiting for what is not there yet ends', async () => {
  const own = await testService({ COUNTERSIGN_WAIT_LIMIT_MS: '200' })
  try {
    const token = await own.token(['ledger/*:read'])
    const answer = await own.call('GET', '/v1/entries?type=a.b&atLeast=1000000', { token })
    expect(answer.json).toMatchObject({ status: 503, code: 'INDEX_BEHIND' })
    expect(answer.json['detail']).toMatch(/^the log ends at entry \d+: there is no entry 1000000 yet/)
    expect(answer.headers.get('retry-after')).toBe('1')
  } finally {
    await own.close()
  }
})

test('the log tells its size, its head and what it rests on', async () => {
  const { json } = await api.call('GET', '/v1/log', { token: auditor })
  const size = await api.size('acme')
  expect(json).toMatchObject({ tenant: 'acme', size, level: 'chained', lastVerification: null })
  expect(json['expect']).toBe(`${size - 1}:${String(json['chainHash'])}`)
})

describe('live', () => {
  /** Opens a feed; `take` waits for so many events. */
  async function feed(query: string, headers: Record<string, string> = {}, token = auditor) {
    const request = httpRequest(`${api.url}/v1/entries/live${query}`, {
      headers: { authorization: `Bearer ${token}`, ...headers },
    })
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    response.setEncoding('utf8')
    let text = ''
    const more = new Set<() => void>()
    response.on('data', (chunk: string) => {
      text += chunk
      for (const wake of more) wake()
    })
    response.on('error', () => undefined)
    const events = () =>
      [...text.matchAll(/^id: (\d+)\nevent: entry\ndata: (.*)\n$/gm)].map(([, id, data]) => ({ id, data }))
    return {
      response,
      async take(count: number) {
        while (events().length < count) {
          await new Promise<void>((resolve) => {
            const wake = () => {
              more.delete(wake)
              resolve()
            }
            more.add(wake)
          })
        }
        return events()
      },
      close: () => request.destroy(),
    }
  }

  const write = async (type: string) => {
    const answer = await api.call('POST', '/v1/events', { token: admin, body: { type } })
    return (answer.json['entries'] as [{ seq: number }])[0].seq
  }

  test('an entry comes as it is committed', async () => {
    const open = await feed('')
    expect(open.response.headers['content-type']).toBe('text/event-stream; charset=utf-8')
    // The feed begins with what comes after it was opened; the first write may come before it looked.
    let seq = -1
    const writing = setInterval(() => void write('live.one').then((written) => (seq = written)), 100)
    const [event] = await open.take(1)
    clearInterval(writing)
    expect(JSON.parse(event?.data ?? '')).toMatchObject({ seq: Number(event?.id), event: { type: 'live.one' } })
    expect(seq).toBeGreaterThanOrEqual(-1)
    open.close()
  })

  test('a feed goes on behind Last-Event-ID, without gap or repeat', async () => {
    const first = await feed('?from=0')
    const seen = await first.take(5)
    first.close()
    const size = await api.size('acme')
    const second = await feed('', { 'last-event-id': String(seen[4]?.id) })
    await second.take(size - 5)
    await write('live.two')
    const rest = await second.take(size - 4)
    second.close()
    expect([...seen.slice(0, 5), ...rest].map(({ id }) => Number(id))).toEqual(
      Array.from({ length: size + 1 }, (_, n) => n),
    )
  })

  test('a Last-Event-ID of another kind is refused', async () => {
    const answer = await api.call('GET', '/v1/entries/live', { token: auditor, headers: { 'last-event-id': 'abc' } })
    expect(answer.json).toMatchObject({ status: 400, code: 'CURSOR_INVALID', pointer: '/last-event-id' })
  })

  test('a Last-Event-ID behind the end of the log is refused, and the last one is not', async () => {
    const size = await api.size('acme')
    const headers = { 'last-event-id': String(size) }
    const answer = await api.call('GET', '/v1/entries/live', { token: auditor, headers })
    expect(answer.json).toMatchObject({ status: 400, code: 'CURSOR_INVALID', pointer: '/last-event-id' })
    expect(answer.json['detail']).toContain(`the log ends at entry ${size - 1}`)
    const open = await feed('', { 'last-event-id': String(size - 1) })
    await write('live.last')
    expect((await open.take(1))[0]?.id).toBe(String(size))
    open.close()
  })

  test('a feed ends when its token is revoked', async () => {
    const made = await api.call('POST', '/v1/tokens', {
      token: admin,
      body: { principal: 'service:watcher', permissions: ['ledger/entries:read'] },
    })
    const open = await feed('?from=0', {}, String(made.json['token']))
    await open.take(3)
    const ended = once(open.response, 'end')
    await api.call('DELETE', `/v1/tokens/${String(made.json['id'])}`, { token: admin })
    await ended
  })

  test('one token holds so many feeds and no more; those that end make room', async () => {
    const token = await api.token(['ledger/entries:read'], { principal: 'service:many' })
    const open = await Promise.all(Array.from({ length: 100 }, () => feed('', {}, token)))
    const refused = await api.call('GET', '/v1/entries/live', { token })
    expect(refused.json).toMatchObject({ status: 429, code: 'RATE_LIMITED' })
    for (const each of open) each.close()
    await expect
      .poll(async () => {
        const again = await feed('', {}, token)
        again.close()
        return again.response.statusCode
      })
      .toBe(200)
  })

  test('a shutdown ends feeds', async () => {
    const own = await testService()
    const token = await own.token(['ledger/*:read'])
    const response = await fetch(`${own.url}/v1/entries/live?from=0`, { headers: { authorization: `Bearer ${token}` } })
    const text = response.text()
    await own.service.close()
    expect(await text).toContain('retry: ')
    await own.close()
  })
})
