import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { claimToken } from '../approvals/commands/claim.js'
import { issueGrant, type IssuedGrant, type RedeemedGrant } from '../approvals/commands/grant.js'
import { mintToken, type CreatedToken } from '../auth/commands.js'
import { DomainError, messageOf } from '../errors.js'
import { host as hostPrincipal } from '../principal.js'
import { API, apiOf, TOKEN_FILE, type ApiOptions } from './api.js'
import { OVERRIDE, withApprovals } from './approvals.js'
import { leaf, usageError, type Cli, type Frame } from './cli.js'
import { tenantOf, withHost } from './host.js'
import { fields } from './terminal.js'

const TENANT = ['-t, --tenant <id>', 'the tenant, for the operator; a token names its own'] as const

/** `change grant` and `change redeem`. */
export function grantCommands(frame: Frame, change: Command): void {
  leaf(frame, change, {
    usage: 'grant <id>',
    what: 'get a grant of an approved external change that you asked for, to show to the other system',
    more: `It holds for ten minutes at most, and is printed alone on standard output. With a token (--token-file or
COUNTERSIGN_TOKEN) it acts as whom the token is for; without one as the operator on the host.`,
    examples: ['change grant 01J8Z3… --token-file ada.token', 'change grant 01J8Z3… --tenant acme --json'],
    options: (command) =>
      command
        .option(...TENANT)
        .option(...TOKEN_FILE)
        .option(...API),
    run: grant,
  })
  leaf(frame, change, {
    usage: 'redeem <id> <file>',
    what: 'redeem a grant that lies in a file (- is standard input), once, and learn what is to be done',
    more: 'This needs the token of a service that may redeem grants: --token-file or COUNTERSIGN_TOKEN.',
    examples: ['change redeem 01J8Z3… grant.jws --token-file billing.token'],
    options: (command) => command.option(...TOKEN_FILE).option(...API),
    run: redeem,
  })
}

/** `token claim`. */
export function claimCommand(frame: Frame, token: Command): void {
  leaf(frame, token, {
    usage: 'claim <change>',
    what: 'make the token of an approved change token.create, once; its secret is shown this once',
    more: `The principal that it is for claims it with a token it has (--token-file or COUNTERSIGN_TOKEN); for a service whoever
answers for it may. For who has no token yet the operator does, with --override.`,
    examples: [
      'token claim 01J8Z3… --token-file ada.token',
      'token claim 01J8Z3… --tenant acme --override "her first token, she starts today"',
    ],
    options: (command) =>
      command
        .option(...TENANT)
        .option('--description <text>', 'a note for whoever lists tokens; stays out of the log')
        .option(...OVERRIDE)
        .option(...TOKEN_FILE)
        .option(...API),
    run: claim,
  })
}

interface Options extends ApiOptions {
  tenant?: string
}

async function grant(cli: Cli, options: Options, id = ''): Promise<void> {
  const api = options.tenant === undefined ? await apiOf(options) : undefined
  const issued =
    api !== undefined
      ? await api.call<IssuedGrant>('POST', `/v1/changes/${encodeURIComponent(id)}/grant`)
      : await withHost(cli, async (host) => {
          const tenant = await tenantOf(host, options.tenant)
          return withApprovals(host, (outside) => issueGrant(outside, hostPrincipal(tenant), id))
        })
  cli.result(issued, () => `${issued.grant}\n`)
}

async function redeem(cli: Cli, options: Options, id = '', file = ''): Promise<void> {
  const api = await apiOf(options)
  if (api === undefined) throw usageError('a grant is redeemed by a service: --token-file or COUNTERSIGN_TOKEN')
  const body = { grant: (await readText(file)).trim() }
  const redeemed = await api.call<RedeemedGrant>('POST', `/v1/changes/${encodeURIComponent(id)}/redeem`, body)
  cli.result(redeemed, () => `${JSON.stringify(redeemed.payload, null, 2)}\n`)
}

async function claim(
  cli: Cli,
  options: Options & { description?: string; override?: string },
  change = '',
): Promise<void> {
  const { description, override } = options
  const api = options.tenant === undefined && override === undefined ? await apiOf(options) : undefined
  const made =
    api !== undefined
      ? await api.call<CreatedToken>('POST', `/v1/changes/${encodeURIComponent(change)}/claim`, { description })
      : await withHost(cli, async (host) => {
          const tenant = await tenantOf(host, options.tenant)
          const wanted = { id: change, description, ...(override !== undefined && { override: { reason: override } }) }
          return withApprovals(host, (outside) => claimToken(outside, mintToken, hostPrincipal(tenant), wanted))
        })
  cli.result(made, () => {
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
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file === '-' ? '/dev/stdin' : file, 'utf8')
  } catch (error) {
    throw new DomainError('FILE_UNREADABLE', `${file} cannot be read: ${messageOf(error)}`)
  }
}
