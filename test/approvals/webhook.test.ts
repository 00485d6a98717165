import { expect, test } from 'vitest'
import { checkWebhook, isSubscribed } from '../../src/approvals/webhook.js'

const refusal = (code: string, pointer: string) => expect.objectContaining({ code, pointer }) as Error
const target = { id: 'ops', url: 'https://example.org/hook', events: ['change.*'] }

test('a webhook is kept with its events in order, each once', () => {
  const events = ['change.*', '*', 'verification.finding', '*']
  expect(checkWebhook({ ...target, events })).toEqual({ ...target, events: ['*', 'change.*', 'verification.finding'] })
  expect(checkWebhook({ ...target, events: [] }).events).toEqual([])
})

test.each(['', 'Ops', '1st', 'a/b', 'a.b', 'x'.repeat(64), '../x'])('%j names no webhook', (id) => {
  expect(() => checkWebhook({ ...target, id })).toThrow(refusal('WEBHOOK_INVALID', '/id'))
})

test.each(['', 'change', 'change.', '.*', 'change*', 'ch*.x', '**', 'Change.*', 'a b.c'])(
  '%j is no type of notice',
  (event) => {
    expect(() => checkWebhook({ ...target, events: ['*', event] })).toThrow(refusal('WEBHOOK_INVALID', '/events/1'))
  },
)

test.each(['https://example.org/a b', 'https://example.org/\n', ' https://example.org/', 'https://exa\tmple.org/'])(
  '%j is refused, whatever a lenient parser makes of it',
  (url) => expect(() => checkWebhook({ ...target, url })).toThrow(refusal('WEBHOOK_TARGET_REFUSED', '/url')),
)

test.each([
  ['*', 'change.escalated', true],
  ['change.*', 'change.escalated', true],
  ['change.escalated', 'change.escalated', true],
  ['change.*', 'changes.escalated', false],
  ['change.*', 'change', false],
  ['change.reminded', 'change.escalated', false],
])('a webhook for %s and a notice of %s: %s', (pattern, type, sent) => {
  expect(isSubscribed({ events: [pattern] }, type)).toBe(sent)
})
