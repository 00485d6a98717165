import { findSubject, reveal } from '../keyring/reveal.js'
import { host as hostPrincipal } from '../principal.js'
import { EXIT, leaf, usageError, type Cli, type ExitCode, type Frame } from './cli.js'
import { tenantOf, withHost } from './host.js'
import { parseIdentifier } from './persons.js'
import { fields, printable } from './terminal.js'

const TENANT = ['-t, --tenant <id>', 'the tenant; may be left out where there is only one'] as const
const REASON = ['-r, --reason <text>', 'why; goes on record, sealed'] as const

interface Options {
  tenant?: string
  reason: string
}

export function subjectCommands(frame: Frame): void {
  const subject = frame.program.command('subject').description('find the pseudonym of a person')
  leaf(frame, subject, {
    usage: 'find <who>',
    what: 'find the pseudonym of a person; the search is an entry',
    more: 'Ends with 1 when the tenant knows nobody by that.',
    examples: ['subject find email:ada@example.org --tenant acme --reason "access request 17"'],
    options: (command) => command.option(...TENANT).requiredOption(...REASON),
    run: find,
  })
  const entry = frame.program.command('entry').description('read what is sealed in an entry')
  leaf(frame, entry, {
    usage: 'reveal <seq> <group>',
    what: 'decrypt one sealed group of an entry; the disclosure is an entry, before the answer is shown',
    more: 'Which groups an entry has, countersign log show SEQ tells.',
    examples: ['entry reveal 42 author --tenant acme --reason "access request 17"'],
    options: (command) => command.option(...TENANT).requiredOption(...REASON),
    run: revealGroup,
  })
}

async function find(cli: Cli, options: Options, word = ''): Promise<ExitCode> {
  const identifier = parseIdentifier(word)
  return withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const found = await findSubject(host.deps, hostPrincipal(tenant), { identifier, reason: options.reason })
    const { subject, recordedSeq } = found
    cli.result({ tenant, subject: subject ?? null, recordedSeq }, () =>
      subject === undefined ? `tenant ${tenant} knows nobody by that ${identifier.kind}\n` : `${subject}\n`,
    )
    return subject === undefined ? EXIT.finding : EXIT.ok
  })
}

async function revealGroup(cli: Cli, options: Options, place = '', group = ''): Promise<void> {
  if (!/^\d{1,15}$/.test(place)) throw usageError(`${JSON.stringify(place)} is no place in a log: 0, 1, 2, …`)
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const { reason } = options
    const { seq, subject, data, salt, recordedSeq } = await reveal(host.deps, hostPrincipal(tenant), {
      seq: Number(place),
      group,
      reason,
    })
    cli.result({ tenant, seq, group, subject, data, salt, recordedSeq }, () =>
      fields(
        [
          ['subject', subject],
          ['data', printable(JSON.stringify(data))],
          ['recorded', `entry ${recordedSeq}`],
        ],
        cli.paint.out,
      ),
    )
  })
}
