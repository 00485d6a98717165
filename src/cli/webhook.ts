import { readGoverned } from '../approvals/governed.js'
import { webhooksOf } from '../approvals/webhook.js'
import { publicKeysOf } from '../keyring/signing-keys.js'
import { ulid } from '../ledger/ulid.js'
import { WEBHOOK_TESTED } from '../sinks/notification.js'
import { notifyWebhook } from '../sinks/notify.js'
import { webhookPublicKey } from '../sinks/standard-webhooks.js'
import { directly, OVERRIDE, withApprovals } from './approvals.js'
import { EXIT, leaf, type Cli, type ExitCode, type Frame } from './cli.js'
import { tenantOf, withHost } from './host.js'
import { printable, table } from './terminal.js'

const TENANT = ['-t, --tenant <id>', 'the tenant; may be left out where there is only one'] as const
const IN_SETUP = 'Once approvals are enforced it takes a change that two people approve: countersign change request.'

export function webhookCommands(frame: Frame): void {
  const webhook = frame.program.command('webhook').description('say where notices and approved changes are sent')
  leaf(frame, webhook, {
    usage: 'set <id> <url>',
    what: 'make a webhook, or give it another address',
    more: `The address is https:// and leads to the public Internet; COUNTERSIGN_WEBHOOK_NETWORKS allows others. It stands in the
log in clear: put no secret into it. ${IN_SETUP}`,
    examples: [
      'webhook set ops https://hooks.example.org/countersign --tenant acme --event "change.*"',
      'webhook set deployer https://deploy.example.org/changes --tenant acme',
    ],
    options: (command) =>
      command
        .option(...TENANT)
        .option('-e, --event <type...>', 'notices that it is sent: change.escalated, "change.*", "*"', [])
        .option(...OVERRIDE),
    run: set,
  })
  leaf(frame, webhook, {
    usage: 'list',
    what: 'list webhooks, and the public keys that their signatures are verified with',
    examples: ['webhook list --tenant acme', 'webhook list --tenant acme --json'],
    options: (command) => command.option(...TENANT),
    run: list,
  })
  leaf(frame, webhook, {
    usage: 'remove <id>',
    what: 'send nothing there any more',
    more: IN_SETUP,
    examples: ['webhook remove ops --tenant acme'],
    options: (command) => command.option(...TENANT).option(...OVERRIDE),
    run: remove,
  })
  leaf(frame, webhook, {
    usage: 'test <id>',
    what: 'send a test notice, once, and say what became of it; an entry too',
    more: 'Ends with exit code 1 where it was not taken.',
    examples: ['webhook test ops --tenant acme'],
    options: (command) => command.option(...TENANT),
    run: test,
  })
}

interface Options {
  tenant?: string
  override?: string
}

async function set(cli: Cli, options: Options & { event: string[] }, id = '', url = ''): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const { effects } = await directly(host, tenant, 'webhook.set', { id, url, events: options.event }, options)
    const changed = effects.length > 0
    cli.result({ tenant, id, url, events: options.event, changed }, () =>
      changed
        ? `set webhook ${id}; try it with: countersign webhook test ${id}\n`
        : `webhook ${id} is set so already\n`,
    )
  })
}

async function list(cli: Cli, options: Options): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const webhooks = await readGoverned(host, tenant, async (_, { governance }) => webhooksOf(governance))
    const publicKeys = ((await publicKeysOf(host.database, tenant)) ?? [])
      .filter(({ status }) => status !== 'revoked')
      .map(({ x }) => webhookPublicKey(Buffer.from(x, 'base64url')))
      .reverse()
    cli.result({ tenant, webhooks, publicKeys }, () => {
      if (webhooks.length === 0) return `tenant ${tenant} has no webhooks\n`
      const heads = ['webhook', 'address', 'notices'].map((head) => ({ head }))
      const rows = webhooks.map(({ id, url, events }) => [id, printable(url), events.join(' ') || '-'])
      const keys = publicKeys.map((key) => `${key}\n`).join('')
      const verified = keys === '' ? '' : `\nverified with:\n${keys}`
      return `${table(heads, rows, cli.paint.out)}${verified}`
    })
  })
}

async function remove(cli: Cli, options: Options, id = ''): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    await directly(host, tenant, 'webhook.remove', { id }, options)
    cli.result({ tenant, id, removed: true }, () => `removed webhook ${id}\n`)
  })
}

async function test(cli: Cli, options: Options, id = ''): Promise<ExitCode> {
  return withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const notice = { tenant, id: `test-${ulid()}`, type: WEBHOOK_TESTED, at: new Date().toISOString(), data: {} }
    const attempt = await withApprovals(host, (outside) => notifyWebhook(outside, id, notice))
    const { delivered, status, code } = attempt
    cli.result({ tenant, id, ...attempt }, () =>
      delivered
        ? `delivered: it answered ${status ?? ''}\n`
        : `not delivered: ${code ?? ''}${status === undefined ? '' : `, it answered ${status}`}\n`,
    )
    return delivered ? EXIT.ok : EXIT.finding
  })
}
