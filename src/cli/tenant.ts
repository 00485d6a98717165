import { createTenant, listTenants } from '../keyring/tenants.js'
import { leaf, type Cli, type Frame } from './cli.js'
import { withHost } from './host.js'
import { table, thousands } from './terminal.js'

export function tenantCommands(frame: Frame): void {
  const tenant = frame.program.command('tenant').description('create and list tenants')
  leaf(frame, tenant, {
    usage: 'create <id>',
    what: 'create a tenant: a log of its own, and its keys',
    more: 'An id has 2 to 63 characters of a-z, 0-9 and -, a letter first. A tenant cannot be renamed.',
    examples: ['tenant create acme'],
    run: create,
  })
  leaf(frame, tenant, {
    usage: 'list',
    what: 'list the tenants and how large their logs are',
    more: 'The tenant "system" holds the operator\'s own log.',
    examples: ['tenant list', 'tenant list --json'],
    run: list,
  })
}

async function create(cli: Cli, _: object, id = ''): Promise<void> {
  await withHost(cli, async ({ database, installation }) => {
    const made = await createTenant(database, installation, id)
    cli.result(made, () => `created tenant ${made.id}, log ${made.log}\n`)
  })
}

async function list(cli: Cli): Promise<void> {
  await withHost(cli, async ({ database }) => {
    const tenants = await listTenants(database)
    const answer = tenants.map(({ id, log, created_at, size, recorded_at }) => ({
      id,
      log,
      createdAt: created_at,
      size,
      lastRecordedAt: recorded_at,
    }))
    cli.result({ tenants: answer }, () =>
      table(
        [{ head: 'tenant' }, { head: 'entries', align: 'right' }, { head: 'last entry' }, { head: 'log' }],
        answer.map(({ id, size, lastRecordedAt, log }) => [id, thousands(size), lastRecordedAt, log]),
        cli.paint.out,
      ),
    )
  })
}
