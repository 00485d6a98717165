import { afterAll, beforeAll, expect, test } from 'vitest'
import { changeApprovalActivities } from '../../src/activities/change-approval.js'
import { useEmergency } from '../../src/approvals/commands/emergency.js'
import { DAY_MS } from '../../src/approvals/policy.js'
import { Tenant, type Person } from '../support/changes.js'
import { outsideBench, type OutsideBench } from '../support/outside.js'
import { receiver, type Receiver } from '../support/receiver.js'

let bench: OutsideBench
let there: Receiver

beforeAll(async () => {
  bench = await outsideBench(async () => [{ address: '127.0.0.1', family: 4 }])
  there = await receiver()
})
afterAll(async () => {
  await there.close()
  await bench.close()
})

test('who was passed over by break-glass is told before anything happens, once, and reminders are told as such', async () => {
  const acme = await Tenant.create(bench)
  const [ada, ben, cy] = (await acme.people(3)) as [Person, Person, Person]
  await acme.directly('webhook.set', { id: 'ops', url: `http://ops.test:${there.port}/`, events: ['change.*'] })
  await acme.directly('emergency.list', { people: [ben.id], kinds: ['setting.note'] })
  const activities = changeApprovalActivities(bench.deps)
  const { id, payloadHash } = await acme.request(ada)
  const ref = { tenant: acme.tenant, change: id }
  const told = () =>
    there.received.map(({ headers, body }) => {
      const { type, data } = JSON.parse(body.toString()) as { type: string; data: Record<string, unknown> }
      return { id: headers['webhook-id'], type, data }
    })

  bench.aheadMs = DAY_MS + 1_000
  expect(await activities.changeStep(ref)).toMatchObject({ do: 'remind' })
  await activities.remindChange(ref)
  await activities.tellOfChange(ref)
  expect(told()).toMatchObject([{ type: 'change.reminded', data: { change: id, kind: 'setting.note' } }])

  bench.aheadMs += 1_000
  await useEmergency(bench.deps, ben, { change: id, payloadHash, reason: 'nobody answers' })
  expect(await activities.changeStep(ref)).toEqual({ closed: false, do: 'remind' })
  await activities.remindChange(ref)
  await activities.tellOfChange(ref)
  await activities.tellOfChange(ref)
  const [used] = (await acme.events(`change/${id}`)).filter(({ event }) => event.type === 'change.emergency-used')
  expect(told().slice(1)).toMatchObject(
    [1, 2].map(() => ({
      id: `${acme.tenant}-${used?.entry.seq ?? ''}`,
      type: 'change.emergency-used',
      data: { change: id, skipped: [cy.id] },
    })),
  )
  expect(JSON.stringify(told())).not.toContain('nobody answers')

  expect(await activities.changeStep(ref)).toEqual({ closed: false, do: 'apply' })
  await activities.applyChange(ref)
  expect((await acme.types(`change/${id}`)).at(-1)).toBe('change.applied')
  expect(await activities.changeStep(ref)).toEqual({ closed: true })
})
