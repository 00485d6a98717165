import { readGoverned } from '../approvals/governed.js'
import { listSettings } from '../approvals/settings.js'
import { DomainError } from '../errors.js'
import type { Json } from '../ledger/event.js'
import { parseStrict } from '../ledger/gate.js'
import { directly, OVERRIDE } from './approvals.js'
import { leaf, type Cli, type Frame } from './cli.js'
import { tenantOf, withHost, type Host } from './host.js'
import { table } from './terminal.js'

const TENANT = ['-t, --tenant <id>', 'the tenant; may be left out where there is only one'] as const

export function settingCommands(frame: Frame): void {
  const setting = frame.program.command('setting').description("list and change a tenant's settings")
  leaf(frame, setting, {
    usage: 'list',
    what: 'list the settings of a tenant and what holds',
    examples: ['setting list --tenant acme'],
    options: (command) => command.option(...TENANT),
    run: listAll,
  })
  leaf(frame, setting, {
    usage: 'set <name> <value>',
    what: 'change a setting; the value is JSON',
    more: 'Once approvals are enforced it takes a change that two people approve: countersign change request setting.set.',
    examples: ['setting set approvals.reminders \'{"reminderMs":86400000,"escalateMs":21600000}\' --tenant acme'],
    options: (command) => command.option(...TENANT).option(...OVERRIDE),
    run: change,
  })
}

async function listAll(cli: Cli, options: { tenant?: string }): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const settings = await settingsOf(host, tenant)
    cli.result({ tenant, settings }, () =>
      table(
        ['name', 'value', 'set by', 'what'].map((head) => ({ head })),
        settings.map(({ name, value, own, what }) => [
          name,
          JSON.stringify(value),
          own ? 'the tenant' : 'standard',
          what,
        ]),
        cli.paint.out,
      ),
    )
  })
}

async function change(cli: Cli, options: { tenant?: string; override?: string }, name = '', text = ''): Promise<void> {
  const value = parseStrict(Buffer.from(text)) as Json
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    await directly(host, tenant, 'setting.set', { name, value }, options)
    const setting = (await settingsOf(host, tenant)).find((each) => each.name === name)
    if (!setting) throw new DomainError('SETTING_UNKNOWN', `there is no setting ${name}`)
    cli.result({ tenant, ...setting }, () => `${name} is ${JSON.stringify(setting.value)}\n`)
  })
}

function settingsOf({ database }: Host, tenant: string) {
  return readGoverned({ database }, tenant, async (_, { governance }) => listSettings(governance))
}
