import { InvalidArgumentError, Option, type Command } from 'commander'
import type { EntryFilter } from '../ledger/filter.js'
import { EntriesListener } from '../ledger/listen.js'
import { LiveFeed } from '../ledger/live.js'
import { getEntry, headOf, listEntries, streamEntries, type EntryProof } from '../ledger/query.js'
import type { EntryView } from '../ledger/view.js'
import { EXIT, leaf, usageError, wholeNumber, type Cli, type ExitCode, type Frame } from './cli.js'
import { following } from './following.js'
import { tenantOf, withHost, type Host } from './host.js'
import { referenceOf } from './persons.js'
import { fields, printable, type Palette } from './terminal.js'

const TENANT = ['-t, --tenant <id>', 'the tenant; may be left out where there is only one'] as const

interface ShowOptions {
  tenant?: string
  type?: string
  actor?: string
  target?: string
  subject?: string
  stream?: string
  outcome?: string
  from?: number
  to?: number
  since?: string
  until?: string
  limit: number | 'all'
  reverse?: boolean
}

export function logCommands(frame: Frame): void {
  const log = frame.program.command('log').description('read the entries of a log')
  leaf(frame, log, {
    usage: 'show [seq]',
    what: 'show entries, oldest first; or one entry in full',
    more: `Filters are answered from the index, which this brings up to date. People may be named by e-mail address: that
they were looked up is an entry.`,
    examples: [
      'log show --tenant acme --limit 5 --reverse',
      'log show 42 --tenant acme',
      'log show --tenant acme --type "role.*" --actor email:ada@example.org --since 2026-11-01T00:00:00Z',
      'log show --tenant acme --limit all --json',
    ],
    options: (command) =>
      filters(command.option(...TENANT))
        .option('--limit <count>', 'how many, or all', limit, 20)
        .option('--reverse', 'newest first'),
    run: show,
  })
  leaf(frame, log, {
    usage: 'tail',
    what: 'show the newest entries and go on with every new one, until Ctrl-C',
    more: 'With --json each entry is a line of its own.',
    examples: ['log tail --tenant acme', 'log tail --tenant acme -n 0 --json', 'log tail --tenant acme --no-follow'],
    options: (command) =>
      command
        .option(...TENANT)
        .option('-n, --lines <count>', 'how many to begin with', wholeNumber(0, 1000), 10)
        .option('--no-follow', 'end after those'),
    run: tail,
  })
}

function filters(command: Command): Command {
  return command
    .option('--type <type>', 'only this event type, or role.* for all below it')
    .option('--actor <who>', 'only what this service or person did')
    .option('--target <what>', 'only what was done to this')
    .option('--subject <who>', 'only what concerns this person')
    .option('--stream <name>', 'only this stream')
    .addOption(new Option('--outcome <outcome>', 'only this outcome').choices(['success', 'failure', 'denied']))
    .option('--from <seq>', 'first entry', wholeNumber(0))
    .option('--to <seq>', 'last entry', wholeNumber(0))
    .option('--since <time>', 'recorded at or after this time, RFC 3339')
    .option('--until <time>', 'recorded before this time')
}

function limit(text: string): number | 'all' {
  if (text === 'all') return text
  if (/^\d{1,9}$/.test(text) && Number(text) > 0) return Number(text)
  throw new InvalidArgumentError('It must be a whole number, 1 or more, or "all".')
}

async function show(cli: Cli, options: ShowOptions, place?: string): Promise<void> {
  if (place !== undefined && !/^\d{1,15}$/.test(place)) {
    throw usageError(`${JSON.stringify(place)} is no place in a log: 0, 1, 2, …`)
  }
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    if (place !== undefined) {
      const entry = await getEntry(host.database, tenant, Number(place))
      cli.result(jsonOf(tenant, entry), () => inFull(tenant, entry, cli.paint.out))
      return
    }
    const filter = await filterOf(host, tenant, options)
    await (isIndexed(filter)
      ? following(cli, host, tenant, () => showAll(cli, host, tenant, filter, options))
      : showAll(cli, host, tenant, filter, options))
  })
}

/** Written as it is read: a log may be longer than memory. */
async function showAll(
  cli: Cli,
  { database }: Host,
  tenant: string,
  filter: EntryFilter,
  options: ShowOptions,
): Promise<void> {
  const most = options.limit === 'all' ? Infinity : options.limit
  const order = options.reverse === true ? 'desc' : 'asc'
  const { size } = await headOf(database, tenant)
  const atLeast = isIndexed(filter) ? { atLeast: size - 1, patienceMs: 60_000 } : {}
  const pageSize = Math.min(most + 1, 1000)
  const { entries, indexedUpTo } = await streamEntries(database, tenant, filter, { order, pageSize, ...atLeast })
  let shown = 0
  let more = false
  if (cli.json) cli.out.write(`{"tenant":${JSON.stringify(tenant)},"entries":[`)
  for await (const entry of entries) {
    if (shown === most) {
      more = true
      break
    }
    cli.out.write(cli.json ? `${shown === 0 ? '' : ','}\n${JSON.stringify(entry)}` : line(entry, cli.paint.out))
    shown += 1
  }
  if (cli.json) cli.out.write(`\n],"more":${more},"size":${size},"indexedUpTo":${indexedUpTo}}\n`)
  else if (shown === 0) cli.note(size === 0 ? 'the log is empty' : 'no entry is like that')
  else if (more) cli.note(`… there are more: --limit ${most * 5}, or --limit all`)
}

async function filterOf(host: Host, tenant: string, options: ShowOptions): Promise<EntryFilter> {
  const { type, stream, outcome, from, to, since, until } = options
  const named = async (name: 'actor' | 'target' | 'subject') => {
    const word = options[name]
    return word === undefined ? {} : { [name]: await referenceOf(host, tenant, word, `filter of log show: ${name}`) }
  }
  return {
    ...(type === undefined ? {} : { type }),
    ...(stream === undefined ? {} : { stream }),
    ...(outcome === undefined ? {} : { outcome }),
    ...(from === undefined ? {} : { fromSeq: from }),
    ...(to === undefined ? {} : { toSeq: to }),
    ...(since === undefined ? {} : { from: since }),
    ...(until === undefined ? {} : { to: until }),
    ...(await named('actor')),
    ...(await named('target')),
    ...(await named('subject')),
  }
}

/** Places are those of the log itself; all else is looked up. */
function isIndexed(filter: EntryFilter): boolean {
  return Object.keys(filter).some((name) => name !== 'fromSeq' && name !== 'toSeq')
}

interface TailOptions {
  tenant?: string
  lines: number
  follow: boolean
}

async function tail(cli: Cli, options: TailOptions): Promise<ExitCode> {
  return withHost(
    cli,
    async (host) => {
      const { database } = host
      const tenant = await tenantOf(host, options.tenant)
      const write = (entry: EntryView) =>
        cli.out.write(cli.json ? `${JSON.stringify(entry)}\n` : line(entry, cli.paint.out))
      const { size } = await headOf(database, tenant)
      if (options.lines > 0) {
        const page = await listEntries(database, tenant, { toSeq: size - 1 }, { limit: options.lines, order: 'desc' })
        for (const entry of page.entries.reverse()) write(entry)
      }
      if (!options.follow) return EXIT.ok
      const listener = new EntriesListener(database)
      const feed = new LiveFeed(database, { listener })
      try {
        for await (const entry of feed.entries(tenant, size, cli.signal)) write(entry)
      } finally {
        feed.close()
        await listener.close()
      }
      return EXIT.ok
    },
    { graceful: true },
  )
}

/** `   42  2026-11-20T10:00:00.123Z  role.granted  person:01J… → project:9` */
function line({ seq, at, event, reported, by, stream }: EntryView, paint: Palette): string {
  const { type, actor, targets = [], outcome, reason } = event
  const [first, ...others] = targets
  const what = first === undefined ? '' : ` → ${first.id}${others.length > 0 ? ` +${others.length}` : ''}`
  const how =
    outcome === undefined || outcome === 'success' ? '' : ` ${outcome}${reason === undefined ? '' : ` (${reason})`}`
  const who = actor?.id ?? (reported ? by : '')
  const kind = reported ? paint.cyan(type) : paint.bold(type)
  const rest = `${printable(who)}${printable(what)}${paint.red(printable(how))}`
  const where = stream === undefined ? '' : ` ${paint.dim(printable(stream))}`
  const shown = [String(seq).padStart(6), paint.dim(at), kind, `${rest}${where}`]
  return `${shown.filter((text) => text !== '').join('  ')}\n`
}

function jsonOf(tenant: string, { leaf: bytes, ...entry }: EntryProof) {
  return { tenant, ...entry, leaf: bytes.toString('base64') }
}

function inFull(tenant: string, entry: EntryProof, paint: Palette): string {
  const { seq, at, by, via, stream, version, event, reported, leafHash, chainHash } = entry
  const place: [string, string][] = [
    ['entry', `${seq} of ${tenant}`],
    ['recorded', at],
    ['by', `${by} via ${via}`],
    ...(stream === undefined ? [] : ([['stream', `${stream}, version ${version ?? ''}`]] satisfies [string, string][])),
    ['kind', kindOf(reported, stream)],
    ['leaf hash', leafHash],
    ['chain hash', chainHash],
  ]
  const body = JSON.stringify(event, null, 2).split('\n').map(printable).join('\n')
  return `${fields(place, paint)}\n${body}\n`
}

function kindOf(reported: boolean, stream: string | undefined): string {
  if (reported) return 'reported: the log says that they said so'
  return stream === undefined ? "the service's own record" : 'a command of this service'
}
