import { describe, expect, test } from 'vitest'
import { DomainError } from '../../src/errors.js'
import { checkEvent } from '../../src/ledger/event.js'

const whole = {
  type: 'com.Example.Invoice-v2.Sent_1',
  id: 'evt-1 é',
  occurredAt: '2026-11-21T10:00:00+01:00',
  actor: { kind: 'email', value: 'ada@example.org', type: 'user' },
  targets: [
    { id: 'invoice:1', type: 'invoice' },
    { id: 'person:01JD4T9Z6V5Q8W3X2Y1R0K7MNB' },
    { kind: 'ip', value: '::1' },
  ],
  outcome: 'success',
  reason: 'POLICY:4.2_a-b',
  data: { any: [null, {}, [], ''] },
  personal: [
    { group: 'actor', subject: 'person:01JD4T9Z6V5Q8W3X2Y1R0K7MNB', data: { name: 'Ada' } },
    { group: 'contact-2', subject: { kind: 'email', value: 'ada@example.org' }, data: '' },
  ],
  schema: 2,
  source: { name: 'billing', delivery: 'exactly-once', position: '17/4A', replayable: false },
  trace: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
  cause: 0,
}

function refusal(value: unknown): DomainError {
  try {
    checkEvent(value, '/3')
  } catch (error) {
    if (error instanceof DomainError) return error
    throw error
  }
  throw new Error('it was taken')
}

test('a whole event passes as it is', () => {
  expect(checkEvent(whole, '')).toBe(whole)
  expect(checkEvent({ type: 'a.b' }, '')).toEqual({ type: 'a.b' })
})

test.each([
  { what: 'null', value: null, code: 'EVENT_MEMBER_TYPE', pointer: '' },
  { what: 'an array', value: [], code: 'EVENT_MEMBER_TYPE', pointer: '' },
  { what: 'a string', value: 'x', code: 'EVENT_MEMBER_TYPE', pointer: '' },
  { what: 'nothing in it', value: {}, code: 'EVENT_MEMBER_MISSING', pointer: '/type' },
  {
    what: 'an inherited type',
    value: JSON.parse('{"__proto__":{"type":"a.b"}}'),
    code: 'EVENT_UNKNOWN_MEMBER',
    pointer: '/__proto__',
  },
])('$what is no event', ({ value, code, pointer }) => {
  expect(refusal(value)).toMatchObject({ code, pointer: `/3${pointer}` })
})

test.each([
  'entry',
  'seq',
  'at',
  'recordedAt',
  'by',
  'via',
  'log',
  'tenant',
  'stream',
  'version',
  'sealed',
  'specversion',
  'user',
  'constructor',
  'a/b',
])('the member %s is unknown, and the message says where it belongs', (name) => {
  const error = refusal({ ...whole, [name]: 1 })
  expect(error).toMatchObject({ code: 'EVENT_UNKNOWN_MEMBER', pointer: `/3/${name.replace('/', '~1')}` })
  expect(error.message.length).toBeGreaterThan(40)
})

test.each(Object.keys(whole))('%s as null is refused', (name) => {
  expect(refusal({ ...whole, [name]: null })).toMatchObject({ code: 'EVENT_MEMBER_TYPE', pointer: `/3/${name}` })
})

test.each(Object.keys(whole))('%s of another type is refused', (name) => {
  for (const other of [true, 'true', 5, [1], { x: 1 }]) {
    const value = { ...whole, [name]: other }
    if (typeof other === typeof whole[name as keyof typeof whole] && !Array.isArray(other)) continue
    expect(refusal(value).code).toMatch(/^EVENT_/)
    expect(refusal(value).pointer).toMatch(new RegExp(`^/3/${name}`))
  }
})

describe('limits', () => {
  const id = (bytes: number): string => 'é'.repeat(Math.floor(bytes / 2)) + 'x'.repeat(bytes % 2)
  test.each([
    { event: { id: id(255) } },
    { event: { id: 'x'.repeat(255) } },
    { event: { source: { name: id(255) } } },
    { event: { actor: { id: id(255), type: id(255) } } },
    { event: { type: `a.${'b'.repeat(126)}` } },
    { event: { reason: 'x'.repeat(64) } },
    { event: { targets: Array.from({ length: 32 }, () => ({ id: 'x' })) } },
    { event: { schema: 1, cause: Number.MAX_SAFE_INTEGER } },
    { event: { personal: Array.from({ length: 32 }, (_, i) => ({ group: `g${i}`, subject: 'person:1', data: 0 })) } },
  ])('taken: $event', ({ event }) => {
    expect(() => checkEvent({ type: 'a.b', ...event }, '')).not.toThrow()
  })

  test.each([
    { event: { id: '' }, code: 'EVENT_MEMBER_VALUE', pointer: '/id' },
    { event: { id: id(256) }, code: 'EVENT_ID', pointer: '/id' },
    { event: { id: 'x'.repeat(300) }, code: 'EVENT_ID', pointer: '/id' },
    { event: { id: 'a\nb' }, code: 'EVENT_ID', pointer: '/id' },
    { event: { id: 'a\u007f' }, code: 'EVENT_ID', pointer: '/id' },
    { event: { id: 'a\u0085' }, code: 'EVENT_ID', pointer: '/id' },
    { event: { id: '\ud800' }, code: 'EVENT_ID', pointer: '/id' },
    { event: { type: 'login' }, code: 'EVENT_TYPE_GRAMMAR', pointer: '/type' },
    { event: { type: '' }, code: 'EVENT_TYPE_GRAMMAR', pointer: '/type' },
    { event: { type: 'a..b' }, code: 'EVENT_TYPE_GRAMMAR', pointer: '/type' },
    { event: { type: 'a.b\n' }, code: 'EVENT_TYPE_GRAMMAR', pointer: '/type' },
    { event: { type: 'é.b' }, code: 'EVENT_TYPE_GRAMMAR', pointer: '/type' },
    { event: { type: `a.${'b'.repeat(127)}` }, code: 'EVENT_TYPE_GRAMMAR', pointer: '/type' },
    { event: { outcome: 'ok' }, code: 'EVENT_MEMBER_VALUE', pointer: '/outcome' },
    { event: { reason: 'x'.repeat(65) }, code: 'EVENT_MEMBER_VALUE', pointer: '/reason' },
    { event: { reason: 'no permission' }, code: 'EVENT_MEMBER_VALUE', pointer: '/reason' },
    { event: { schema: 0 }, code: 'EVENT_MEMBER_VALUE', pointer: '/schema' },
    { event: { schema: 1.5 }, code: 'EVENT_MEMBER_VALUE', pointer: '/schema' },
    { event: { cause: -1 }, code: 'EVENT_MEMBER_VALUE', pointer: '/cause' },
    { event: { cause: 2 ** 53 }, code: 'EVENT_MEMBER_VALUE', pointer: '/cause' },
    { event: { data: {} }, code: 'EVENT_MEMBER_VALUE', pointer: '/data' },
    { event: { targets: [] }, code: 'EVENT_MEMBER_VALUE', pointer: '/targets' },
    {
      event: { targets: Array.from({ length: 33 }, () => ({ id: 'x' })) },
      code: 'EVENT_MEMBER_VALUE',
      pointer: '/targets',
    },
    { event: { targets: [{ id: 'x' }, { type: 'x' }] }, code: 'EVENT_MEMBER_MISSING', pointer: '/targets/1/id' },
    { event: { actor: {} }, code: 'EVENT_MEMBER_MISSING', pointer: '/actor/id' },
    { event: { actor: 'ada' }, code: 'EVENT_MEMBER_TYPE', pointer: '/actor' },
    { event: { actor: { kind: 'email' } }, code: 'EVENT_MEMBER_MISSING', pointer: '/actor/value' },
    { event: { actor: { value: 'a' } }, code: 'EVENT_MEMBER_MISSING', pointer: '/actor/kind' },
    { event: { actor: { kind: 'E-Mail', value: 'a' } }, code: 'EVENT_MEMBER_VALUE', pointer: '/actor/kind' },
    { event: { actor: { kind: 'email', value: 'x'.repeat(2049) } }, code: 'EVENT_ID', pointer: '/actor/value' },
    { event: { actor: { id: 'x', kind: 'email', value: 'a' } }, code: 'EVENT_MEMBER_VALUE', pointer: '/actor' },
    { event: { actor: { id: 'x', name: 'Ada' } }, code: 'EVENT_UNKNOWN_MEMBER', pointer: '/actor/name' },
    { event: { source: {} }, code: 'EVENT_MEMBER_VALUE', pointer: '/source' },
    { event: { source: { delivery: 'maybe' } }, code: 'EVENT_MEMBER_VALUE', pointer: '/source/delivery' },
    { event: { source: { replayable: 'yes' } }, code: 'EVENT_MEMBER_TYPE', pointer: '/source/replayable' },
    { event: { source: { name: 'a\tb' } }, code: 'EVENT_ID', pointer: '/source/name' },
    { event: { source: { url: 'x' } }, code: 'EVENT_UNKNOWN_MEMBER', pointer: '/source/url' },
    { event: { trace: '00-abc' }, code: 'EVENT_MEMBER_VALUE', pointer: '/trace' },
    { event: { trace: `00-${'0'.repeat(32)}-00f067aa0ba902b7-01` }, code: 'EVENT_MEMBER_VALUE', pointer: '/trace' },
    {
      event: { trace: `00-4bf92f3577b34da6a3ce929d0e0e4736-${'0'.repeat(16)}-01` },
      code: 'EVENT_MEMBER_VALUE',
      pointer: '/trace',
    },
    {
      event: { trace: 'ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' },
      code: 'EVENT_MEMBER_VALUE',
      pointer: '/trace',
    },
    {
      event: { trace: '00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01' },
      code: 'EVENT_MEMBER_VALUE',
      pointer: '/trace',
    },
    { event: { personal: [] }, code: 'EVENT_MEMBER_VALUE', pointer: '/personal' },
    {
      event: { personal: [{ group: 'a', subject: 'person:1' }] },
      code: 'EVENT_MEMBER_MISSING',
      pointer: '/personal/0/data',
    },
    { event: { personal: [{ group: 'a', data: 1 }] }, code: 'EVENT_MEMBER_MISSING', pointer: '/personal/0/subject' },
    {
      event: { personal: [{ group: 'a', subject: 'person:1', data: null }] },
      code: 'EVENT_MEMBER_TYPE',
      pointer: '/personal/0/data',
    },
    {
      event: { personal: [{ group: 'A', subject: 'person:1', data: 1 }] },
      code: 'EVENT_MEMBER_VALUE',
      pointer: '/personal/0/group',
    },
    {
      event: { personal: [{ group: 'a', subject: 'ada@example.org', data: 1 }] },
      code: 'EVENT_MEMBER_VALUE',
      pointer: '/personal/0/subject',
    },
    {
      event: { personal: [{ group: 'a', subject: { kind: 'email' }, data: 1 }] },
      code: 'EVENT_MEMBER_MISSING',
      pointer: '/personal/0/subject/value',
    },
    {
      event: { personal: [{ group: 'a', subject: { id: 'x' }, data: 1 }] },
      code: 'EVENT_UNKNOWN_MEMBER',
      pointer: '/personal/0/subject/id',
    },
    {
      event: {
        personal: [
          { group: 'a', subject: 'person:1', data: 1 },
          { group: 'a', subject: 'person:2', data: 1 },
        ],
      },
      code: 'EVENT_MEMBER_VALUE',
      pointer: '/personal/1/group',
    },
  ])('refused: $event', ({ event, code, pointer }) => {
    expect(refusal({ type: 'a.b', ...event })).toMatchObject({ code, pointer: `/3${pointer}` })
  })
})
