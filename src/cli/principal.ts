import { readGoverned } from '../approvals/governed.js'
import { listPrincipals, type PrincipalView } from '../auth/directory.js'
import { disablePrincipal } from '../auth/removal.js'
import { host as hostPrincipal } from '../principal.js'
import { directly, OVERRIDE, stillSatisfiable } from './approvals.js'
import { leaf, wholeNumber, type Cli, type Frame } from './cli.js'
import { tenantOf, withHost } from './host.js'
import { principalOf, referenceOf } from './persons.js'
import { table } from './terminal.js'

const TENANT = ['-t, --tenant <id>', 'the tenant; may be left out where there is only one'] as const
const WHO = 'A principal is service:billing, email:ada@example.org or person:01J…'
/** Why a person is looked up, which is on record. */
const REASON = 'to say who counts as whom'
const IN_SETUP = `Once approvals are enforced it takes a change that two people approve: countersign change request.`

export function principalCommands(frame: Frame): void {
  const principal = frame.program
    .command('principal')
    .description('register people and services, link people who are one, disable')
  leaf(frame, principal, {
    usage: 'register <who>',
    what: 'register a person or a service, say who owns it, or bring back who was disabled',
    more: `${WHO}. A person who is new gets a pseudonym, and only that stands in the log.
${IN_SETUP}`,
    examples: [
      'principal register email:ada@example.org --tenant acme',
      'principal register service:billing --tenant acme --owner email:ada@example.org',
    ],
    options: (command) =>
      command
        .option(...TENANT)
        .option('--owner <who>', 'who answers for a service; as it was where it is left out')
        .option(...OVERRIDE),
    run: register,
  })
  leaf(frame, principal, {
    usage: 'list',
    what: 'list principals, who answers for them, and their roles',
    examples: ['principal list --tenant acme', 'principal list --tenant acme --json'],
    options: (command) =>
      command
        .option(...TENANT)
        .option('--limit <count>', 'how many', wholeNumber(1, 1000), 100)
        .option('--after <principal>', 'where the last page ended'),
    run: list,
  })
  leaf(frame, principal, {
    usage: 'link <who>',
    what: 'have two pseudonyms count as one person; each keeps its own roles',
    more: `${WHO}. ${IN_SETUP}`,
    examples: ['principal link username:ada --same-as email:ada@example.org --tenant acme'],
    options: (command) =>
      command
        .option(...TENANT)
        .requiredOption('--same-as <who>', 'the person that it counts as')
        .option(...OVERRIDE),
    run: link,
  })
  leaf(frame, principal, {
    usage: 'unlink <who>',
    what: 'have a pseudonym count as a person of its own again',
    more: `${WHO}. ${IN_SETUP}`,
    examples: ['principal unlink username:ada --tenant acme'],
    options: (command) => command.option(...TENANT).option(...OVERRIDE),
    run: unlink,
  })
  leaf(frame, principal, {
    usage: 'disable <who>',
    what: 'have none of its roles and tokens allow anything: running servers heed it within 5 seconds',
    more: `${WHO}. One person alone may do it at any time, unless nobody could then approve changes
of some kind any more. Registering it again brings it back.`,
    examples: ['principal disable service:billing --tenant acme'],
    options: (command) => command.option(...TENANT),
    run: disable,
  })
}

interface Options {
  tenant?: string
  override?: string
}

async function register(cli: Cli, options: Options & { owner?: string }, who = ''): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const principal = await principalOf(host, tenant, who)
    const owner = options.owner === undefined ? undefined : await referenceOf(host, tenant, options.owner, REASON)
    const payload = { principal, ...(owner !== undefined && { owner }) }
    const { effects } = await directly(host, tenant, 'principal.register', payload, options)
    const changed = effects.length > 0
    cli.result({ tenant, ...payload, changed }, () =>
      changed ? `registered ${principal}\n` : `${principal} is registered so already\n`,
    )
  })
}

async function list(cli: Cli, options: Options & { limit: number; after?: string }): Promise<void> {
  const { limit, after } = options
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const principals = await readGoverned(host, tenant, async (_, { governance }) =>
      listPrincipals(governance.access, { limit, after }),
    )
    cli.result({ tenant, principals }, () =>
      principals.length === 0
        ? `tenant ${tenant} has no principals; register one with: countersign principal register … --tenant ${tenant}\n`
        : table(
            ['principal', 'state', 'owner', 'counts as', 'roles'].map((head) => ({ head })),
            principals.map((each: PrincipalView) => [
              each.principal,
              each.disabled ? 'disabled' : 'active',
              each.owner ?? '',
              each.countsAs ?? '',
              each.roles.join(' '),
            ]),
            cli.paint.out,
          ),
    )
  })
}

async function link(cli: Cli, options: Options & { sameAs: string }, who = ''): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const principal = await referenceOf(host, tenant, who, REASON)
    const sameAs = await referenceOf(host, tenant, options.sameAs, REASON)
    const { effects } = await directly(host, tenant, 'principal.link', { principal, sameAs }, options)
    cli.result({ tenant, principal, sameAs, changed: effects.length > 0 }, () => `${principal} counts as ${sameAs}\n`)
  })
}

async function unlink(cli: Cli, options: Options, who = ''): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const principal = await referenceOf(host, tenant, who, REASON)
    const { effects } = await directly(host, tenant, 'principal.unlink', { principal }, options)
    cli.result({ tenant, principal, changed: effects.length > 0 }, () => `${principal} counts as itself\n`)
  })
}

async function disable(cli: Cli, options: Options, who = ''): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const principal = await referenceOf(host, tenant, who, REASON)
    await disablePrincipal(host.database, hostPrincipal(tenant), principal, stillSatisfiable)
    cli.result({ tenant, principal, disabled: true }, () => `disabled ${principal}\n`)
  })
}
