import { Type } from 'typebox'
import { applyDirectly } from '../../approvals/commands/direct.js'
import { readGoverned } from '../../approvals/governed.js'
import { listSettings } from '../../approvals/settings.js'
import { permissions } from '../../auth/permissions.js'
import type { Json } from '../../ledger/event.js'
import { callerOf } from '../authorize.js'
import { answer, problems } from '../schemas.js'
import type { App, ServerDeps } from '../server.js'

const SettingSchema = Type.Object({
  name: Type.String(),
  what: Type.String({ description: 'What it is for' }),
  value: Type.Unknown({ description: 'What holds now' }),
  own: Type.Boolean({ description: 'Set by the tenant; else it is the standard' }),
})

/** What a tenant decides about the service's own work. */
export async function settingRoutes(app: App, { approvals }: ServerDeps): Promise<void> {
  const settingsOf = (tenant: string) =>
    readGoverned(approvals, tenant, async (_, { governance }) => listSettings(governance))

  app.get(
    '/v1/settings',
    {
      config: { permission: permissions.readSettings },
      schema: {
        operationId: 'listSettings',
        summary: "List the tenant's settings",
        tags: ['settings'],
        response: {
          200: Type.Object({ settings: Type.Array(SettingSchema) }, { description: 'All that there are' }),
          ...problems(),
        },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request) => answer({ settings: await settingsOf(callerOf(request).tenant) }),
  )

  app.put(
    '/v1/settings/:name',
    {
      config: { permission: permissions.writeSettings },
      schema: {
        operationId: 'changeSetting',
        summary: 'Change a setting',
        description:
          'During setup only; afterwards the answer is 409 CHANGE_REQUIRED, and a change has to be requested.',
        tags: ['settings'],
        params: Type.Object({ name: Type.String({ maxLength: 128 }) }),
        body: Type.Object({ value: Type.Unknown() }, { additionalProperties: false, title: 'NewSetting' }),
        response: {
          200: { ...SettingSchema, description: 'The setting as it is now' },
          ...problems(400, 409, 413, 415, 422),
        },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request) => {
      const { name } = request.params
      const by = callerOf(request)
      await applyDirectly(approvals, by, 'setting.set', { name, value: request.body.value as Json })
      const setting = (await settingsOf(by.tenant)).find((each) => each.name === name)
      if (!setting) throw new Error(`no setting ${name}`)
      return answer(setting)
    },
  )
}
