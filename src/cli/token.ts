import { InvalidArgumentError } from 'commander'
import { overriding } from '../approvals/commands/direct.js'
import { createToken, grantOf, mintToken, revokeToken, type CreatedToken, type TokenRequest } from '../auth/commands.js'
import { TOKEN_CREATE } from '../auth/minting.js'
import { ADMIN, AUDITOR } from '../auth/permissions.js'
import { listTokens, type TokenView } from '../auth/queries.js'
import { DomainError } from '../errors.js'
import { host as hostPrincipal } from '../principal.js'
import { OVERRIDE, withApprovals } from './approvals.js'
import { leaf, usageError, wholeNumber, type Cli, type Frame } from './cli.js'
import { tenantOf, withHost, type Host } from './host.js'
import { principalOf } from './persons.js'
import { claimCommand } from './taking.js'
import { fields, printable, table } from './terminal.js'

const TENANT = ['-t, --tenant <id>', 'the tenant; may be left out where there is only one'] as const
const ROLES: Readonly<Record<string, readonly string[]>> = { admin: ADMIN, auditor: AUDITOR }
const DAY_MS = 86_400_000

export function tokenCommands(frame: Frame): void {
  const token = frame.program
    .command('token')
    .description('make, list and revoke the tokens that the API is called with')
  leaf(frame, token, {
    usage: 'create',
    what: 'make a token; its secret is shown this once',
    more: `A token acts for a service or a person in one tenant. A person may be named by e-mail address: who is new gets a
pseudonym, and only that stands in the log. Permissions read area/resource:verb, * for a whole segment. Once approvals
are enforced a token does no more than its principal's roles, and a sensitive one takes a change that two people approve.`,
    examples: [
      'token create --tenant acme --principal service:billing --permission ledger/events:write',
      'token create --tenant acme --principal email:ada@example.org --role auditor --expires 90d',
    ],
    options: (command) =>
      command
        .option(...TENANT)
        .requiredOption('-p, --principal <who>', 'service:billing, email:ada@example.org or person:01J…')
        .option('--permission <permission...>', 'what it may do; may be given several times')
        .option('--role <role>', 'instead of permissions: admin (everything) or auditor (read and report)', role)
        .option('--expires <when>', '90d, 12h, or a time such as 2027-01-01T00:00:00Z; without it: when revoked')
        .option('--description <text>', 'a note for whoever lists tokens; stays out of the log')
        .option(...OVERRIDE),
    run: create,
  })
  leaf(frame, token, {
    usage: 'list',
    what: 'list the tokens of a tenant, newest first, never their secrets',
    examples: ['token list --tenant acme', 'token list --tenant acme --json'],
    options: (command) => command.option(...TENANT).option('--limit <count>', 'how many', wholeNumber(1, 1000), 100),
    run: list,
  })
  leaf(frame, token, {
    usage: 'revoke <id>',
    what: 'end a token: running servers refuse it within 5 seconds',
    examples: ['token revoke 01J8Z3… --tenant acme'],
    options: (command) => command.option(...TENANT),
    run: revoke,
  })
  claimCommand(frame, token)
}

function role(text: string): string {
  if (Object.hasOwn(ROLES, text)) return text
  throw new InvalidArgumentError(`It must be one of ${Object.keys(ROLES).join(', ')}.`)
}

interface CreateOptions {
  tenant?: string
  principal: string
  permission?: string[]
  role?: string
  expires?: string
  description?: string
  override?: string
}

async function create(cli: Cli, options: CreateOptions): Promise<void> {
  const { description } = options
  if ((options.permission === undefined) === (options.role === undefined)) {
    throw usageError('say what the token may do: --permission area/resource:verb, or --role admin or auditor')
  }
  const permissions = options.permission ?? ROLES[options.role ?? ''] ?? []
  const expiresAt = options.expires === undefined ? undefined : expiry(options.expires)
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const principal = await principalOf(host, tenant, options.principal)
    const made = await make(host, tenant, { principal, permissions, expiresAt, description }, options.override)
    cli.result({ tenant, ...made }, () => {
      const shown = fields(
        [
          ['id', made.id],
          ['principal', made.principal],
          ['permissions', made.permissions.join(' ')],
          ['expires', made.expiresAt ?? 'when revoked'],
          ['token', cli.paint.out.bold(made.token)],
        ],
        cli.paint.out,
      )
      return `${shown}${cli.paint.out.dim('Keep it now: only its digest is stored.')}\n`
    })
  })
}

/** Makes a token; where that takes a change, by override if there is a reason for one. */
async function make(
  host: Host,
  tenant: string,
  request: TokenRequest,
  reason: string | undefined,
): Promise<CreatedToken> {
  const by = hostPrincipal(tenant)
  try {
    return await createToken(host.database, by, request)
  } catch (error) {
    const changes = error instanceof DomainError && error.code === 'CHANGE_REQUIRED'
    if (!changes || reason === undefined) throw error
    return withApprovals(host, (deps) =>
      overriding(deps, by, TOKEN_CREATE, { reason }, (tx, now, ground) => mintToken(tx, now, ground, grantOf(request))),
    )
  }
}

/** `90d`, `12h`, or a time that is passed on as it is. */
function expiry(text: string): string {
  const [, count, unit] = /^(\d{1,5})([dh])$/.exec(text) ?? []
  if (count === undefined) return text
  const ms = Number(count) * (unit === 'd' ? DAY_MS : DAY_MS / 24)
  return new Date(Date.now() + ms).toISOString()
}

async function list(cli: Cli, options: { tenant?: string; limit: number }): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const tokens = await listTokens(host.database, tenant, { limit: options.limit })
    const now = Date.now()
    cli.result({ tenant, tokens }, () =>
      tokens.length === 0
        ? `tenant ${tenant} has no tokens; make one with: countersign token create --tenant ${tenant} …\n`
        : table(
            ['id', 'state', 'principal', 'created', 'permissions', 'description'].map((head) => ({ head })),
            tokens.map((token) => [
              token.id,
              stateOf(token, now),
              token.principal,
              token.createdAt,
              token.permissions.join(' '),
              printable(token.description ?? ''),
            ]),
            cli.paint.out,
          ),
    )
  })
}

function stateOf({ revokedAt, expiresAt }: TokenView, nowMs: number): string {
  if (revokedAt !== undefined) return 'revoked'
  return expiresAt !== undefined && Date.parse(expiresAt) <= nowMs ? 'expired' : 'active'
}

async function revoke(cli: Cli, options: { tenant?: string }, id = ''): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    await revokeToken(host.database, hostPrincipal(tenant), id)
    cli.result({ tenant, id, revoked: true }, () => `revoked token ${id}\n`)
  })
}
