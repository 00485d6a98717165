import { listRoles, type RoleView } from '../auth/directory.js'
import { revokeRole } from '../auth/removal.js'
import { readGoverned } from '../approvals/governed.js'
import { host as hostPrincipal } from '../principal.js'
import { directly, OVERRIDE, stillSatisfiable } from './approvals.js'
import { leaf, wholeNumber, type Cli, type Frame } from './cli.js'
import { tenantOf, withHost } from './host.js'
import { referenceOf } from './persons.js'
import { table } from './terminal.js'

const TENANT = ['-t, --tenant <id>', 'the tenant; may be left out where there is only one'] as const
const WHO = ['-p, --principal <who>', 'service:billing, email:ada@example.org or person:01J…'] as const
/** Why a person is looked up, which is on record. */
const REASON = 'to say which roles they have'
const IN_SETUP = `Once approvals are enforced it takes a change that two people approve: countersign change request.`

export function roleCommands(frame: Frame): void {
  const role = frame.program.command('role').description('define roles, and say who has them')
  leaf(frame, role, {
    usage: 'define <role>',
    what: 'define a role, all of it: what is left out is no longer part of it',
    more: `Permissions read area/resource:verb, * for a whole segment. ${IN_SETUP}`,
    examples: [
      'role define clerk --tenant acme --permission ledger/events:write ledger/entries:read',
      'role define approver --tenant acme --permission changes/*:approve --inherits clerk',
    ],
    options: (command) =>
      command
        .option(...TENANT)
        .option('--permission <permission...>', 'what it allows', [])
        .option('--inherits <role...>', 'roles whose permissions it has, too', [])
        .option(...OVERRIDE),
    run: define,
  })
  leaf(frame, role, {
    usage: 'list',
    what: 'list roles, what they allow, and how many have them',
    examples: ['role list --tenant acme', 'role list --tenant acme --own --json'],
    options: (command) =>
      command
        .option(...TENANT)
        .option('--own', 'the roles that principals got with their tokens, too')
        .option('--limit <count>', 'how many', wholeNumber(1, 1000), 100)
        .option('--after <role>', 'where the last page ended'),
    run: list,
  })
  leaf(frame, role, {
    usage: 'grant <role>',
    what: 'give a principal a role',
    more: IN_SETUP,
    examples: ['role grant approver --tenant acme --principal email:ada@example.org'],
    options: (command) =>
      command
        .option(...TENANT)
        .requiredOption(...WHO)
        .option(...OVERRIDE),
    run: grant,
  })
  leaf(frame, role, {
    usage: 'revoke <role>',
    what: 'take a role away: running servers heed it within 5 seconds',
    more: `One person alone may do it at any time, unless nobody could then approve changes of some kind any more.`,
    examples: ['role revoke approver --tenant acme --principal email:ada@example.org'],
    options: (command) => command.option(...TENANT).requiredOption(...WHO),
    run: revoke,
  })
  leaf(frame, role, {
    usage: 'remove <role>',
    what: 'remove a role that nobody has and no other role inherits',
    more: IN_SETUP,
    examples: ['role remove clerk --tenant acme'],
    options: (command) => command.option(...TENANT).option(...OVERRIDE),
    run: remove,
  })
}

interface Options {
  tenant?: string
  override?: string
}

async function define(
  cli: Cli,
  options: Options & { permission: string[]; inherits: string[] },
  role = '',
): Promise<void> {
  const { permission: permissions, inherits } = options
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const { effects } = await directly(host, tenant, 'role.define', { role, permissions, inherits }, options)
    const changed = effects.length > 0
    cli.result({ tenant, role, permissions, inherits, changed }, () =>
      changed ? `defined role ${role}\n` : `role ${role} is defined so already\n`,
    )
  })
}

async function list(cli: Cli, options: Options & { own?: boolean; limit: number; after?: string }): Promise<void> {
  const { own = false, limit, after } = options
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const roles = await readGoverned(host, tenant, async (_, { governance }) =>
      listRoles(governance.access, { own, limit, after }),
    )
    cli.result({ tenant, roles }, () =>
      roles.length === 0
        ? `tenant ${tenant} has no roles; define one with: countersign role define clerk --tenant ${tenant} …\n`
        : table(
            ['role', 'held by', 'allows', 'inherits'].map((head) => ({ head })),
            roles.map((role: RoleView) => [
              role.role,
              String(role.holders),
              role.permissions.join(' '),
              role.inherits.join(' '),
            ]),
            cli.paint.out,
          ),
    )
  })
}

async function grant(cli: Cli, options: Options & { principal: string }, role = ''): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const principal = await referenceOf(host, tenant, options.principal, REASON)
    const { effects } = await directly(host, tenant, 'role.grant', { principal, role }, options)
    const changed = effects.length > 0
    cli.result({ tenant, principal, role, changed }, () =>
      changed ? `${principal} has the role ${role}\n` : `${principal} has the role ${role} already\n`,
    )
  })
}

async function revoke(cli: Cli, options: Options & { principal: string }, role = ''): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const principal = await referenceOf(host, tenant, options.principal, REASON)
    await revokeRole(host.database, hostPrincipal(tenant), { principal, role }, stillSatisfiable)
    cli.result({ tenant, principal, role, revoked: true }, () => `${principal} does not have the role ${role}\n`)
  })
}

async function remove(cli: Cli, options: Options, role = ''): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    await directly(host, tenant, 'role.remove', { role }, options)
    cli.result({ tenant, role, removed: true }, () => `there is no role ${role} any more\n`)
  })
}
