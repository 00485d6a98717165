import { Type, type TSchema } from 'typebox'
import { Value } from 'typebox/value'
import { DomainError } from '../errors.js'
import type { Json, LeafEvent } from '../ledger/event.js'
import type { Governance } from './governance.js'
import type { ChangeKind, EffectContext } from './kind.js'
import { MAX_TTL_MS } from './policy.js'
import { REMINDER_TIMES, type ReminderTimes } from './step.js'

/** Whether a tenant's log is verified every night, and who is told of a finding. */
export interface VerificationSetting {
  readonly enabled: boolean
  /** Webhooks, by id. */
  readonly recipients: readonly string[]
}

/** Every night, whether or not anybody has asked for it. */
export const STANDARD_VERIFICATION: VerificationSetting = { enabled: true, recipients: [] }

export const settingStream = (name: string): string => `setting/${name}`
const VERIFICATION = 'verification'
const LEAST_MS = 60_000
const MAX_RECIPIENTS = 16

/** What a tenant may set by `setting.set`, by name. */
export const tenantSettings: Readonly<
  Record<string, { readonly what: string; readonly value: TSchema; readonly standard: Json }>
> = {
  'approvals.reminders': {
    what: 'when people are told about a change that waits for them, in ms: from one reminder to the next, and before its end',
    value: Type.Object(
      {
        reminderMs: Type.Integer({ minimum: LEAST_MS, maximum: MAX_TTL_MS }),
        escalateMs: Type.Integer({ minimum: LEAST_MS, maximum: MAX_TTL_MS }),
      },
      { additionalProperties: false },
    ),
    standard: { ...REMINDER_TIMES },
  },
}

export function reminderTimes({ settings }: Governance): ReminderTimes {
  return (settings.get('approvals.reminders')?.value as ReminderTimes | undefined) ?? REMINDER_TIMES
}

export function verificationSetting({ settings }: Pick<Governance, 'settings'>): VerificationSetting {
  return (settings.get(VERIFICATION)?.value as VerificationSetting | undefined) ?? STANDARD_VERIFICATION
}

export interface SettingView {
  readonly name: string
  readonly what: string
  /** What holds now. */
  readonly value: Json
  /** Set by the tenant; else it is the standard. */
  readonly own: boolean
}

/** Every setting there is, by name. That of the verification is shown as a schedule. */
export function listSettings({ settings }: Pick<Governance, 'settings'>): SettingView[] {
  return Object.entries(tenantSettings).map(([name, { what, standard }]) => {
    const own = settings.get(name)
    return { name, what, value: own?.value ?? standard, own: own !== undefined }
  })
}

interface SettingPayload {
  readonly name: string
  readonly value: Json
}

/** `setting.set` and `verification.set`: what a tenant decides about the service's own work. */
export const settingKinds: readonly ChangeKind[] = [
  {
    name: 'setting.set',
    what: 'change a setting of the tenant',
    payload: Type.Object({ name: Type.String(), value: Type.Unknown() }, { additionalProperties: false }),
    beneficiaries: () => [],
    base: (payload, governance) => baseOf((payload as unknown as SettingPayload).name, governance),
    diff(payload, governance) {
      const { name, value } = checkSetting(payload as unknown as SettingPayload)
      const before = governance.settings.get(name)?.value ?? tenantSettings[name]?.standard ?? null
      return { before: { name, value: before }, after: { name, value } }
    },
    effects: (payload, context) => [effect(checkSetting(payload as unknown as SettingPayload), context)],
  },
  {
    name: 'verification.set',
    what: 'switch the nightly verification on or off, or choose who is told of a finding',
    payload: Type.Object(
      { enabled: Type.Boolean(), recipients: Type.Optional(Type.Array(Type.String(), { maxItems: MAX_RECIPIENTS })) },
      { additionalProperties: false },
    ),
    beneficiaries: () => [],
    base: (_, governance) => baseOf(VERIFICATION, governance),
    diff: (payload, governance) => ({
      before: { ...verificationSetting(governance) } as unknown as Json,
      after: checkVerification(payload, governance),
    }),
    effects: (payload, context) => [
      effect({ name: VERIFICATION, value: checkVerification(payload, context.governance) }, context),
    ],
  },
]

function checkSetting({ name, value }: SettingPayload): SettingPayload {
  const setting = Object.hasOwn(tenantSettings, name) ? tenantSettings[name] : undefined
  if (!setting) {
    const names = Object.keys(tenantSettings).join(', ')
    const message = `there is no setting ${JSON.stringify(name.slice(0, 80))}; there are ${names}`
    throw new DomainError('SETTING_UNKNOWN', message, { pointer: '/name' })
  }
  if (Value.Check(setting.value, value)) return { name, value }
  throw new DomainError('SETTING_INVALID', `${name} cannot be that: ${setting.what}`, { pointer: '/value' })
}

/** Who is told stays as it is where nothing is said. */
function checkVerification(payload: Json, governance: Governance): Json {
  const { enabled, recipients } = payload as unknown as Partial<VerificationSetting> & { enabled: boolean }
  const told = [...new Set(recipients ?? verificationSetting(governance).recipients)].sort()
  const unknown = told.find((id) => governance.webhooks.get(id)?.target === undefined)
  if (unknown !== undefined && recipients !== undefined) {
    throw new DomainError('WEBHOOK_UNKNOWN', `there is no webhook ${JSON.stringify(unknown.slice(0, 80))}`, {
      pointer: '/recipients',
    })
  }
  return { enabled, recipients: told }
}

function baseOf(name: string, { settings }: Governance): Readonly<Record<string, number>> {
  return { [settingStream(name)]: settings.get(name)?.version ?? 0 }
}

function effect({ name, value }: SettingPayload, { authority, cause }: EffectContext) {
  const event: LeafEvent = {
    type: 'setting.set',
    data: { name, value, authority: { ...authority } },
    ...(cause !== undefined && { cause }),
  }
  return { stream: settingStream(name), events: [event] }
}
