import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { inTenant } from '../../src/db/database.js'
import { append } from '../../src/ledger/append.js'
import { eventBytes } from '../../src/ledger/event.js'
import { host } from '../../src/principal.js'
import { testService, type TestService } from '../support/service.js'

let service: TestService
let token: string
beforeAll(async () => {
  service = await testService()
  token = await service.token()
})
afterAll(() => service.close())

const monthly = {
  kind: 'report',
  report: 'audit-trail',
  period: 'month',
  calendar: { dayOfMonth: 1, hour: 6, minute: 30 },
  timeZone: 'Europe/Berlin',
}
const call = (method: string, path: string, body?: object) =>
  service.call(method, `/v1/${path}`, { token, ...(body && { body }) })

async function appendTo(stream: string, type: string, data: object): Promise<void> {
  await inTenant(service.server.db.command, 'acme', (tx) =>
    append(tx, { by: host('acme'), stream, expectedVersion: 0 }, [
      { body: eventBytes({ type, data: data as never }), sealed: [] },
    ]),
  )
}

test('a schedule is set, read, changed and removed', async () => {
  expect((await call('PUT', 'schedules/monthly', monthly)).json).toMatchObject({
    id: 'monthly',
    ...monthly,
    paused: false,
    recipients: [],
    version: 1,
  })
  const again = await call('PUT', 'schedules/monthly', monthly)
  expect([again.status, again.json['version']]).toEqual([200, 1])
  const { json } = await call('GET', 'schedules')
  const schedules = json['schedules'] as { id: string; next: string[] }[]
  expect(schedules.map(({ id }) => id)).toEqual(['verification', 'monthly'])
  for (const { next } of schedules) expect(next).toHaveLength(3)
  expect((await call('PUT', 'schedules/monthly', { ...monthly, paused: true })).json).toMatchObject({
    version: 2,
    next: [],
  })
  expect((await call('DELETE', 'schedules/monthly')).status).toBe(204)
  expect((await call('GET', 'schedules/monthly')).json).toMatchObject({ code: 'SCHEDULE_UNKNOWN' })
  expect((await call('GET', 'schedules/monthly/runs')).json).toEqual({ runs: [] })
  expect((await call('GET', 'schedules/never/runs')).status).toBe(404)
})

test('runs are asked for and stay on record, with Temporal away', async () => {
  await call('PUT', 'schedules/daily', { ...monthly, period: 'day', calendar: { hour: 3 }, timeZone: 'UTC' })
  const past = { from: '2026-11-01T00:00:00Z', to: '2026-11-04T00:00:00Z' }
  const asked = await call('POST', 'schedules/daily/runs', past)
  expect(asked.status).toBe(202)
  const times = ['2026-11-03T03:00:00Z', '2026-11-02T03:00:00Z', '2026-11-01T03:00:00Z']
  await call('POST', 'schedules/daily/runs', past)
  const first = await call('GET', 'schedules/daily/runs?limit=2')
  expect(first.json).toMatchObject({
    runs: times
      .slice(0, 2)
      .map((scheduledAt) => ({ scheduledAt, status: 'requested', requestedBy: 'service:billing' })),
    next: times[1],
  })
  const second = await call('GET', `schedules/daily/runs?before=${times[1]}`)
  expect(second.json).toMatchObject({ runs: [{ scheduledAt: times[2] }] })
  expect((await call('POST', 'schedules/verification/runs', {})).json).toMatchObject({
    runs: [{ schedule: 'verification', kind: 'verification', status: 'requested' }],
  })
})

test.each([
  ['PUT', 'schedules/Bad', monthly, 400, 'REQUEST_INVALID', undefined],
  ['PUT', 'schedules/x', { ...monthly, calendar: undefined, cron: 'soon' }, 400, 'SCHEDULE_CRON_INVALID', '/cron'],
  [
    'PUT',
    'schedules/x',
    { ...monthly, calendar: { dayOfMonth: 31, month: 2 } },
    422,
    'SCHEDULE_NEVER_DUE',
    '/calendar',
  ],
  ['PUT', 'schedules/x', { ...monthly, calendar: { minute: [0, 1] } }, 422, 'SCHEDULE_TOO_FREQUENT', '/calendar'],
  ['PUT', 'schedules/x', { ...monthly, timeZone: 'Nowhere' }, 400, 'REPORT_TIME_ZONE_UNKNOWN', '/timeZone'],
  ['PUT', 'schedules/x', { ...monthly, report: 'gossip' }, 400, 'REPORT_KIND_UNKNOWN', '/report'],
  ['PUT', 'schedules/x', { ...monthly, recipients: ['nobody'] }, 404, 'WEBHOOK_UNKNOWN', '/recipients/0'],
  ['PUT', 'schedules/x', { ...monthly, kind: 'verification' }, 422, 'SCHEDULE_RESERVED', '/kind'],
  ['PUT', 'schedules/x', { ...monthly, period: undefined }, 400, 'SCHEDULE_INVALID', '/period'],
  ['PUT', 'schedules/verification', monthly, 422, 'SCHEDULE_RESERVED', '/kind'],
  ['DELETE', 'schedules/verification', undefined, 422, 'SCHEDULE_RESERVED', '/id'],
  ['DELETE', 'schedules/none', undefined, 404, 'SCHEDULE_UNKNOWN', undefined],
  ['POST', 'schedules/none/runs', {}, 404, 'SCHEDULE_UNKNOWN', undefined],
  ['POST', 'schedules/daily/runs', { from: '2026-11-01T00:00:00Z' }, 400, 'RANGE_INVALID', '/to'],
  [
    'POST',
    'schedules/daily/runs',
    { from: '2020-01-01T00:00:00Z', to: '2026-01-01T00:00:00Z' },
    400,
    'RANGE_INVALID',
    '/from',
  ],
  [
    'POST',
    'schedules/daily/runs',
    { from: '2026-01-01T00:00:00Z', to: '2926-01-01T00:00:00Z' },
    400,
    'RANGE_INVALID',
    '/to',
  ],
  ['POST', 'schedules/daily/runs', { from: 'yesterday', to: '2026-01-01T00:00:00Z' }, 400, undefined, '/from'],
  ['PUT', 'settings/colour', { value: 'red' }, 422, 'SETTING_UNKNOWN', '/name'],
  ['PUT', 'settings/approvals.reminders', { value: { reminderMs: 5 } }, 422, 'SETTING_INVALID', '/value'],
])('%s %s with %j is refused', async (method, path, body, status, code, pointer) => {
  const size = await service.size('acme')
  const answer = await call(method, path, body && (JSON.parse(JSON.stringify(body)) as object))
  expect([answer.status, answer.json['code'], answer.json['pointer']]).toEqual([
    status,
    code ?? answer.json['code'],
    pointer ?? answer.json['pointer'],
  ])
  expect(await service.size('acme')).toBe(size)
})

test('what needs a permission asks for it', async () => {
  const reader = await service.token(['schedules/schedules:read'])
  const as = (method: string, path: string, body?: object) =>
    service.call(method, `/v1/${path}`, { token: reader, ...(body && { body }) })
  expect((await as('GET', 'schedules')).status).toBe(200)
  for (const [method, path, body] of [
    ['PUT', 'schedules/x', monthly],
    ['DELETE', 'schedules/daily'],
    ['POST', 'schedules/daily/runs', {}],
    ['GET', 'settings'],
  ] as const) {
    expect((await as(method, path, body)).status).toBe(403)
  }
})

describe('what the tenant decides about the service', () => {
  test('a setting is changed during setup', async () => {
    const value = { reminderMs: 3_600_000, escalateMs: 600_000 }
    expect((await call('PUT', 'settings/approvals.reminders', { value })).json).toMatchObject({ value, own: true })
    expect((await call('GET', 'settings')).json).toMatchObject({
      settings: [{ name: 'approvals.reminders', value, own: true }],
    })
  })

  test('the verification is on until it is paused, and that is protected once approvals are enforced', async () => {
    const on = await call('GET', 'schedules/verification')
    expect(on.json).toMatchObject({
      kind: 'verification',
      paused: false,
      recipients: [],
      version: 0,
      cron: '0 2 * * *',
    })
    await appendTo('webhook/ops', 'webhook.set', {
      id: 'ops',
      url: 'https://ops.example/',
      events: [],
      authority: { setup: true },
    })
    const told = await call('PUT', 'schedules/verification', { kind: 'verification', recipients: ['ops'] })
    expect(told.json).toMatchObject({ paused: false, recipients: ['ops'], version: 1 })
    const off = await call('PUT', 'schedules/verification', { kind: 'verification', paused: true })
    expect(off.json).toMatchObject({ paused: true, recipients: [], version: 2 })
    await call('PUT', 'schedules/verification', { kind: 'verification', paused: false })
    await appendTo('approvals/enforcement', 'approvals.enforced', {})
    const size = await service.size('acme')
    for (const [path, body] of [
      ['schedules/verification', { kind: 'verification', paused: true }],
      ['settings/approvals.reminders', { value: { reminderMs: 60_000, escalateMs: 60_000 } }],
    ] as const) {
      const answer = await call('PUT', path, body)
      expect([answer.status, answer.json['code']]).toEqual([409, 'CHANGE_REQUIRED'])
    }
    expect(await service.size('acme')).toBe(size)
    expect((await call('PUT', 'schedules/other', monthly)).status).toBe(200)
  })
})
