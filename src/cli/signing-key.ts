import { publicKeysOf, rotateSigningKey, type PublicKeyHistory } from '../keyring/signing-keys.js'
import { host as hostPrincipal } from '../principal.js'
import { webhookPublicKey } from '../sinks/standard-webhooks.js'
import { leaf, type Cli, type Frame } from './cli.js'
import { tenantOf, withHost } from './host.js'
import { table } from './terminal.js'

const TENANT = ['-t, --tenant <id>', 'the tenant; may be left out where there is only one'] as const

export function signingKeyCommands(frame: Frame): void {
  const group = frame.program
    .command('signing-key')
    .description('look after the keys that grants and webhooks are signed with')
  leaf(frame, group, {
    usage: 'list',
    what: "list a tenant's public keys, those of before included",
    more: 'The same keys are published as a JWK set at /t/<tenant>/.well-known/jwks.json.',
    examples: ['signing-key list --tenant acme', 'signing-key list --tenant acme --json'],
    options: (command) => command.option(...TENANT),
    run: list,
  })
  leaf(frame, group, {
    usage: 'rotate',
    what: "replace a tenant's signing key; an entry each for the new one and the one before",
    more: `Webhooks carry signatures by both keys for 24 hours, so that receivers can learn the new one. With --revoke, for a key
that others may know, the one before is taken out of what is published at once: its grants are refused.`,
    examples: ['signing-key rotate --tenant acme', 'signing-key rotate --tenant acme --revoke'],
    options: (command) => command.option(...TENANT).option('--revoke', 'the key before is not to be trusted any more'),
    run: rotate,
  })
}

async function list(cli: Cli, options: { tenant?: string }): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const keys = ((await publicKeysOf(host.database, tenant)) ?? []).map((key) => ({ ...key, whpk: whpk(key) }))
    cli.result({ tenant, keys }, () =>
      keys.length === 0
        ? `tenant ${tenant} has signed nothing yet: its key is made when it is first needed\n`
        : table(
            ['key', 'state', 'made', 'for webhooks'].map((head) => ({ head })),
            keys.map(({ kid, status, madeAt, whpk }) => [kid, status, madeAt, whpk]),
            cli.paint.out,
          ),
    )
  })
}

async function rotate(cli: Cli, options: { tenant?: string; revoke?: boolean }): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const deps = { database: host.database, signingKeysDir: host.config.signingKeysDir }
    const rotation = await rotateSigningKey(deps, hostPrincipal(tenant), { revoke: options.revoke ?? false })
    cli.result({ tenant, ...rotation }, () => {
      const before = rotation.retired.map((kid) => `${options.revoke === true ? 'revoked' : 'retired'} ${kid}\n`)
      return `${before.join('')}made ${rotation.kid}\n`
    })
  })
}

function whpk({ x }: PublicKeyHistory): string {
  return webhookPublicKey(Buffer.from(x, 'base64url'))
}
