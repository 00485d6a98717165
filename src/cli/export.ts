import { open, rm, type FileHandle } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import { DomainError, messageOf, systemCode } from '../errors.js'
import { actorOf } from '../keyring/reveal.js'
import { exportLog, type ExportManifest } from '../ledger/export.js'
import { record } from '../ledger/record.js'
import { host as hostPrincipal } from '../principal.js'
import { leaf, usageError, wholeNumber, type Cli, type Frame } from './cli.js'
import { tenantOf, withHost, type Host } from './host.js'
import { showProgress } from './progress.js'
import { counted, fields, seconds, size } from './terminal.js'

interface ExportOptions {
  tenant?: string
  out?: string
  from?: number
  to?: number
}

export function exportCommand(frame: Frame): void {
  leaf(frame, frame.program, {
    usage: 'export',
    what: 'write a log as NDJSON that anybody can check without this program',
    more: `Each line is {"seq", "leaf" (base64), "chainHash"}. A manifest beside it says what it holds and how to check it.
People stay pseudonyms. The export is itself recorded in the log, behind what it holds.`,
    examples: ['export --tenant acme', 'export --tenant acme --out /tmp/acme.ndjson --from 1000'],
    options: (command) =>
      command
        .option('-t, --tenant <id>', 'the tenant; may be left out where there is only one')
        .option('-o, --out <file>', 'file to make; else <tenant>-<time>.ndjson in this folder')
        .option('--from <seq>', 'first entry', wholeNumber(0))
        .option('--to <seq>', 'last entry', wholeNumber(0)),
    run,
  })
}

async function run(cli: Cli, options: ExportOptions): Promise<void> {
  const { from = 0, to } = options
  if (to !== undefined && to < from) throw usageError('--to lies before --from')
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const began = performance.now()
    const stamp = new Date().toISOString().replace(/[-:]|\.\d+/g, '')
    const path = resolve(options.out ?? `${tenant}-${stamp}.ndjson`)
    const manifestPath = `${path}.manifest.json`
    const files: Created[] = []
    const progress = showProgress({ label: 'Exporting', output: cli.err, quiet: cli.json, unit: 'entries' })
    let manifest
    try {
      const lines = await create(path, files)
      const beside = await create(manifestPath, files)
      manifest = await exportLog(
        host.database,
        tenant,
        { fromSeq: from, toSeq: to },
        (text) => lines.writeFile(text),
        (done, total) => progress.update({ done, total, ratePerS: (done * 1000) / (performance.now() - began) }),
      )
      await beside.writeFile(`${JSON.stringify({ ...manifest, file: basename(path) }, null, 2)}\n`)
      for (const { file } of files) await file.sync()
    } catch (error) {
      // Half an export is none, and would be in the way of the next.
      for (const { path } of files) await rm(path, { force: true })
      throw error
    } finally {
      progress.end()
      for (const { file } of files) await file.close()
    }
    const seq = await putOnRecord(host, tenant, manifest)
    cli.result({ ...manifest, file: path, manifest: manifestPath, recordedSeq: seq }, () => {
      const { entries, firstSeq, lastSeq, lastChainHash } = manifest
      const took = seconds(performance.now() - began)
      return `exported ${counted(entries, 'entry', 'entries')} of ${tenant} (${firstSeq} to ${lastSeq}, ${size(manifest.lines.bytes)}) in ${took}\n${fields(
        [
          ['lines', path],
          ['manifest', manifestPath],
          ['sha256', manifest.lines.sha256],
          ['keep', `${lastSeq}:${lastChainHash}`],
          ['recorded', `entry ${seq}`],
        ],
        cli.paint.out,
        '  ',
      )}`
    })
  })
}

interface Created {
  path: string
  file: FileHandle
}

/** 0600: leaves hold no personal data in clear, but they are a tenant's business. */
async function create(path: string, files: Created[]): Promise<FileHandle> {
  try {
    const file = await open(path, 'wx', 0o600)
    files.push({ path, file })
    return file
  } catch (error) {
    const exists = systemCode(error) === 'EEXIST'
    throw new DomainError(
      exists ? 'OUTPUT_EXISTS' : 'FILE_UNWRITABLE',
      exists ? `${path} is there already and is not overwritten: name another file with --out` : messageOf(error),
    )
  }
}

async function putOnRecord({ deps }: Host, tenant: string, manifest: ExportManifest): Promise<number> {
  const by = hostPrincipal(tenant)
  const { firstSeq, lastSeq, lastChainHash } = manifest
  const { seq } = await record(deps.appender, by, {
    type: 'log.exported',
    actor: actorOf(by),
    data: { firstSeq, lastSeq, lastChainHash, sha256: manifest.lines.sha256 },
  })
  return seq
}
