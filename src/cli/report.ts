import { constants, copyFile, mkdir } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { Option, type Command } from 'commander'
import type { ReportFilter } from '../../reports/parameters.js'
import type { CheckedReportFile, ReportDeps } from '../../reports/generate.js'
import type { ReportRequest } from '../../reports/request.js'
import { listReports, type RecordedReport } from '../../reports/recorded.js'
import type { OnProgress } from '../../reports/render.js'
import type { ReportKindName } from '../../reports/report-kind.js'
import { ReportFiles } from '../blobs/files.js'
import { DomainError, messageOf, systemCode } from '../errors.js'
import { listTenants } from '../keyring/tenants.js'
import { host as hostPrincipal, SYSTEM_TENANT } from '../principal.js'
import { EXIT, leaf, wholeNumber, type Cli, type ExitCode, type Frame } from './cli.js'
import { following } from './following.js'
import { tenantOf, withHost, type Host } from './host.js'
import { referenceOf } from './persons.js'
import { showProgress } from './progress.js'
import { counted, fields, printable, seconds, size, table, thousands } from './terminal.js'

const TENANT = ['-t, --tenant <id>', 'the tenant; may be left out where there is only one'] as const
const FORMATS = ['csv', 'pdf'] as const

export function reportCommands(frame: Frame): void {
  const report = frame.program.command('report').description('make, list and check reports')
  leaf(frame, report, {
    usage: 'audit-trail',
    what: 'make the audit trail of a period as CSV and PDF, and record it',
    more: `A period is one of recorded time unless --by says otherwise; days are those of the time zone. The same report made
again has the same bytes; their digests stand in the log. People stay pseudonyms.`,
    examples: [
      'report audit-trail --tenant acme --from 2026-10-01 --to 2026-11-01 --zone Europe/Berlin',
      'report audit-trail --tenant acme --type "role.*" --outcome denied --format csv',
      'report audit-trail --tenant acme --by occurred --actor email:ada@example.org --out ./for-the-auditor',
    ],
    options: (command) =>
      periodOptions(command.option(...TENANT))
        .addOption(
          new Option('--by <time>', 'whose period it is').choices(['recorded', 'occurred']).default('recorded'),
        )
        .option('--type <type>', 'only this event type, or role.* for all below it')
        .option('--actor <who>', 'only what this service or person did')
        .option('--target <what>', 'only what was done to this')
        .option('--subject <who>', 'only what concerns this person')
        .option('--stream <name>', 'only this stream')
        .option('--outcome <outcome>', 'only success, failure or denied'),
    run: auditTrail,
  })
  leaf(frame, report, {
    usage: 'change-approvals',
    what: 'make the report of who decided what in a period as CSV and PDF, and record it',
    more: `Changes with their votes as they stood at the end of the period, votes that were refused, and what was done without a
second person: during setup, by the host's override, by breaking glass. Every row names the entries that it rests on.`,
    examples: ['report change-approvals --tenant acme --from 2026-10-01 --to 2026-11-01 --zone Europe/Berlin'],
    options: (command) => periodOptions(command.option(...TENANT)),
    run: changeApprovals,
  })
  leaf(frame, report, {
    usage: 'list',
    what: 'list the reports that were made, newest first',
    examples: ['report list --tenant acme'],
    options: (command) => command.option(...TENANT).option('--limit <count>', 'how many', wholeNumber(1, 1000), 20),
    run: list,
  })
  leaf(frame, report, {
    usage: 'check <file>',
    what: 'say whether a file is one that a log recorded, and which',
    more: 'Ends with 1 when it is not: then it was changed, or is of another log.',
    examples: ['report check audit-trail.pdf', 'report check audit-trail.pdf --tenant acme'],
    options: (command) => command.option('-t, --tenant <id>', 'look only in the log of this tenant'),
    run: check,
  })
}

function periodOptions(command: Command): Command {
  return command
    .option('--from <when>', 'first day or instant: 2026-10-01 or 2026-10-01T08:00:00Z')
    .option('--to <when>', 'first day or instant after the period')
    .option('--zone <name>', 'time zone of days and of printed times', 'UTC')
    .addOption(new Option('--format <format...>', 'csv, pdf or both').choices(FORMATS).default([...FORMATS]))
    .option('-o, --out <folder>', 'copy the files there too')
}

interface PeriodOptions {
  tenant?: string
  from?: string
  to?: string
  zone: string
  format: ('csv' | 'pdf')[]
  out?: string
}

interface AuditTrailOptions extends PeriodOptions, ReportFilter {
  by: 'recorded' | 'occurred'
}

async function auditTrail(cli: Cli, options: AuditTrailOptions): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const filter = await filterOf(host, tenant, options)
    await makeAndTell(cli, host, tenant, 'audit-trail', { ...requestOf(options), by: options.by, filter }, options.out)
  })
}

async function changeApprovals(cli: Cli, options: PeriodOptions): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    await makeAndTell(cli, host, tenant, 'change-approvals', requestOf(options), options.out)
  })
}

function requestOf({ from, to, zone, format }: PeriodOptions): ReportRequest {
  return {
    timeZone: zone,
    formats: format,
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
  }
}

async function makeAndTell(
  cli: Cli,
  host: Host,
  tenant: string,
  kind: ReportKindName,
  request: ReportRequest,
  out: string | undefined,
): Promise<void> {
  const made = await makeReport(cli, host, tenant, kind, request)
  const copies = out === undefined ? made.files : await copyTo(resolve(out), made.files)
  cli.result({ ...made.report, paths: copies }, () => describe(cli, made.report, copies, made.elapsedMs))
}

export interface MadeReport {
  report: RecordedReport
  /** Where each of its files lies, by format. */
  files: Record<string, string>
  elapsedMs: number
}

/** Makes a report, with progress on standard error. */
export async function makeReport(
  cli: Cli,
  host: Host,
  tenant: string,
  kind: ReportKindName,
  request: ReportRequest,
): Promise<MadeReport> {
  const began = performance.now()
  const deps = reportDeps(host)
  const { generateReport } = await renderer()
  const quiet = cli.json
  const rows = showProgress({ label: 'Writing the report', output: cli.err, quiet, unit: 'rows' })
  const pages = showProgress({ label: 'Laying out its pages', output: cli.err, quiet, unit: 'rows' })
  let written = 0
  let firstRowAt = began
  const onProgress: OnProgress = (progress) => {
    if (progress.stage === 'rows') {
      // Before the first row the index was waited for.
      if (written === 0) firstRowAt = performance.now()
      written = progress.rows
      rows.update({ done: written, ratePerS: (written * 1000) / Math.max(1, performance.now() - firstRowAt) })
    } else if (written > 0) pages.update({ done: Math.round(written * progress.share), total: written })
  }
  try {
    const by = hostPrincipal(tenant)
    const report = await following(cli, host, tenant, () => generateReport(deps, by, kind, request, onProgress))
    return { report, files: filesOf(deps, report), elapsedMs: performance.now() - began }
  } finally {
    rows.end()
    pages.end()
  }
}

/** Loaded when it is needed: fonts and page layout take longer than most commands. */
const renderer = () => import('../../reports/generate.js')

/** Where the files of a report lie, whether they are still there or not. */
export function filesOf({ files }: Pick<ReportDeps, 'files'>, { id, parameters, files: recorded }: RecordedReport) {
  return Object.fromEntries(
    recorded.map(({ format }) => [format, files.path(parameters.tenant, id, format === 'manifest' ? 'json' : format)]),
  )
}

export function reportDeps({ config, database, deps }: Host): ReportDeps {
  return {
    database,
    appender: deps.appender,
    files: new ReportFiles(config.reportsDir),
    fonts: config.fonts,
    waitMs: 600_000,
  }
}

async function filterOf(host: Host, tenant: string, options: ReportFilter): Promise<ReportFilter> {
  const { type, stream, outcome } = options
  const filter: ReportFilter = {}
  if (type !== undefined) filter.type = type
  if (stream !== undefined) filter.stream = stream
  if (outcome !== undefined) filter.outcome = outcome
  for (const name of ['actor', 'target', 'subject'] as const) {
    const word = options[name]
    if (word !== undefined) filter[name] = await referenceOf(host, tenant, word, `filter of a report: ${name}`)
  }
  return filter
}

async function copyTo(folder: string, files: Record<string, string>): Promise<Record<string, string>> {
  const copies: Record<string, string> = {}
  try {
    await mkdir(folder, { recursive: true })
    for (const [format, path] of Object.entries(files)) {
      const copy = join(folder, basename(path))
      await copyFile(path, copy, constants.COPYFILE_EXCL)
      copies[format] = copy
    }
  } catch (error) {
    const code = systemCode(error) === 'EEXIST' ? 'OUTPUT_EXISTS' : 'FILE_UNWRITABLE'
    throw new DomainError(code, `the report is made, but cannot be copied to ${folder}: ${messageOf(error)}`)
  }
  return copies
}

function describe(cli: Cli, report: RecordedReport, paths: Record<string, string>, elapsedMs: number): string {
  const { kind, rows, seq, parameters, files } = report
  const range =
    parameters.range === null ? 'no entries' : `entries ${parameters.range.firstSeq} to ${parameters.range.lastSeq}`
  const lines = files.map(({ format, bytes, pages }): [string, string] => [
    format,
    `${paths[format] ?? ''}  ${size(bytes)}${pages === undefined ? '' : `, ${counted(pages, 'page')}`}`,
  ])
  return `${kind} of ${parameters.tenant}: ${counted(rows, 'row')} of ${range}, in ${seconds(elapsedMs)}\n${fields(
    [...lines, ['complete to', `entry ${parameters.completeTo}`], ['recorded', `entry ${seq}`]],
    cli.paint.out,
    '  ',
  )}`
}

async function list(cli: Cli, options: { tenant?: string; limit: number }): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const reports = await following(cli, host, tenant, () =>
      listReports(host.database, tenant, { limit: options.limit }),
    )
    const deps = reportDeps(host)
    const answer = reports.map((report) => ({ ...report, paths: filesOf(deps, report) }))
    cli.result({ tenant, reports: answer }, () =>
      reports.length === 0
        ? `no reports of tenant ${tenant} yet; make one with: countersign report audit-trail --tenant ${tenant}\n`
        : table(
            [
              { head: 'id' },
              { head: 'kind' },
              { head: 'made' },
              { head: 'entry', align: 'right' },
              { head: 'rows', align: 'right' },
              { head: 'formats' },
              { head: 'period' },
            ],
            reports.map(({ id, kind, generatedAt, seq, rows, files, parameters: { from, to, by, timeZone } }) => [
              id,
              kind,
              generatedAt,
              String(seq),
              thousands(rows),
              files.map(({ format }) => format).join(' '),
              printable(`${by} ${from ?? 'from the beginning'} to ${to ?? 'the end'}, ${timeZone}`),
            ]),
            cli.paint.out,
          ),
    )
  })
}

async function check(cli: Cli, options: { tenant?: string }, file = ''): Promise<ExitCode> {
  return withHost(cli, async (host) => {
    const tenants = await tenantsToAsk(host, options.tenant)
    const [only, ...others] = tenants
    const { sha256, found } = await findIn(cli, host, tenants, resolve(file))
    const told = found && {
      report: found.report.id,
      format: found.file.format,
      seq: found.report.seq,
      generatedAt: found.report.generatedAt,
    }
    const tenant = found?.tenant ?? (others.length === 0 ? only : undefined)
    cli.result({ tenant: tenant ?? null, file: resolve(file), sha256, recorded: told ?? null }, () =>
      told === undefined
        ? `${cli.paint.out.red('not recorded')}  ${printable(file)} (sha256 ${sha256}) is none of the files that ${tenant === undefined ? `the logs of ${counted(tenants.length, 'tenant')}` : `the log of ${tenant}`} recorded\n`
        : `${cli.paint.out.green('recorded')}  ${printable(file)} is the ${told.format} of report ${told.report}, entry ${told.seq} of ${tenant ?? ''}, made ${told.generatedAt}\n`,
    )
    return told === undefined ? EXIT.finding : EXIT.ok
  })
}

/** The tenant that was named, else all of them: a file does not say whose it is. */
async function tenantsToAsk(host: Host, named: string | undefined): Promise<string[]> {
  if (named !== undefined) return [await tenantOf(host, named)]
  const ids = (await listTenants(host.database)).map(({ id }) => id)
  return [...ids.filter((id) => id !== SYSTEM_TENANT), SYSTEM_TENANT]
}

type Found = NonNullable<CheckedReportFile['recorded']> & { readonly tenant: string }

async function findIn(
  cli: Cli,
  host: Host,
  tenants: readonly string[],
  path: string,
): Promise<{ sha256: string; found?: Found }> {
  const { checkReportFile } = await renderer()
  let sha256 = ''
  for (const tenant of tenants) {
    const checked = await following(cli, host, tenant, () =>
      checkReportFile({ database: host.database, waitMs: 600_000 }, tenant, path),
    )
    ;({ sha256 } = checked)
    if (checked.recorded) return { sha256, found: { tenant, ...checked.recorded } }
  }
  return { sha256 }
}
