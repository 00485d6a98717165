import { mkdtemp, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Database } from '../src/db/database.js'
import { DomainError } from '../src/errors.js'
import type { Appender } from '../src/ledger/appender.js'
import type { Json } from '../src/ledger/event.js'
import { record as recordEntry } from '../src/ledger/record.js'
import { headOf, waitForIndex } from '../src/ledger/query.js'
import { ulid } from '../src/ledger/ulid.js'
import type { Principal } from '../src/principal.js'
import { auditTrail } from './audit-trail-kind.js'
import { fixRange } from './audit-trail-query.js'
import { changeApprovals } from './change-approvals-kind.js'
import type { ReportParameters } from './parameters.js'
import { digestFile } from './output.js'
import type { RecordedFile, RecordedReport, ReportFormat, ReportGenerated } from './recorded.js'
import { REPORT_GENERATED, findByDigest, findReport } from './recorded.js'
import type { OnProgress, Rendered, RenderOptions } from './render.js'
import type { ReportKind, ReportKindName } from './report-kind.js'
import { renderReport, rendererVersion } from './render.js'
import type { ReportRequest } from './request.js'
import { checkRequest } from './request.js'
import { Turns } from './turns.js'

export interface ReportDeps {
  readonly database: Database
  readonly appender: Appender
  /** Where finished reports rest. */
  readonly files: {
    path(tenant: string, id: string, extension: string): string
    prepare(tenant: string): Promise<void>
  }
  /** More font files for PDFs. */
  readonly fonts?: readonly string[]
  /** How long to wait for the followers. */
  readonly waitMs?: number
}

const WAIT_MS = 30_000
const EXTENSIONS = { csv: 'csv', pdf: 'pdf', manifest: 'json' } as const
const MEDIA_TYPES = {
  csv: 'text/csv; charset=utf-8; header=present',
  pdf: 'application/pdf',
  manifest: 'application/json',
} as const

const turns = new Turns(2, 20)

/**
 * Makes a report of the log as it is now, and records it: range, filter, renderer and digests stand in its entry, so
 * that the same bytes can be made again.
 * @throws DomainError REPORT_PERIOD_INVALID, REPORT_TIME_ZONE_UNKNOWN, REPORT_FILTER_INVALID, REPORT_FONT_UNUSABLE, REPORTS_BUSY,
 * INDEX_BEHIND, TENANT_UNKNOWN, and those of `Appender.submit`
 */
export async function generateReport(
  deps: ReportDeps,
  by: Principal,
  kind: ReportKindName,
  request: ReportRequest,
  onProgress?: OnProgress,
  id = ulid(),
): Promise<RecordedReport> {
  const { formats, ...scope } = checkRequest(kind, request)
  return turns.run(async () => {
    const { tenant } = by
    const { size } = await headOf(deps.database, tenant)
    await waitForIndex(deps.database, tenant, size - 1, { patienceMs: deps.waitMs ?? WAIT_MS })
    const parameters: ReportParameters = {
      id,
      tenant,
      ...scope,
      ...(await fixRange(deps.database, { tenant, ...scope }, size)),
      level: 'chained',
      rendererVersion: rendererVersion(deps.fonts),
    }
    await deps.files.prepare(tenant)
    const out = pathsOf(deps, parameters, formats)
    const rendered = await render(deps, kind, parameters, out, onProgress)
    const data: ReportGenerated = {
      id: parameters.id,
      kind,
      parameters,
      rows: rendered.rows,
      files: recordedFiles(rendered),
    }
    try {
      const { seq, at } = await record(deps.appender, by, REPORT_GENERATED, parameters.id, data)
      return { ...data, seq, generatedAt: at, generatedBy: by.id }
    } catch (error) {
      // What the log does not know of is no report. After an unknown outcome it may: then the files can be made again.
      for (const path of Object.values(out)) await rm(path, { force: true })
      throw error
    }
  })
}

export interface ReportDownload {
  readonly report: RecordedReport
  readonly file: RecordedFile
  /** Holds exactly the recorded bytes. */
  readonly path: string
  readonly name: string
  readonly mediaType: string
}

/**
 * Gets one file of a report ready for handing out, made again where it is gone or no longer what it was, and records that it is
 * handed out, before it is.
 * @throws DomainError REPORT_UNKNOWN, REPORT_NOT_REPRODUCIBLE, REPORTS_BUSY, INDEX_BEHIND, and those of `Appender.submit`
 */
export async function downloadReport(
  deps: ReportDeps,
  by: Principal,
  id: string,
  format: ReportFormat,
): Promise<ReportDownload> {
  const { tenant } = by
  const report = await findReport(deps.database, tenant, id, deps.waitMs ?? WAIT_MS)
  const file = report.files.find((file) => file.format === format)
  if (!file) throw new DomainError('REPORT_UNKNOWN', `the report ${id} was not made as ${format}`)
  const path = deps.files.path(tenant, id, EXTENSIONS[format])
  if ((await digestFile(path))?.sha256 !== file.sha256) await turns.run(() => makeAgain(deps, report))
  await record(deps.appender, by, 'report.downloaded', id, { id, format, sha256: file.sha256 })
  return {
    report,
    file,
    path,
    name: `${report.kind}-${tenant}-${id}.${EXTENSIONS[format]}`,
    mediaType: MEDIA_TYPES[format],
  }
}

export interface CheckedReportFile {
  readonly sha256: string
  /** The report that this log recorded with this digest; absent when it recorded none. */
  readonly recorded?: { readonly report: RecordedReport; readonly file: RecordedFile }
}

/**
 * Says whether a file is one that this log recorded.
 * @throws DomainError REPORT_FILE_MISSING, INDEX_BEHIND, TENANT_UNKNOWN
 */
export async function checkReportFile(
  deps: Pick<ReportDeps, 'database' | 'waitMs'>,
  tenant: string,
  path: string,
): Promise<CheckedReportFile> {
  const digest = await digestFile(path)
  if (!digest) throw new DomainError('REPORT_FILE_MISSING', `there is no file ${path}`)
  const recorded = await findByDigest(deps.database, tenant, digest.sha256, deps.waitMs ?? WAIT_MS)
  return { sha256: digest.sha256, ...(recorded ? { recorded } : {}) }
}

/** Renders a report from what its entry records, and keeps only what has the recorded digests. */
async function makeAgain(deps: ReportDeps, report: RecordedReport): Promise<void> {
  const { kind, parameters, files } = report
  await deps.files.prepare(parameters.tenant)
  const formats = files.map(({ format }) => format).filter((format) => format !== 'manifest')
  const out = pathsOf(deps, parameters, formats)
  // Names stand in the manifest, so the files are made under their own names in a folder beside.
  const scratch = await mkdtemp(join(dirname(out.manifest), '.again-'))
  try {
    const beside = (path: string) => join(scratch, path.slice(dirname(out.manifest).length + 1))
    const again = Object.fromEntries(Object.entries(out).map(([format, path]) => [format, beside(path)])) as typeof out
    const rendered = recordedFiles(await render(deps, kind, parameters, again))
    for (const file of files) {
      const made = rendered.find(({ format }) => format === file.format)
      if (made?.sha256 !== file.sha256) throw notReproducible(deps, report, file.format)
    }
    for (const { format } of files) {
      const [from, to] = [again[format], out[format]]
      if (from !== undefined && to !== undefined) await rename(from, to)
    }
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

function notReproducible(deps: ReportDeps, { id, parameters }: RecordedReport, format: ReportFormat): DomainError {
  const here = rendererVersion(deps.fonts)
  const why =
    here === parameters.rendererVersion
      ? 'the renderer is the same, so what it read is not: verify the log'
      : `it was made by renderer "${parameters.rendererVersion}", and this one is "${here}"`
  return new DomainError(
    'REPORT_NOT_REPRODUCIBLE',
    `the ${format} of report ${id} is gone, and made again it has other bytes than recorded: ${why}`,
  )
}

type Paths = { csv?: string; pdf?: string; manifest: string }

function pathsOf(deps: ReportDeps, { tenant, id }: ReportParameters, formats: readonly ('csv' | 'pdf')[]): Paths {
  const paths: Paths = { manifest: deps.files.path(tenant, id, EXTENSIONS.manifest) }
  for (const format of formats) paths[format] = deps.files.path(tenant, id, EXTENSIONS[format])
  return paths
}

function render(
  { database, fonts = [] }: ReportDeps,
  kind: ReportKindName,
  parameters: ReportParameters,
  out: Paths,
  onProgress?: OnProgress,
): Promise<Rendered> {
  const options = onProgress ? { fonts, onProgress } : { fonts }
  return renderers[kind](database, parameters, out, options)
}

type Renderer = (
  database: Database,
  parameters: ReportParameters,
  out: Paths,
  options: RenderOptions,
) => Promise<Rendered>

const renderers: Record<ReportKindName, Renderer> = {
  'audit-trail': rendererOf(auditTrail),
  'change-approvals': rendererOf(changeApprovals),
}

function rendererOf<Row, Summary extends { readonly rows: number }>(kind: ReportKind<Row, Summary>): Renderer {
  return (database, parameters, out, options) =>
    renderReport(kind, parameters, () => kind.rows(database, parameters), out, options)
}

function recordedFiles({ csv, pdf, manifest }: Rendered): RecordedFile[] {
  return [
    ...(csv ? [{ format: 'csv' as const, ...csv }] : []),
    ...(pdf ? [{ format: 'pdf' as const, ...pdf }] : []),
    { format: 'manifest', ...manifest },
  ]
}

/** One of the service's own records: neither a stream nor a source. */
async function record(
  appender: Appender,
  by: Principal,
  type: string,
  report: string,
  data: object,
): Promise<{ seq: number; at: string }> {
  return recordEntry(appender, by, {
    type,
    actor: { id: by.id },
    targets: [{ id: report, type: 'report' }],
    outcome: 'success',
    data: data as Record<string, Json>,
  })
}
