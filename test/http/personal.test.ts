import { afterAll, beforeAll, expect, test } from 'vitest'
import { readLeaf } from '../../src/ledger/entry.js'
import { testService, type TestService } from '../support/service.js'

let api: TestService
let admin: string
let entry: { seq: number; actor: string }
const ada = { kind: 'email', value: 'ada@example.org' }

beforeAll(async () => {
  api = await testService()
  admin = await api.token()
  const answer = await api.call('POST', '/v1/events', {
    token: admin,
    body: {
      type: 'user.moved',
      actor: ada,
      personal: [
        { group: 'address', subject: ada, data: { street: 'Here 1' } },
        { group: 'name', subject: ada, data: 'Ada' },
      ],
    },
  })
  ;[entry] = answer.json['entries'] as [typeof entry]
})
afterAll(() => api.close())

const revealed = (token: string, body: object, seq = entry.seq) =>
  api.call('POST', `/v1/entries/${seq}/reveal`, { token, body })

async function lastEvents(count: number) {
  const rows = await api.server.db.operator
    .selectFrom('entries')
    .select('leaf')
    .where('tenant', '=', 'acme')
    .orderBy('seq', 'desc')
    .limit(count)
    .execute()
  return rows.map(({ leaf }) => ({ ...readLeaf(leaf), text: leaf.toString() }))
}

test('a group is revealed to who may, and the disclosure is an entry before the answer', async () => {
  const token = await api.token(['ledger/entries:read', 'personal/address:reveal'], { principal: 'service:dpo' })
  const answer = await revealed(token, { group: 'address', reason: 'she asked where we think she lives' })
  expect(answer.status).toBe(200)
  expect(answer.headers.get('cache-control')).toBe('no-store')
  expect(answer.json).toMatchObject({
    seq: entry.seq,
    group: 'address',
    subject: entry.actor,
    data: { street: 'Here 1' },
  })
  const [record] = await lastEvents(1)
  expect(record?.entry).toMatchObject({ seq: answer.json['recordedSeq'], by: 'service:dpo' })
  expect(record?.event).toMatchObject({ type: 'personal.revealed', cause: entry.seq })
  expect(record?.text).not.toContain('Here 1')
  expect(record?.text).not.toContain('she asked')
})

test('a permission opens its own group only, and the denial is on record', async () => {
  const token = await api.token(['ledger/entries:read', 'personal/address:reveal'], { principal: 'service:nosy' })
  const answer = await revealed(token, { group: 'name', reason: 'just so' })
  expect(answer.json).toMatchObject({ status: 403, code: 'PERMISSION_MISSING' })
  expect(answer.json['detail']).toContain('personal/name:reveal')
  await expect
    .poll(async () => (await lastEvents(1))[0]?.event)
    .toMatchObject({
      type: 'access.denied',
      actor: { id: 'service:nosy' },
      data: { permission: 'personal/{group}:reveal', route: 'POST /v1/entries/:seq/reveal', count: 1 },
    })
})

test.each([
  [{ group: 'address', reason: '' }, 400, 'REASON_MISSING'],
  [{ group: 'address', reason: 'x'.repeat(501) }, 400, 'REQUEST_INVALID'],
  [{ group: 'address' }, 400, 'REQUEST_INVALID'],
  [{ group: 'Address!', reason: 'why' }, 400, 'REQUEST_INVALID'],
  [{ group: 'phone', reason: 'why' }, 404, 'GROUP_UNKNOWN'],
])('%j is refused: %i %s', async (body, status, code) => {
  const before = await api.size('acme')
  expect((await revealed(admin, body)).json).toMatchObject({ status, code })
  expect(await api.size('acme')).toBe(before)
})

test('an entry that is not there reveals nothing', async () => {
  const answer = await revealed(admin, { group: 'name', reason: 'why' }, 99_999)
  expect(answer.json).toMatchObject({ status: 404, code: 'ENTRY_UNKNOWN' })
})

test('a person is found by identifier, and every search is an entry', async () => {
  const find = (value: string) =>
    api.call('POST', '/v1/subjects/find', { token: admin, body: { kind: 'email', value, reason: 'access request' } })
  const found = await find('ADA@example.org ')
  expect(found.status).toBe(200)
  expect(found.json).toMatchObject({ subject: entry.actor })
  const nobody = await find('nobody@example.org')
  expect(nobody.status).toBe(200)
  expect(nobody.json['subject']).toBeUndefined()
  const records = await lastEvents(2)
  expect(records.map(({ event }) => [event.type, event.data])).toEqual([
    ['subject.searched', { found: false, kind: 'email' }],
    ['subject.searched', { found: true, kind: 'email' }],
  ])
  for (const { text } of records) expect(text).not.toContain('example.org')
})
