import { enforceApprovals } from '../approvals/commands/enforce.js'
import { approvalsStatus, listPolicies, type PolicyView } from '../approvals/queries/rules.js'
import { describeUnsatisfied } from '../approvals/queries/satisfied.js'
import { DomainError } from '../errors.js'
import type { Json } from '../ledger/event.js'
import { parseStrict } from '../ledger/gate.js'
import { host as hostPrincipal } from '../principal.js'
import { directly, OVERRIDE, withApprovals } from './approvals.js'
import { EXIT, leaf, type Cli, type ExitCode, type Frame } from './cli.js'
import { tenantOf, withHost } from './host.js'
import { referenceOf } from './persons.js'
import { fields, table } from './terminal.js'

const TENANT = ['-t, --tenant <id>', 'the tenant; may be left out where there is only one'] as const
const IN_SETUP = 'Once approvals are enforced it takes a change that two people approve: countersign change request.'

interface Options {
  tenant?: string
  override?: string
}

export function policyCommands(frame: Frame): void {
  const policy = frame.program.command('policy').description('say who has to agree to changes of each kind')
  leaf(frame, policy, {
    usage: 'list',
    what: 'list the kinds of change, and what each asks for',
    examples: ['policy list --tenant acme'],
    options: (command) => command.option(...TENANT),
    run: list,
  })
  leaf(frame, policy, {
    usage: 'show <kind>',
    what: 'show what changes of one kind ask for',
    examples: ['policy show role.grant --tenant acme'],
    options: (command) => command.option(...TENANT),
    run: show,
  })
  leaf(frame, policy, {
    usage: 'set <kind> <policy>',
    what: 'set the policy of a kind; what is left out is as in the default',
    more: `All groups have to be met; a group without roles and people is whoever may approve. ${IN_SETUP}`,
    examples: [
      `policy set role.grant '{"groups":[{"name":"security","count":1,"roles":["security"]},{"name":"anybody","count":1}]}'`,
      `policy set external.billing '{"coolingOffMs":3600000,"reasonRequired":true}' --tenant acme`,
    ],
    options: (command) => command.option(...TENANT).option(...OVERRIDE),
    run: set,
  })
  leaf(frame, policy, {
    usage: 'remove <kind>',
    what: 'go back to the default policy for a kind',
    more: IN_SETUP,
    examples: ['policy remove role.grant --tenant acme'],
    options: (command) => command.option(...TENANT).option(...OVERRIDE),
    run: remove,
  })
  const approvals = frame.program.command('approvals').description("end a tenant's setup, and see where it stands")
  leaf(frame, approvals, {
    usage: 'status',
    what: 'whether approvals are enforced, what is in the way, what has to be reviewed',
    more: 'Ends with 1 where changes of some kind could not be approved by anybody.',
    examples: ['approvals status --tenant acme'],
    options: (command) => command.option(...TENANT),
    run: status,
  })
  leaf(frame, approvals, {
    usage: 'enforce',
    what: 'from now on what is protected needs an approved change; there is no way back',
    examples: ['approvals enforce --tenant acme'],
    options: (command) => command.option(...TENANT),
    run: enforce,
  })
  leaf(frame, approvals, {
    usage: 'emergency',
    what: 'say who may break glass, and for which kinds of change',
    more: `The list is replaced as a whole; without people nobody may. ${IN_SETUP}`,
    examples: ['approvals emergency --person email:ada@example.org --kind external.billing --tenant acme'],
    options: (command) =>
      command
        .option(...TENANT)
        .option('--person <who...>', 'email:ada@example.org or person:01J…', [])
        .option('--kind <kind...>', 'kinds of change', [])
        .option(...OVERRIDE),
    run: emergency,
  })
}

async function policiesOf(cli: Cli, options: Options): Promise<{ tenant: string; policies: PolicyView[] }> {
  return withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    return { tenant, policies: await withApprovals(host, (deps) => listPolicies(deps, tenant)) }
  })
}

async function list(cli: Cli, options: Options): Promise<void> {
  const answer = await policiesOf(cli, options)
  cli.result(answer, () =>
    table(
      ['kind', 'set', 'asks for'].map((head) => ({ head })),
      answer.policies.map(({ kind, own, policy }) => [kind, own ? 'yes' : 'default', inWords(policy)]),
      cli.paint.out,
    ),
  )
}

async function show(cli: Cli, options: Options, kind = ''): Promise<void> {
  const { tenant, policies } = await policiesOf(cli, options)
  const found =
    policies.find((each) => each.kind === kind) ?? policies.find((each) => each.kind === kind.replace(/\.[^.]+$/, '.*'))
  if (!found) {
    const known = policies.map((each) => each.kind).join(', ')
    throw new DomainError(
      'CHANGE_KIND_UNKNOWN',
      `there is no kind of change ${JSON.stringify(kind)}; there are ${known}`,
    )
  }
  cli.result({ tenant, ...found, kind }, () =>
    fields(
      [
        ['kind', `${kind}, to ${found.what}`],
        ['asks for', inWords(found.policy)],
        ['set', found.own ? 'yes' : 'no, this is the default'],
        ['hash', found.policyHash],
        ['policy', JSON.stringify(found.policy)],
      ],
      cli.paint.out,
    ),
  )
}

function inWords({ groups, denyQuorum, ttlMs, coolingOffMs, reasonRequired }: PolicyView['policy']): string {
  const who = groups.map(({ name, count, roles = [], people = [] }) => {
    const from = [...roles, ...people]
    return `${count} of ${name}${from.length === 0 ? '' : ` (${from.join(', ')})`}`
  })
  const hours = (ms: number) => `${Math.round(ms / 360_000) / 10} h`
  return [
    who.join(' and '),
    `within ${hours(ttlMs)}`,
    ...(denyQuorum === 1 ? [] : [`${denyQuorum} rejections close it`]),
    ...(coolingOffMs === 0 ? [] : [`rests ${hours(coolingOffMs)}`]),
    ...(reasonRequired ? ['with a reason'] : []),
  ].join(', ')
}

async function set(cli: Cli, options: Options, kind = '', text = ''): Promise<void> {
  const policy = parseStrict(Buffer.from(text), '/policy') as Json
  await direct(cli, options, { kind: 'policy.set', payload: { kind, policy }, done: `set the policy of ${kind}` })
}

async function remove(cli: Cli, options: Options, kind = ''): Promise<void> {
  await direct(cli, options, { kind: 'policy.remove', payload: { kind }, done: `${kind} has the default policy again` })
}

async function direct(
  cli: Cli,
  options: Options,
  { kind, payload, done }: { kind: string; payload: Json; done: string },
): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const { effects } = await directly(host, tenant, kind, payload, options)
    cli.result({ tenant, effects }, () => `${done}\n`)
  })
}

async function status(cli: Cli, options: Options): Promise<ExitCode> {
  return withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const answer = await withApprovals(host, (deps) => approvalsStatus(deps, tenant))
    const { enforcedSeq, unsatisfied, emergency, reviewsDue } = answer
    cli.result({ tenant, ...answer }, () =>
      fields(
        [
          ['enforced', enforcedSeq === undefined ? 'no, the tenant is being set up' : `since entry ${enforcedSeq}`],
          ['break-glass', emergency ? `${emergency.people.length} people, ${emergency.kinds.join(' ')}` : 'off'],
          ...reviewsDue.map((change) => ['review due', `change ${change}`] as const),
          ...unsatisfied.map((each) => ['in the way', describeUnsatisfied(each)] as const),
        ],
        cli.paint.out,
      ),
    )
    return unsatisfied.length === 0 ? EXIT.ok : EXIT.finding
  })
}

async function enforce(cli: Cli, options: Options): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const { seq } = await withApprovals(host, (deps) => enforceApprovals(deps, hostPrincipal(tenant)))
    cli.result({ tenant, seq }, () => `approvals are enforced since entry ${seq}\n`)
  })
}

async function emergency(cli: Cli, options: Options & { person: string[]; kind: string[] }): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const people: string[] = []
    for (const word of options.person) {
      people.push(await referenceOf(host, tenant, word, 'to say that they may break glass'))
    }
    const { effects } = await directly(host, tenant, 'emergency.list', { people, kinds: options.kind }, options)
    cli.result({ tenant, people, kinds: options.kind, effects }, () => `${people.length} people may break glass\n`)
  })
}
