import { listParked, retryParked, type Parked } from '../dispatcher/parked.js'
import { host as hostPrincipal } from '../principal.js'
import { leaf, usageError, type Cli, type Frame } from './cli.js'
import { tenantOf, withHost } from './host.js'
import { counted, printable, table } from './terminal.js'

const TENANT = ['-t, --tenant <id>', 'the tenant; may be left out where there is only one'] as const

export function dispatchCommands(frame: Frame): void {
  const dispatch = frame.program.command('dispatch').description('look after entries that Temporal would not take')
  leaf(frame, dispatch, {
    usage: 'list',
    what: 'list what is parked: entries that Temporal refused for good, and their streams with them',
    more: 'Nothing is parked because Temporal is away: then everything waits, and goes on by itself.',
    examples: ['dispatch list --tenant acme', 'dispatch list --tenant acme --json'],
    options: (command) => command.option(...TENANT),
    run: list,
  })
  leaf(frame, dispatch, {
    usage: 'retry [stream]',
    what: 'have a parked stream tried again, on record; a running dispatcher does it',
    examples: ['dispatch retry change/01J8Z3… --tenant acme', 'dispatch retry --all --tenant acme'],
    options: (command) => command.option(...TENANT).option('--all', 'every parked stream of the tenant'),
    run: retry,
  })
}

async function list(cli: Cli, options: { tenant?: string }): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const parked = await listParked(host.database.operator, tenant)
    cli.result({ tenant, parked }, () =>
      parked.length === 0 ? `nothing of tenant ${tenant} is parked\n` : shown(cli, parked),
    )
  })
}

function shown(cli: Cli, parked: readonly Parked[]): string {
  return table(
    ['stream', 'entry', 'type', 'code', 'parked', 'behind it'].map((head) => ({ head })),
    parked.map(({ stream, seq, type, code, at, behind }) => [
      stream,
      String(seq),
      printable(type),
      printable(code),
      at,
      String(behind),
    ]),
    cli.paint.out,
  )
}

async function retry(cli: Cli, options: { tenant?: string; all?: boolean }, stream?: string): Promise<void> {
  if ((stream === undefined) === (options.all !== true)) throw usageError('name a stream, or give --all')
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const all = stream === undefined ? await listParked(host.database.operator, tenant) : [{ stream }]
    for (const each of all) await retryParked(host.database, hostPrincipal(tenant), each.stream)
    const streams = all.map((each) => each.stream)
    cli.result({ tenant, retried: streams }, () => `${counted(streams.length, 'stream')} will be tried again\n`)
  })
}
