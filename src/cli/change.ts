import { InvalidArgumentError } from 'commander'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline/promises'
import { requestChange } from '../approvals/commands/request.js'
import { withdrawChange } from '../approvals/commands/withdraw.js'
import {
  getChange,
  listChanges,
  type ChangePage,
  type ChangeSummary,
  type ChangeView,
} from '../approvals/queries/changes.js'
import type { ChangeStatus } from '../approvals/change.js'
import { DomainError, messageOf } from '../errors.js'
import type { Json } from '../ledger/event.js'
import { parseStrict } from '../ledger/gate.js'
import { host as hostPrincipal } from '../principal.js'
import { API, apiOf, TOKEN_FILE, type Api, type ApiOptions } from './api.js'
import { withApprovals } from './approvals.js'
import { showChange } from './change-text.js'
import { EXIT, leaf, usageError, wholeNumber, type Cli, type ExitCode, type Frame } from './cli.js'
import { tenantOf, withHost } from './host.js'
import { grantCommands } from './taking.js'
import { printable, table } from './terminal.js'

const TENANT = ['-t, --tenant <id>', 'the tenant, for the operator; a token names its own'] as const
const REASON = ['-r, --reason <text>', 'why; goes on record, sealed'] as const
const HASH = ['--hash <hash>', 'what you have read: the payload hash that change show tells'] as const
const STATUSES = ['requested', 'approved', 'rejected', 'expired', 'withdrawn', 'applying', 'applied', 'failed']
const AS_WHOM = `With a token (--token-file or COUNTERSIGN_TOKEN) it acts as whom the token is for, through the running API; without
one as the operator on the host, who is no person.`
const AS_A_PERSON = `Only people decide, so this needs the token of one: --token-file or COUNTERSIGN_TOKEN.`

interface Options extends ApiOptions {
  tenant?: string
}

export function changeCommands(frame: Frame): void {
  const change = frame.program.command('change').description('request, read and decide changes that need two people')
  leaf(frame, change, {
    usage: 'request <kind> [payload]',
    what: 'ask for a change; the payload is JSON, given here, in a file or on standard input',
    more: `${AS_WHOM} The payload stands in the log in clear: name secrets by reference.`,
    examples: [
      `change request role.grant '{"principal":"person:01J…","role":"auditor"}' --tenant acme --reason "audit in May"`,
      'change request policy.set --file policy.json --expires 24h --token-file ada.token',
    ],
    options: (command) =>
      command
        .option(...TENANT)
        .option('-f, --file <path>', 'read the payload from a file; - is standard input')
        .option(...REASON)
        .option('--expires <when>', 'until when votes are waited for: 24h, 7d, or a time', when)
        .option('--apply-by <when>', 'until when it may be applied: 48h, 7d, or a time', when)
        .option('--on-behalf-of <principal>', 'on whose behalf; they may not vote')
        .option('--beneficiary <principal...>', 'who gains by it; they may not vote')
        .option(...TOKEN_FILE)
        .option(...API),
    run: request,
  })
  leaf(frame, change, {
    usage: 'list',
    what: 'list changes, newest first',
    more: AS_WHOM,
    examples: ['change list --tenant acme --status requested', 'change list --waiting-for-me --token-file ben.token'],
    options: (command) =>
      command
        .option(...TENANT)
        .option('--status <status>', `one of ${STATUSES.join(', ')}`, status)
        .option('--kind <kind>', 'a kind of change')
        .option('--waiting-for-me', 'only what you could vote on now; needs a token')
        .option('--limit <count>', 'how many', wholeNumber(1, 500), 50)
        .option('--before <id>', 'where the last page ended')
        .option(...TOKEN_FILE)
        .option(...API),
    run: list,
  })
  leaf(frame, change, {
    usage: 'show <id>',
    what: 'show a change: what it would do, its history, what it waits for',
    more: AS_WHOM,
    examples: ['change show 01J8Z3… --tenant acme', 'change show 01J8Z3… --token-file ben.token --json'],
    options: (command) =>
      command
        .option(...TENANT)
        .option(...TOKEN_FILE)
        .option(...API),
    run: show,
  })
  for (const decision of ['approve', 'reject'] as const) {
    leaf(frame, change, {
      usage: `${decision} [id]`,
      what:
        decision === 'approve'
          ? 'approve a change, after reading it'
          : 'reject a change; also one that you have approved, until it is applied',
      more: `${AS_A_PERSON} Without an id it is the one change that waits for you. It shows what you decide on and asks; in a script
say with --hash which version you have read.`,
      examples: [
        `change ${decision} --token-file ben.token`,
        `change ${decision} 01J8Z3… --hash 9f86d081… --token-file ben.token`,
      ],
      options: (command) =>
        command
          .option(...HASH)
          .option(...REASON)
          .option(...TOKEN_FILE)
          .option(...API),
      run: (cli, options: VoteOptions, id = '') => vote(cli, options, id, decision),
    })
  }
  leaf(frame, change, {
    usage: 'withdraw <id>',
    what: 'take back what you have asked for',
    more: AS_WHOM,
    examples: ['change withdraw 01J8Z3… --tenant acme', 'change withdraw 01J8Z3… --token-file ada.token'],
    options: (command) =>
      command
        .option(...TENANT)
        .option(...TOKEN_FILE)
        .option(...API),
    run: withdraw,
  })
  leaf(frame, change, {
    usage: 'emergency <id>',
    what: 'break glass: let a change through alone, as somebody on the emergency list',
    more: `${AS_A_PERSON} Everybody who could have been asked is named on record, and a review is due before the next use.`,
    examples: ['change emergency 01J8Z3… --reason "nobody answers, billing is down" --token-file ada.token'],
    options: (command) =>
      command
        .requiredOption(...REASON)
        .option(...HASH)
        .option(...TOKEN_FILE)
        .option(...API),
    run: emergency,
  })
  leaf(frame, change, {
    usage: 'review <id> <verdict>',
    what: 'review such a use: justified or unjustified',
    more: `${AS_A_PERSON} Neither who asked for the change nor who broke glass may.`,
    examples: ['change review 01J8Z3… justified --token-file ben.token'],
    options: (command) =>
      command
        .option(...REASON)
        .option(...TOKEN_FILE)
        .option(...API),
    run: review,
  })
  grantCommands(frame, change)
}

function status(text: string): string {
  if (STATUSES.includes(text)) return text
  throw new InvalidArgumentError(`It must be one of ${STATUSES.join(', ')}.`)
}

/** `24h`, `7d`, or a time that is passed on as it is. */
function when(text: string): string {
  const [, count, unit] = /^(\d{1,4})([hd])$/.exec(text) ?? []
  if (count === undefined) return text
  return new Date(Date.now() + Number(count) * (unit === 'd' ? 86_400_000 : 3_600_000)).toISOString()
}

interface RequestOptions extends Options {
  file?: string
  reason?: string
  expires?: string
  applyBy?: string
  onBehalfOf?: string
  beneficiary?: string[]
}

async function request(cli: Cli, options: RequestOptions, kind = '', word?: string): Promise<void> {
  const { reason, expires: expiresAt, applyBy, onBehalfOf, beneficiary: beneficiaries } = options
  const payload = await readPayload(word, options.file)
  const input = { kind, payload, reason, expiresAt, applyBy, onBehalfOf, beneficiaries }
  const change = await asWhom<ChangeView>(options, {
    api: (api) => api.call('POST', '/v1/changes', input),
    host: () =>
      withHost(cli, async (host) => {
        const tenant = await tenantOf(host, options.tenant)
        return withApprovals(host, async (deps) => {
          const { id } = await requestChange(deps, hostPrincipal(tenant), input)
          return getChange(deps, tenant, id)
        })
      }),
  })
  cli.result(change, () => showChange(change, cli.paint.out))
}

async function readPayload(word: string | undefined, file: string | undefined): Promise<Json> {
  if (word !== undefined && file !== undefined) throw usageError('give the payload as an argument or with --file')
  if (word !== undefined && word !== '-') return parseStrict(Buffer.from(word), '/payload') as Json
  if (file === undefined || file === '-') {
    if (process.stdin.isTTY) throw usageError('no payload: give it as an argument, with --file, or on standard input')
    const parts: Buffer[] = []
    for await (const part of process.stdin) parts.push(part as Buffer)
    return parseStrict(Buffer.concat(parts), '/payload') as Json
  }
  try {
    return parseStrict(await readFile(file), '/payload') as Json
  } catch (error) {
    if (error instanceof DomainError) throw error
    throw new DomainError('FILE_UNREADABLE', `${file} cannot be read: ${messageOf(error)}`)
  }
}

/** Runs with the token that was given, else as the operator. */
async function asWhom<T>(
  options: ApiOptions,
  { api: withToken, host }: { api: (api: Api) => Promise<T>; host: () => Promise<T> },
): Promise<T> {
  const api = await apiOf(options)
  return api ? withToken(api) : host()
}

/** @throws DomainError TOKEN_MISSING */
async function asPerson(options: ApiOptions): Promise<Api> {
  const api = await apiOf(options)
  if (api) return api
  throw new DomainError(
    'TOKEN_MISSING',
    'only people decide, and the operator on the host is none: give the token of a person with --token-file or COUNTERSIGN_TOKEN',
  )
}

interface ListOptions extends Options {
  status?: ChangeStatus
  kind?: string
  waitingForMe?: boolean
  limit: number
  before?: string
}

async function list(cli: Cli, options: ListOptions): Promise<void> {
  const { limit, before, status, kind } = options
  const page = await asWhom<ChangePage>(options, {
    api: (api) => {
      const waitingFor = options.waitingForMe === true ? 'me' : undefined
      const given = Object.entries({ limit, before, status, kind, waitingFor }).flatMap(([name, value]) =>
        value === undefined ? [] : [[name, String(value)] as [string, string]],
      )
      return api.call('GET', `/v1/changes?${new URLSearchParams(given).toString()}`)
    },
    host: () => {
      if (options.waitingForMe === true) throw usageError('nothing waits for the operator: give a token')
      return withHost(cli, async (host) => {
        const tenant = await tenantOf(host, options.tenant)
        return withApprovals(host, (deps) => listChanges(deps, tenant, { limit, before, status, kind }))
      })
    },
  })
  cli.result(page, () => {
    if (page.changes.length === 0) return 'no changes\n'
    const heads = ['id', 'status', 'kind', 'requested by', 'requested', 'votes'].map((head) => ({ head }))
    const more = page.next === undefined ? '' : `${cli.paint.out.dim(`more: --before ${page.next}`)}\n`
    return `${table(heads, page.changes.map(rowOf), cli.paint.out)}${more}`
  })
}

function rowOf({
  id,
  status,
  kind,
  requester,
  requestedAt,
  approvals,
  rejections,
  emergency,
}: ChangeSummary): string[] {
  const shown = emergency === undefined ? status : `${status}, ${emergency}`
  return [id, shown, kind, printable(requester), requestedAt, `${approvals} for, ${rejections} against`]
}

async function show(cli: Cli, options: Options, id = ''): Promise<void> {
  const change = await asWhom<ChangeView>(options, {
    api: (api) => readChange(api, id),
    host: () =>
      withHost(cli, async (host) => {
        const tenant = await tenantOf(host, options.tenant)
        return withApprovals(host, (deps) => getChange(deps, tenant, id))
      }),
  })
  cli.result(change, () => showChange(change, cli.paint.out))
}

const readChange = (api: Api, id: string): Promise<ChangeView> =>
  api.call('GET', `/v1/changes/${encodeURIComponent(id)}`)

interface VoteOptions extends ApiOptions {
  hash?: string
  reason?: string
}

/** The hash to state: the one given, else that of the change as it was just shown and confirmed. */
async function seen(
  cli: Cli,
  api: Api,
  { id, hash, question }: { id: string; hash: string | undefined; question: string },
): Promise<string | undefined> {
  if (hash !== undefined) return hash
  if (!process.stdin.isTTY || cli.json) {
    throw usageError('say with --hash which version you have read: change show tells its payload hash')
  }
  const change = await readChange(api, id)
  cli.err.write(showChange(change, cli.paint.err))
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = await lines.question(`${question} Type yes: `, { signal: cli.signal })
    return answer.trim().toLowerCase() === 'yes' ? change.payloadHash : undefined
  } finally {
    lines.close()
  }
}

async function vote(cli: Cli, options: VoteOptions, word: string, decision: 'approve' | 'reject'): Promise<ExitCode> {
  const api = await asPerson(options)
  const id = word === '' ? await onlyWaiting(api) : word
  const payloadHash = await seen(cli, api, { id, hash: options.hash, question: `${decision} this?` })
  if (payloadHash === undefined) {
    cli.note('nothing was done')
    return EXIT.finding
  }
  const { reason } = options
  const voted = await api.call<{ seq: number; status: ChangeStatus }>(
    'POST',
    `/v1/changes/${encodeURIComponent(id)}/votes`,
    { decision, payloadHash, reason },
  )
  cli.result({ id, ...voted }, () => `recorded as entry ${voted.seq}; the change is ${voted.status}\n`)
  return EXIT.ok
}

/** @throws DomainError USAGE where none waits for the caller, or several do */
async function onlyWaiting(api: Api): Promise<string> {
  const { changes } = await api.call<ChangePage>('GET', '/v1/changes?waitingFor=me&limit=10')
  const [only, ...others] = changes
  if (only === undefined) throw usageError('no change waits for you')
  if (others.length === 0) return only.id
  throw usageError(`several changes wait for you, name one: ${changes.map(({ id }) => id).join(', ')}`)
}

async function withdraw(cli: Cli, options: Options, id = ''): Promise<void> {
  await asWhom<void>(options, {
    api: (api) => api.call('POST', `/v1/changes/${encodeURIComponent(id)}/withdraw`),
    host: () =>
      withHost(cli, async (host) => {
        const tenant = await tenantOf(host, options.tenant)
        await withApprovals(host, (deps) => withdrawChange(deps, hostPrincipal(tenant), id))
      }),
  })
  cli.result({ id, withdrawn: true }, () => `withdrew change ${id}\n`)
}

async function emergency(
  cli: Cli,
  options: ApiOptions & { reason: string; hash?: string },
  id = '',
): Promise<ExitCode> {
  const api = await asPerson(options)
  const payloadHash = await seen(cli, api, { id, hash: options.hash, question: 'Let this through alone?' })
  if (payloadHash === undefined) {
    cli.note('nothing was done')
    return EXIT.finding
  }
  const { reason } = options
  await api.call('POST', `/v1/changes/${encodeURIComponent(id)}/emergency`, { payloadHash, reason })
  cli.result(
    { id, emergency: true },
    () => `it will be applied; the use has to be reviewed: countersign change review\n`,
  )
  return EXIT.ok
}

async function review(cli: Cli, options: ApiOptions & { reason?: string }, id = '', verdict = ''): Promise<void> {
  if (verdict !== 'justified' && verdict !== 'unjustified') throw usageError('the verdict is justified or unjustified')
  const api = await asPerson(options)
  const { reason } = options
  await api.call('POST', `/v1/changes/${encodeURIComponent(id)}/review`, { verdict, reason })
  cli.result({ id, verdict }, () => `reviewed: ${verdict}\n`)
}
