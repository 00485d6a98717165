import { InvalidArgumentError } from 'commander'
import { changesCheck } from '../approvals/queries/verify-changes.js'
import { DomainError, messageOf } from '../errors.js'
import { verifyCommitments, type CommitmentsVerification } from '../keyring/verify-commitments.js'
import type { Finding } from '../ledger/findings.js'
import { verify, type ExpectedEntry, type TenantVerification, type Verification } from '../ledger/verify.js'
import { changeKinds } from '../registry.js'
import { recordVerification } from '../ledger/verifications.js'
import { verifyInDatabase } from '../ledger/verify-in-database.js'
import { EXIT, leaf, usageError, wholeNumber, type Cli, type ExitCode, type Frame } from './cli.js'
import { tenantOf, withHost, type Host } from './host.js'
import { showProgress } from './progress.js'
import { counted, printable, seconds, table, thousands } from './terminal.js'

interface VerifyOptions {
  tenant?: string | undefined
  from?: number
  expect?: ExpectedEntry[]
  inDatabase?: boolean
  commitments?: boolean
}

export function verifyCommand(frame: Frame): void {
  leaf(frame, frame.program, {
    usage: 'verify',
    what: 'check every entry, link and head of one log or of all',
    more: `Names tenant, seq and rule of every finding, goes on, and ends with 1 if there is any. A tail that was cut or
rewritten together with its head shows only against a hash that somebody kept: --expect takes it. Every change that two
people had to agree to is decided again from the log.`,
    examples: [
      'verify',
      'verify --tenant acme --from 100000',
      'verify --tenant acme --expect 41:9f2c… --json',
      'verify --in-database',
      'verify --commitments',
    ],
    options: (command) =>
      command
        .option('-t, --tenant <id>', 'only this tenant')
        .option('--from <seq>', 'first entry to check; what lies before it is taken as it is', wholeNumber(0))
        .option('--expect <SEQ:HASH>', 'a chain hash that was kept; may be given several times', expectation)
        .option('--in-database', 'a second opinion: let PostgreSQL hash and compare, with none of our code')
        .option('--commitments', 'also open every sealed group whose key exists, against what its leaf committed to'),
    run,
  })
}

function expectation(text: string, before: ExpectedEntry[] = []): ExpectedEntry[] {
  const [, seq, hash] = /^(\d{1,15}):([0-9a-fA-F]{64})$/.exec(text) ?? []
  if (seq === undefined || hash === undefined) {
    throw new InvalidArgumentError('It must be SEQ:HASH, a place and 64 hex digits, as reports and verify print it.')
  }
  return [...before, { seq: Number(seq), hash }]
}

async function run(cli: Cli, options: VerifyOptions): Promise<ExitCode> {
  return withHost(cli, async (host) => {
    // A tenant that is named may have lost its row: that is for verification to say.
    const tenant = options.tenant ?? (options.expect === undefined ? undefined : await tenantOf(host, undefined))
    const result = await verifyLogs(cli, host, { ...options, tenant })
    const groups = options.commitments === true ? await verifyGroups(cli, host, tenant) : undefined
    cli.result(answerOf(result, groups), () => describe(cli, result) + (groups ? describeGroups(groups) : ''))
    return result.findingCount + (groups?.findingCount ?? 0) > 0 ? EXIT.finding : EXIT.ok
  })
}

/** Findings shown at most; all are counted. */
const MOST_SHOWN = 1000

/**
 * Verifies, shows findings as they come, and notes the outcome for answers and reports about these logs.
 * @throws DomainError RANGE_EMPTY when nothing lies from `from` on and there was nothing else to check or find
 */
export async function verifyLogs(
  cli: Cli,
  { database }: Host,
  { tenant, from, expect, inDatabase = false }: VerifyOptions,
): Promise<Verification> {
  if (inDatabase && expect !== undefined)
    throw usageError('--expect is not compared inside the database: leave one out')
  const began = performance.now()
  const progress = showProgress({ label: 'Verifying', output: cli.err, quiet: cli.json, unit: 'entries' })
  let shown = 0
  const options = {
    tenant,
    from,
    expect,
    checks: [changesCheck(changeKinds)],
    signal: cli.signal,
    onProgress: ({ entries, total }: { entries: number; total: number }) =>
      progress.update({ done: entries, total, ratePerS: (entries * 1000) / (performance.now() - began) }),
    onFinding: (finding: Finding) => {
      shown += 1
      if (cli.json || shown > MOST_SHOWN) return
      progress.end()
      cli.out.write(`${cli.paint.out.red('finding')} ${findingText(finding)}\n`)
    },
  }
  try {
    const result = await (inDatabase ? verifyInDatabase(database, options) : verify(database, options))
    if (from !== undefined && from > 0 && expect === undefined) refuseNothing(result, from)
    // A log can be verified in a database that nothing can be written to.
    await recordVerification(database, result).catch((error: unknown) =>
      cli.warn(`the outcome could not be noted in the database: ${messageOf(error)}`),
    )
    return result
  } finally {
    progress.end()
  }
}

/**
 * "No findings" would be said of nothing. Going on from where a log ends is no mistake: it just has not grown since. A log
 * that was cut short has findings, and they are told.
 */
function refuseNothing({ entries, findingCount, tenants }: Verification, from: number): void {
  const last = Math.max(0, ...tenants.map(({ nextSeq }) => nextSeq)) - 1
  if (entries > 0 || findingCount > 0 || from <= last + 1) return
  const [only] = tenants
  const log = tenants.length === 1 && only ? `the log of ${only.tenant} ends` : 'the longest log ends'
  throw new DomainError('RANGE_EMPTY', `${log} at entry ${last}: there is nothing to verify from ${from} on`)
}

async function verifyGroups(
  cli: Cli,
  { database, installation }: Host,
  tenant: string | undefined,
): Promise<CommitmentsVerification> {
  const progress = showProgress({ label: 'Opening sealed groups', output: cli.err, quiet: cli.json, unit: 'groups' })
  let shown = 0
  try {
    return await verifyCommitments(database, installation, {
      tenant,
      signal: cli.signal,
      onProgress: ({ groups }) => progress.update({ done: groups }),
      onFinding: (finding) => {
        shown += 1
        if (cli.json || shown > MOST_SHOWN) return
        progress.end()
        cli.out.write(`${cli.paint.out.red('finding')} ${findingText(finding)}\n`)
      },
    })
  } finally {
    progress.end()
  }
}

function describeGroups({ groups, erased, findingCount, durationMs }: CommitmentsVerification): string {
  const gone = erased === 0 ? '' : `, ${thousands(erased)} of them erased`
  return `${counted(findingCount, 'finding')} in ${counted(groups, 'sealed group')}${gone}, ${seconds(durationMs)}\n`
}

function findingText({ tenant, seq, code, message }: Finding): string {
  return `${tenant} ${seq} ${code}: ${printable(message)}`
}

function answerOf(result: Verification, groups: CommitmentsVerification | undefined) {
  const { tenants, entries, findings, findingCount, durationMs } = result
  return {
    ok: findingCount + (groups?.findingCount ?? 0) === 0,
    level: LEVEL,
    entries,
    findingCount,
    findings,
    durationMs,
    tenants: tenants.map(keep),
    ...(groups && { commitments: groups }),
  }
}

/** What a chain alone detects; see docs. */
const LEVEL = 'chained'

/** With what to give to --expect another time. */
function keep(tenant: TenantVerification) {
  return { ...tenant, keep: headToKeep(tenant) }
}

export function headToKeep({ nextSeq, chainHash }: Pick<TenantVerification, 'nextSeq' | 'chainHash'>): string {
  return `${nextSeq - 1}:${chainHash}`
}

function describe({ paint }: Cli, result: Verification): string {
  const { tenants, entries, findingCount, durationMs } = result
  const rate = thousands((entries * 1000) / Math.max(1, durationMs))
  const logs = table(
    [
      { head: 'tenant' },
      { head: 'checked', align: 'right' },
      { head: 'findings', align: 'right' },
      { head: 'keep this, for --expect' },
    ],
    tenants.map((tenant) => [
      tenant.tenant,
      thousands(tenant.entries),
      thousands(tenant.findings),
      tenant.nextSeq > 0 ? headToKeep(tenant) : '',
    ]),
    paint.out,
  )
  const hidden = findingCount > MOST_SHOWN ? `… and ${thousands(findingCount - MOST_SHOWN)} more findings\n` : ''
  const verdict = findingCount === 0 ? paint.out.green('no findings') : paint.out.red(counted(findingCount, 'finding'))
  return (
    `${hidden}${logs}\n${verdict} in ${counted(entries, 'entry', 'entries')} of ${counted(tenants.length, 'log')}, ` +
    `${seconds(durationMs)} (${rate}/s); level: ${LEVEL}\n`
  )
}
