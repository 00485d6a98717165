import { expect, test } from 'vitest'
import { evolveGovernance, NO_GOVERNANCE, type Governance } from '../../src/approvals/governance.js'
import { Kinds, type EffectContext } from '../../src/approvals/kind.js'
import { checkPayload } from '../../src/approvals/payload-shape.js'
import { listSettings, reminderTimes, settingKinds, verificationSetting } from '../../src/approvals/settings.js'
import { REMINDER_TIMES } from '../../src/approvals/step.js'
import type { Json, LeafEvent } from '../../src/ledger/event.js'
import { service } from '../../src/principal.js'

const kinds = new Kinds(settingKinds)
const context = (governance: Governance): EffectContext => ({
  governance,
  authority: { change: '01JABCDEFGHJKMNPQRSTVWXYZ0' },
  cause: 7,
  by: service('acme'),
  nowMs: 0,
})

/** The tenant after entries, on streams of their own or of the same one. */
function after(governance: Governance, ...entries: readonly { stream: string; event: LeafEvent }[]): Governance {
  return entries.reduce((before, { stream, event }) => {
    const [area, name = ''] = stream.split('/')
    const known = area === 'webhook' ? before.webhooks.get(name) : before.settings.get(name)
    const place = { at: '', by: '', via: '', log: '', tenant: 'acme', seq: 1, version: (known?.version ?? 0) + 1 }
    return evolveGovernance(before, { ...place, stream, event })
  }, governance)
}

/** What a payload does: checked, shown, done. */
function apply(kindName: string, payload: Json, governance: Governance) {
  const kind = kinds.find(kindName)
  checkPayload(kind, payload)
  const effects = kind.effects?.(payload, context(governance)) ?? []
  const entries = effects.flatMap(({ stream, events }) => events.map((event) => ({ stream, event })))
  return { base: kind.base(payload, governance), diff: kind.diff(payload, governance), entries }
}

const ops = {
  stream: 'webhook/ops',
  event: { type: 'webhook.set', data: { id: 'ops', url: 'https://ops.example/', events: [] } },
}

test('a setting takes effect with what it rests on, and names the change and its approval', () => {
  const payload = { name: 'approvals.reminders', value: { reminderMs: 3_600_000, escalateMs: 600_000 } }
  const { base, diff, entries } = apply('setting.set', payload, NO_GOVERNANCE)
  expect(base).toEqual({ 'setting/approvals.reminders': 0 })
  expect(diff).toEqual({ before: { ...payload, value: { ...REMINDER_TIMES } }, after: payload })
  expect(entries).toEqual([
    {
      stream: 'setting/approvals.reminders',
      event: {
        type: 'setting.set',
        cause: 7,
        data: { ...payload, authority: { change: '01JABCDEFGHJKMNPQRSTVWXYZ0' } },
      },
    },
  ])
  const set = after(NO_GOVERNANCE, ...entries)
  expect([reminderTimes(NO_GOVERNANCE), reminderTimes(set)]).toEqual([REMINDER_TIMES, payload.value])
  expect(listSettings(set)).toMatchObject([{ name: payload.name, value: payload.value, own: true }])
  expect(apply('setting.set', payload, set).base).toEqual({ 'setting/approvals.reminders': 1 })
})

test('the verification is on until it is switched off, and tells whom it told unless others are named', () => {
  expect(verificationSetting(NO_GOVERNANCE)).toEqual({ enabled: true, recipients: [] })
  const told = after(
    NO_GOVERNANCE,
    ops,
    ...apply('verification.set', { enabled: true, recipients: ['ops'] }, after(NO_GOVERNANCE, ops)).entries,
  )
  expect(verificationSetting(told)).toEqual({ enabled: true, recipients: ['ops'] })
  const off = after(told, ...apply('verification.set', { enabled: false }, told).entries)
  expect(verificationSetting(off)).toEqual({ enabled: false, recipients: ['ops'] })
  expect(apply('verification.set', { enabled: true }, off)).toMatchObject({
    base: { 'setting/verification': 2 },
    diff: { before: { enabled: false }, after: { enabled: true } },
  })
})

test.each<[string, Json, string]>([
  ['setting.set', { name: 'colour', value: 'red' }, 'SETTING_UNKNOWN'],
  ['setting.set', { name: 'verification', value: { enabled: false } }, 'SETTING_UNKNOWN'],
  ['setting.set', { name: 'toString', value: 1 }, 'SETTING_UNKNOWN'],
  ['setting.set', { name: 'approvals.reminders', value: { reminderMs: 1, escalateMs: 1 } }, 'SETTING_INVALID'],
  ['setting.set', { name: 'approvals.reminders', value: { reminderMs: 3_600_000 } }, 'SETTING_INVALID'],
  ['setting.set', { name: 'approvals.reminders' }, 'CHANGE_PAYLOAD_INVALID'],
  ['verification.set', { recipients: [] }, 'CHANGE_PAYLOAD_INVALID'],
  ['verification.set', { enabled: true, recipients: ['nobody'] }, 'WEBHOOK_UNKNOWN'],
])('%s with %j is refused', (kind, payload, code) => {
  expect(() => apply(kind, payload, NO_GOVERNANCE)).toThrow(expect.objectContaining({ code }))
})
