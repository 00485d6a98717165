import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { enforceApprovals } from '../../src/approvals/commands/enforce.js'
import { applyChange } from '../../src/approvals/commands/apply.js'
import { readGoverned } from '../../src/approvals/governed.js'
import { webhooksOf } from '../../src/approvals/webhook.js'
import { logSink } from '../../src/sinks/log.js'
import { entryId, type Notification } from '../../src/sinks/notification.js'
import { notify, notifyWebhook } from '../../src/sinks/notify.js'
import { Tenant, type Person } from '../support/changes.js'
import { outsideBench, type OutsideBench } from '../support/outside.js'
import { receiver, type Receiver } from '../support/receiver.js'

let bench: OutsideBench
let there: Receiver
let acme: Tenant

beforeAll(async () => {
  bench = await outsideBench(async (name) =>
    name === 'inside.test' ? [{ address: '10.0.0.1', family: 4 }] : [{ address: '127.0.0.1', family: 4 }],
  )
})
afterAll(() => bench.close())
beforeEach(async () => {
  there = await receiver()
  acme = await Tenant.create(bench)
  return () => there.close()
})

const refusal = (code: string) => expect.objectContaining({ code }) as Error
const set = (id: string, events: string[], url = `http://${id}.test:${there.port}/${id}`) =>
  acme.directly('webhook.set', { id, url, events })
const notice = (type = 'change.escalated'): Notification => ({
  tenant: acme.tenant,
  id: entryId(acme.tenant, 7),
  type,
  at: '2026-11-20T10:00:00.000Z',
  data: { change: '01JD4T9Z6V5Q8W3X2Y1R0K7MNB' },
})
const records = async () =>
  (await acme.events())
    .filter(({ event }) => event.type.startsWith('webhook.deliver'))
    .map(({ entry, event }) => ({ entry, event }))

describe('a notice', () => {
  test('is told to the log and to each webhook that asked for it, and each result is a record of the service', async () => {
    await set('all', ['*'])
    await set('changes', ['change.*'])
    await set('findings', ['verification.finding'])
    await set('orders', [])
    expect(await notify(bench.deps, notice())).toEqual({ failed: [] })
    expect(bench.notices.at(-1)).toEqual(notice())
    expect(there.received.map(({ path }) => path).sort()).toEqual(['/all', '/changes'])
    const [got] = there.received
    expect(got?.headers['webhook-id']).toBe(`${acme.tenant}-7`)
    expect(JSON.parse(got?.body.toString() ?? '')).toEqual({
      type: 'change.escalated',
      timestamp: '2026-11-20T10:00:00.000Z',
      data: { tenant: acme.tenant, change: '01JD4T9Z6V5Q8W3X2Y1R0K7MNB' },
    })
    const found = await records()
    expect(found).toHaveLength(2)
    for (const { entry, event } of found) {
      expect(entry.by).toBe('service:countersign')
      expect(entry.stream).toBeUndefined()
      expect(event).toMatchObject({
        type: 'webhook.delivered',
        outcome: 'success',
        data: { notice: `${acme.tenant}-7`, noticeType: 'change.escalated', attempt: 1, status: 204 },
      })
    }
  })

  test('is tried again under the same id, and given up on', async () => {
    await set('all', ['*'])
    there.answer(500)
    expect(await notify(bench.deps, notice(), { tryAgainMs: [1, 1] })).toEqual({ failed: ['all'] })
    expect(there.received.map(({ headers }) => headers['webhook-id'])).toEqual(Array(3).fill(`${acme.tenant}-7`))
    expect((await records()).map(({ event }) => [event.type, event.reason, event.data?.['attempt']])).toEqual(
      [1, 2, 3].map((attempt) => ['webhook.delivery-failed', 'WEBHOOK_STATUS', attempt]),
    )
  })

  test('goes nowhere once the webhook is removed', async () => {
    await set('all', ['*'])
    await acme.directly('webhook.remove', { id: 'all' })
    expect(await notify(bench.deps, notice())).toEqual({ failed: [] })
    await expect(notifyWebhook(bench.deps, 'all', notice())).rejects.toEqual(refusal('WEBHOOK_UNKNOWN'))
    expect(there.received).toEqual([])
  })

  test('stands in the log of the service as one object', () => {
    const lines: unknown[] = []
    logSink((told) => lines.push(told)).notice(notice())
    expect(lines).toEqual([{ notice: notice() }])
  })
})

describe('a webhook', () => {
  test('is set, changed and removed by entries of its stream, and setting it again records nothing', async () => {
    await set('all', ['*'])
    await set('all', ['*', '*'])
    await set('all', ['change.*'])
    await acme.directly('webhook.remove', { id: 'all' })
    await expect(acme.directly('webhook.remove', { id: 'all' })).rejects.toEqual(refusal('WEBHOOK_UNKNOWN'))
    expect((await acme.events('webhook/all')).map(({ event }) => [event.type, event.data])).toEqual([
      [
        'webhook.set',
        { id: 'all', url: `http://all.test:${there.port}/all`, events: ['*'], authority: { setup: true } },
      ],
      [
        'webhook.set',
        { id: 'all', url: `http://all.test:${there.port}/all`, events: ['change.*'], authority: { setup: true } },
      ],
      ['webhook.removed', { id: 'all', authority: { setup: true } }],
    ])
  })

  test('to an address inside is refused when it is set and when it is asked for, and nothing is written', async () => {
    const before = (await acme.events()).length
    const [person] = await acme.people(1)
    const since = (await acme.events()).length
    expect(since).toBeGreaterThan(before)
    for (const url of ['https://inside.test/', 'https://10.0.0.1/', 'ftp://example.org/', 'https://u:p@example.org/']) {
      await expect(set('bad', ['*'], url)).rejects.toEqual(refusal('WEBHOOK_TARGET_REFUSED'))
      const asked = acme.request(person as Person, { kind: 'webhook.set', payload: { id: 'bad', url, events: [] } })
      await expect(asked).rejects.toEqual(refusal('WEBHOOK_TARGET_REFUSED'))
    }
    expect((await acme.events()).length).toBe(since)
  })

  test('takes two people once approvals are enforced', async () => {
    const [ada, ben, cy] = (await acme.people(3)) as [Person, Person, Person]
    await acme.people(1)
    await enforceApprovals(bench.deps, acme.host)
    await expect(set('ops', ['*'])).rejects.toEqual(refusal('CHANGE_REQUIRED'))
    await expect(set('ops', ['*'], 'https://inside.test/')).rejects.toEqual(refusal('CHANGE_REQUIRED'))
    const payload = { id: 'ops', url: `http://ops.test:${there.port}/ops`, events: ['*'] }
    const change = await acme.request(ada, { kind: 'webhook.set', payload })
    expect(change.plan.diff).toEqual({ before: null, after: payload })
    await acme.vote(ben, change)
    await acme.vote(cy, change)
    expect(await applyChange(bench.deps, { tenant: acme.tenant, change: change.id })).toBe('applied')
    const [entry] = await acme.events('webhook/ops')
    expect(entry?.event.data).toEqual({ ...payload, authority: { change: change.id } })
    const known = await readGoverned(bench.deps, acme.tenant, async (_, { governance }) => webhooksOf(governance))
    expect(known).toEqual([{ ...payload, version: 1 }])
  })
})
