import type { Command } from 'commander'
import { DomainError, systemCode } from '../errors.js'
import type { Installation } from '../keyring/installation.js'
import { host as hostPrincipal } from '../principal.js'
import { cloudtrailFiles, cloudtrailSource } from '../sources/cloudtrail-file.js'
import { gitSource } from '../sources/git.js'
import { importSource, type ImportSummary } from '../sources/import.js'
import { fingerprintKey, importInto } from '../sources/into.js'
import { ndjsonSource } from '../sources/ndjson.js'
import type { Refusal, Source } from '../sources/source.js'
import { EXIT, leaf, wholeNumber, type Cli, type ExitCode, type Frame } from './cli.js'
import { tenantOf, withHost, type Host } from './host.js'
import { showProgress } from './progress.js'
import { counted, printable, seconds, thousands } from './terminal.js'

interface ImportOptions {
  tenant?: string
  sourceName?: string
  batchSize?: number
  skipRefused?: boolean
}

const REPEATABLE = `Imports what is new: run it again when there is more. Two may run at once, nothing is imported twice.`

export function importCommands(frame: Frame): void {
  const parent = frame.program.command('import').description('import events from a git history, CloudTrail or NDJSON')
  leaf(frame, parent, {
    usage: 'git [path]',
    what: 'import the history of a git repository, one event a commit',
    more: `${REPEATABLE}
Names, e-mail addresses, messages and trailers are sealed. A clone or a moved folder is the same source.`,
    examples: ['import git --tenant acme', 'import git ../billing --tenant acme'],
    options: importOptions,
    run: async (cli, options: ImportOptions, path = '.') =>
      importAll(cli, options, 'commits', async function* () {
        yield await gitSource(path, { name: options.sourceName })
      }),
  })
  leaf(frame, parent, {
    usage: 'cloudtrail <path...>',
    what: 'import CloudTrail records: files of one record a line, files as delivered, or folders of them',
    more: `${REPEATABLE}
Members of an allowlist stay in clear; user names, ARNs of people, addresses, parameters and the rest are sealed.`,
    examples: ['import cloudtrail cloudtrail.ndjson --tenant acme', 'import cloudtrail AWSLogs/ --tenant acme'],
    options: importOptions,
    run: async (cli, options: ImportOptions, ...paths) =>
      importAll(cli, options, 'records', async function* ({ installation }) {
        for (const path of paths) {
          for (const file of await filesUnder(path)) yield cloudtrailSource(fileOptions(file, installation, options))
        }
      }),
  })
  leaf(frame, parent, {
    usage: 'ndjson <file...>',
    what: 'import files with one event a line, in the form that the API takes',
    more: REPEATABLE,
    examples: ['import ndjson events.ndjson --tenant acme', 'import ndjson events.ndjson.gz --skip-refused'],
    options: importOptions,
    run: async (cli, options: ImportOptions, ...paths) =>
      importAll(cli, options, 'events', async function* ({ installation }) {
        for (const path of paths) yield ndjsonSource(fileOptions(path, installation, options))
      }),
  })
}

function importOptions(command: Command): Command {
  return command
    .option('-t, --tenant <id>', 'the tenant; may be left out where there is only one')
    .option('--source-name <name>', 'name of the source, instead of one that follows from its content')
    .option('--batch-size <events>', 'events in one transaction', wholeNumber(1, 1000))
    .option('--skip-refused', 'go on past what cannot be imported, and list it')
}

function fileOptions(path: string, installation: Installation, { sourceName }: ImportOptions) {
  return { path, fingerprintKey: fingerprintKey(installation), name: sourceName }
}

async function filesUnder(path: string): Promise<string[]> {
  try {
    return await cloudtrailFiles(path)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') throw new DomainError('SOURCE_FILE_UNREADABLE', `there is no ${path}`)
    throw error
  }
}

async function importAll(
  cli: Cli,
  options: ImportOptions,
  unit: string,
  // One after the other: a folder may hold more files than can be open at once.
  open: (host: Host) => AsyncIterable<Source>,
): Promise<ExitCode> {
  return withHost(
    cli,
    async (host) => {
      const tenant = await tenantOf(host, options.tenant)
      const summaries: ImportSummary[] = []
      for await (const source of open(host)) {
        const summary = await importOne(cli, host, tenant, source, { unit, ...options })
        summaries.push(summary)
        if (!summary.complete) break
      }
      cli.result({ tenant, sources: summaries.map(jsonOf) }, () => summaries.map((each) => textOf(each, unit)).join(''))
      for (const summary of summaries) showRefused(cli, summary)
      if (cli.signal.aborted) return EXIT.interrupted
      return summaries.some(({ refusedCount }) => refusedCount > 0) ? EXIT.finding : EXIT.ok
    },
    { graceful: true },
  )
}

/** Imports one source into one tenant, with progress on standard error. */
export async function importOne(
  cli: Cli,
  host: Host,
  tenant: string,
  source: Source,
  { unit, batchSize, skipRefused }: { unit: string; batchSize?: number; skipRefused?: boolean },
): Promise<ImportSummary> {
  const progress = showProgress({ label: `Importing ${source.label}`, output: cli.err, quiet: cli.json, unit })
  try {
    return await importSource(source, importInto(host.deps, hostPrincipal(tenant)), {
      ...(batchSize === undefined ? {} : { batchSize }),
      ...(skipRefused === undefined ? {} : { skipRefused }),
      signal: cli.signal,
      onProgress: progress.update,
    })
  } finally {
    progress.end()
  }
}

function jsonOf({ elapsedMs, ratePerS, ...summary }: ImportSummary) {
  return { ...summary, elapsedMs: Math.round(elapsedMs), ratePerS: Math.round(ratePerS) }
}

function textOf(summary: ImportSummary, unit: string): string {
  const { label, imported, already, refusedCount, firstSeq, lastSeq, elapsedMs, ratePerS, notes, complete } = summary
  const parts = [
    imported === 0
      ? `nothing new of ${printable(label)}`
      : `imported ${thousands(imported)} ${unit} of ${printable(label)} as entries ${firstSeq ?? 0} to ${lastSeq ?? 0} ` +
        `in ${seconds(elapsedMs)} (${thousands(ratePerS)}/s)`,
    ...(already > 0 ? [`${thousands(already)} imported before`] : []),
    ...(refusedCount > 0 ? [`${thousands(refusedCount)} refused`] : []),
    ...(complete ? [] : ['stopped before the end']),
  ]
  return [parts.join(', '), ...notes.map(printable)].map((line) => `${line}\n`).join('')
}

/** Names file, line and rule of everything that was refused, as far as it is listed. */
function showRefused(cli: Cli, { refused, refusedCount, complete }: ImportSummary): void {
  const paint = cli.paint.err
  for (const refusal of refused) cli.err.write(`${paint.red('refused')} ${describe(refusal)}\n`)
  if (refusedCount > refused.length) cli.warn(`${counted(refusedCount - refused.length, 'further refusal')} not listed`)
  if (refusedCount > 0 && !complete) {
    cli.note(
      'Everything before it is imported. Mend it and run this again, or go on past such lines with --skip-refused.',
    )
  }
}

function describe({ where, code, message, pointer }: Refusal): string {
  return `${printable(where)}: ${code}: ${printable(message)}${pointer === undefined ? '' : ` (${printable(pointer)})`}`
}
