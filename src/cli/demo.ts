import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { listReports, type RecordedReport } from '../../reports/recorded.js'
import { DomainError } from '../errors.js'
import { ensureTenant, findTenant } from '../keyring/tenants.js'
import { gitSource } from '../sources/git.js'
import type { ImportSummary } from '../sources/import.js'
import { fingerprintKey } from '../sources/into.js'
import { ndjsonSource } from '../sources/ndjson.js'
import type { Verification } from '../ledger/verify.js'
import type { Source } from '../sources/source.js'
import type { Cli } from './cli.js'
import { ensurePeople, ensureTokens, type DemoPeople, type DemoTokens } from './demo-tokens.js'
import { following } from './following.js'
import type { Host } from './host.js'
import { importOne } from './import.js'
import { filesOf, makeReport, reportDeps, type MadeReport } from './report.js'
import type { Running } from './serve.js'
import type { Story } from './story.js'
import { counted, printable, seconds, shortPath, size, thousands } from './terminal.js'
import { headToKeep, verifyLogs } from './verify.js'
import { packageRoot, programHere, quoted } from './version.js'

const TENANT = 'demo'

export interface DemoOutcome {
  readonly findings: number
  /** For --json. */
  readonly answer: Record<string, unknown>
}

/** Fills the tenant `demo` with real events, verifies its log and reports on it; all of it may be repeated. */
export async function runDemo(
  cli: Cli,
  story: Story,
  running: Running,
  { stays }: { stays: boolean },
): Promise<DemoOutcome> {
  const { host } = running
  const { database, installation } = host
  const known = await findTenant(database, TENANT)
  const { log } = known ?? (await ensureTenant(database, installation, TENANT))
  story.line('Tenant', `${TENANT}, ${known === undefined ? 'created now' : 'as before'}`)
  const tokens = await ensureTokens(host, TENANT)
  tellTokens(story, tokens)
  const people = await ensurePeople(host, TENANT)

  cli.signal.throwIfAborted()
  const { source, unit } = await demoSource(host)
  const imported = await importDemo(cli, host, source, unit)
  story.line('Import', ...tellImport(imported, unit))

  cli.signal.throwIfAborted()
  const verified = await verifyLogs(cli, host, { tenant: TENANT })
  const [checked] = verified.tenants
  if (checked === undefined) throw new Error(`tenant ${TENANT} was not verified`)
  const head = headToKeep(checked)
  story.line('Verification', ...tellVerification(verified, head))

  cli.signal.throwIfAborted()
  const made = await demoReport(cli, host, imported.imported > 0)
  story.line('Report', ...tellReport(made))

  const next = nextCommands(host, stays ? running.url : undefined, tokens, made)
  story.blank()
  story.line('Try next', ...next)
  const change = changeCommands(host, people)
  story.line(
    'Two people',
    ...change,
    ...(stays ? ["and watch it become true in Temporal's pages, at the address above"] : []),
  )
  return {
    findings: verified.findingCount,
    answer: {
      tenant: { id: TENANT, log, created: known === undefined },
      tokens: { file: tokens.file, headerFile: tokens.headerFile, made: tokens.made },
      imported: {
        source: imported.label,
        imported: imported.imported,
        already: imported.already,
        refused: imported.refusedCount,
        elapsedMs: Math.round(imported.elapsedMs),
        ratePerS: Math.round(imported.ratePerS),
      },
      verified: {
        entries: verified.entries,
        findings: verified.findingCount,
        durationMs: verified.durationMs,
        keep: head,
      },
      report: { id: made.report.id, seq: made.report.seq, rows: made.report.rows, files: made.files, made: made.now },
      next,
      change,
    },
  }
}

/** Secrets are shown when they are made, and never again: the file has them. */
function tellTokens(story: Story, { admin, auditor, file, made }: DemoTokens): void {
  const where = `kept in ${shortPath(file)}, for you alone`
  if (made) story.line('Tokens', `admin    ${admin}`, `auditor  ${auditor}`, where)
  else story.line('Tokens', `admin and auditor, in ${shortPath(file)}`)
}

/** The checkout's own history; where it has none, or there is no git, the sample that comes with it. */
async function demoSource({ installation }: Host): Promise<{ source: Source; unit: string }> {
  try {
    return { source: await gitSource(packageRoot, { own: true }), unit: 'commits' }
  } catch (error) {
    if (!(error instanceof DomainError && error.code.startsWith('GIT_'))) throw error
  }
  const path = join(packageRoot, 'docs', 'sample', 'events.ndjson')
  return { source: await ndjsonSource({ path, fingerprintKey: fingerprintKey(installation) }), unit: 'events' }
}

async function importDemo(cli: Cli, host: Host, source: Source, unit: string): Promise<ImportSummary> {
  return importOne(cli, host, TENANT, source, { unit, skipRefused: true })
}

function tellImport(summary: ImportSummary, unit: string): string[] {
  const { imported, already, refusedCount, refused, elapsedMs, ratePerS, label, notes } = summary
  const before = already > 0 ? `, ${thousands(already)} ${unit} imported before` : ''
  const first =
    imported === 0
      ? `nothing new${before}`
      : `${thousands(imported)} ${unit} in ${seconds(elapsedMs)} (${thousands(ratePerS)}/s)${before}`
  return [
    `${first}; ${printable(label)}`,
    ...(refusedCount > 0
      ? [`${thousands(refusedCount)} refused, the first: ${printable(refused[0]?.message ?? '')}`]
      : []),
    ...notes.map(printable),
  ]
}

/** The last report again where nothing has come since, else a new one of everything that ever occurred. */
async function demoReport(cli: Cli, host: Host, isNews: boolean): Promise<MadeReport & { now: boolean }> {
  const last = isNews ? undefined : await lastReport(cli, host)
  if (last !== undefined) return { ...last, elapsedMs: 0, now: false }
  const made = await makeReport(cli, host, TENANT, 'audit-trail', { by: 'occurred' })
  return { ...made, now: true }
}

/** The newest report of the kind that is made here, unless a file of it is gone. */
async function lastReport(cli: Cli, host: Host): Promise<Pick<MadeReport, 'report' | 'files'> | undefined> {
  const reports = await following(cli, host, TENANT, () => listReports(host.database, TENANT))
  const report = reports.find(isOfEverything)
  if (report === undefined) return undefined
  const files = filesOf(reportDeps(host), report)
  return Object.values(files).every((path) => existsSync(path)) ? { report, files } : undefined
}

/** People make other reports in this tenant, too. */
function isOfEverything({ parameters: { by, from, to, timeZone, filter }, files }: RecordedReport): boolean {
  const isWhole = from === undefined && to === undefined && Object.keys(filter).length === 0
  const formats = files.map(({ format }) => format)
  return by === 'occurred' && timeZone === 'UTC' && isWhole && formats.includes('csv') && formats.includes('pdf')
}

function tellVerification({ entries, findingCount, durationMs }: Verification, head: string): string[] {
  const rate = thousands((entries * 1000) / Math.max(1, durationMs))
  return [
    `${counted(entries, 'entry', 'entries')}, ${counted(findingCount, 'finding')}, in ${seconds(durationMs)} (${rate}/s), level chained`,
    `keep ${head}`,
  ]
}

function tellReport({ report, files, elapsedMs, now }: MadeReport & { now: boolean }): string[] {
  const { rows, generatedAt } = report
  const when = now ? `in ${seconds(elapsedMs)}` : `as made ${generatedAt}`
  return [
    `audit trail, ${counted(rows, 'row')}, ${when}`,
    ...report.files
      .filter(({ format }) => format !== 'manifest')
      .map(({ format, bytes, pages }) => {
        const length = pages === undefined ? size(bytes) : `${counted(pages, 'page')}, ${size(bytes)}`
        return `${shortPath(files[format] ?? '')} (${length})`
      }),
  ]
}

/** Lines that work as they are pasted, from the folder that this was started in. */
function nextCommands(
  { config }: Host,
  url: string | undefined,
  { headerFile }: DemoTokens,
  { files }: MadeReport,
): string[] {
  const program = programHere(config.home)
  return [
    `${program} log show --tenant ${TENANT} --limit 5 --reverse`,
    `${program} report check --tenant ${TENANT} ${quoted(shortPath(files['pdf'] ?? ''))}`,
    url === undefined
      ? `${program} verify --tenant ${TENANT}`
      : `curl -s -H @${quoted(shortPath(headerFile))} ${quoted(`${url}/v1/entries?order=desc&limit=3`)}`,
  ]
}

/** A change that needs two people, and the two: they work while the service runs. */
function changeCommands({ config }: Host, { tokenFiles }: DemoPeople): string[] {
  const program = programHere(config.home)
  const payload = JSON.stringify({ role: 'reader', permissions: ['ledger/*:read'] })
  return [
    `${program} change request role.define ${quoted(payload)} --tenant ${TENANT}`,
    ...tokenFiles.map((file) => `${program} change approve --token-file ${quoted(shortPath(file))}`),
  ]
}
