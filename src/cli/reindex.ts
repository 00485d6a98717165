import { sql } from 'kysely'
import { rebuildIndex } from '../followers/entry-index.js'
import { ENTRY_INDEX } from '../ledger/subscriptions.js'
import { leaf, type Cli, type Frame } from './cli.js'
import { showingLag } from './following.js'
import { tenantOf, withHost } from './host.js'
import { counted, seconds } from './terminal.js'

export function indexCommands(frame: Frame): void {
  const index = frame.program.command('index').description('look after what lists and reports filter by')
  leaf(frame, index, {
    usage: 'rebuild',
    what: 'drop the index of a tenant, or of all, and build it again from the log',
    more: 'The log is not touched. A running server goes on; until it is done answers say how far they are complete.',
    examples: ['index rebuild', 'index rebuild --tenant acme'],
    options: (command) => command.option('-t, --tenant <id>', 'only this tenant'),
    run: rebuild,
  })
}

async function rebuild(cli: Cli, options: { tenant?: string }): Promise<void> {
  await withHost(cli, async (host) => {
    const { database } = host
    const tenant = options.tenant === undefined ? undefined : await tenantOf(host, options.tenant)
    const began = performance.now()
    await showingLag(cli, host, { tenant, names: [ENTRY_INDEX] }, () => rebuildIndex(database, tenant))
    let query = database.operator
      .selectFrom('subscriptions')
      .select(sql<number>`coalesce(sum(next_seq), 0)::int8`.as('entries'))
      .where('consumer', '=', ENTRY_INDEX)
    if (tenant !== undefined) query = query.where('tenant', '=', tenant)
    const { entries } = await query.executeTakeFirstOrThrow()
    const elapsedMs = Math.round(performance.now() - began)
    cli.result(
      { tenant: tenant ?? null, entries, elapsedMs },
      () => `indexed ${counted(entries, 'entry', 'entries')} in ${seconds(elapsedMs)}\n`,
    )
  })
}
