import pg from 'pg'
import type { Database } from '../db/database.js'
import { newLendingSocket } from '../db/lending-socket.js'
import { copyRows, type CopiedRow } from './copy.js'
import { tenantUnknown } from './errors.js'
import { Findings, type Finding, type Report } from './findings.js'
import { GENESIS, HASH_BYTES } from './hash.js'
import { ChainCheck, type Anchor, type StoredHead } from './verify-chain.js'
import { reportOtherLogs, ROW_COLUMN_COUNT, ROW_COLUMNS, RowCheck, RowReader, type LogOfRow } from './verify-row.js'
import { compareStreams, StreamSum, sumStreams } from './verify-streams.js'

export interface VerifyOptions {
  /** Only this tenant; without it all of them. */
  readonly tenant?: string | undefined
  /** The first place to check, resting on the stored chain hash before it; 0 by default. */
  readonly from?: number | undefined
  /** Entries whose chain hash somebody kept: what finds a tail that was cut or rewritten together with its head. */
  readonly expect?: readonly ExpectedEntry[] | undefined
  readonly onFinding?: ((finding: Finding) => void) | undefined
  /** What a domain knows about its own entries: asked of each log in which nothing else was found. */
  readonly checks?: readonly DomainCheck[] | undefined
  /** Told a few times a second. */
  readonly onProgress?: ((progress: VerifyProgress) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/** Checks one log by what its entries mean; reads as the operator. */
export type DomainCheck = (
  database: Database,
  log: { readonly tenant: string; readonly report: Report; readonly signal?: AbortSignal | undefined },
) => Promise<void>

export interface ExpectedEntry {
  /** `VerifyOptions.tenant` where it is not given. */
  readonly tenant?: string | undefined
  readonly seq: number
  /** Chain hash of that entry, 64 hex digits. */
  readonly hash: string
}

export interface VerifyProgress {
  /** Rows read. */
  readonly entries: number
  /** Rows to read, by the heads. */
  readonly total: number
}

export interface Verification {
  readonly tenants: readonly TenantVerification[]
  readonly entries: number
  /** The first of them, see `MOST_KEPT`; `findingCount` counts all. */
  readonly findings: readonly Finding[]
  readonly findingCount: number
  readonly durationMs: number
}

export interface TenantVerification {
  readonly tenant: string
  /** Empty where the tenant is not there. */
  readonly log: string
  readonly from: number
  /** One more than the last entry's seq. */
  readonly nextSeq: number
  /** Of the last entry, hex: worth keeping, together with its seq. */
  readonly chainHash: string
  /** Entries checked. */
  readonly entries: number
  readonly findings: number
}

/** One tenant's log on its way through the check. */
interface LogCheck extends LogOfRow {
  readonly name: Buffer
  readonly head: StoredHead | undefined
  readonly from: number
  readonly anchor: Anchor | undefined
  chain: ChainCheck
  readonly streams: StreamSum
  /** Those that no row has answered yet. */
  expected: ExpectedEntry[]
}

/**
 * Reads every entry once and checks it against its row, its neighbours, its log's head and its stream. It works in one
 * snapshot, so that it may run while others append, reads as the operator, and goes on after a finding.
 * @throws DomainError TENANT_UNKNOWN
 */
export async function verify(database: Database, options: VerifyOptions = {}): Promise<Verification> {
  options.signal?.throwIfAborted()
  // Under TLS the socket is Node's own affair.
  const client = database.client('operator', database.address.ssl ? {} : { stream: newLendingSocket })
  client.on('error', () => undefined)
  const abort = () => void client.end()
  try {
    await client.connect()
    options.signal?.addEventListener('abort', abort)
    return await new Run(client, options).run(database)
  } catch (error) {
    options.signal?.throwIfAborted()
    throw error
  } finally {
    options.signal?.removeEventListener('abort', abort)
    await client.end().catch(() => undefined)
  }
}

/** Whoever reads whole tables in one snapshot: nothing in parallel, from their first page, however long it takes. */
export const SNAPSHOT = `begin transaction isolation level repeatable read read only;
  set local synchronize_seqscans = off; set local max_parallel_workers_per_gather = 0; set local jit = off;
  set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0`

class Run {
  private readonly client: pg.Client
  private readonly options: VerifyOptions
  private readonly from: number
  private readonly findings: Findings
  private readonly salt = StreamSum.newSalt()
  private readonly logs = new Map<string, LogCheck>()
  /** The same, by a digest of the name's bytes, so that a row needs no string. */
  private readonly byName = new Map<number, LogCheck[]>()
  private readonly reader = new RowReader()
  private readonly rows = new RowCheck((log, { stream, version, seq }) => {
    if (stream !== undefined && version !== undefined) this.logs.get(log.tenant)?.streams.add(stream, version, seq)
  })
  private last: LogCheck | undefined

  constructor(client: pg.Client, options: VerifyOptions) {
    this.client = client
    this.options = options
    this.from = options.from ?? 0
    this.findings = new Findings(options.onFinding)
  }

  async run(database: Database): Promise<Verification> {
    const began = performance.now()
    await this.client.query(SNAPSHOT)
    await this.readLogs()
    await this.readEntries()
    for (const log of this.logs.values()) if (log.chain.disordered) await this.readInOrder(log)
    for (const log of this.logs.values()) await this.finish(log)
    await this.checkStreams()
    await this.client.query('commit')
    await this.checkMeaning(database)
    const logs = [...this.logs.values()].sort((a, b) => (a.tenant < b.tenant ? -1 : 1))
    return {
      tenants: logs.map((log) => this.result(log)),
      entries: logs.reduce((sum, { chain }) => sum + chain.entries, 0),
      findings: this.findings.kept,
      findingCount: this.findings.count,
      durationMs: Math.round(performance.now() - began),
    }
  }

  /** What was tampered with may mean anything: a domain is asked about whole logs only. */
  private async checkMeaning(database: Database): Promise<void> {
    const { checks = [], signal } = this.options
    for (const { tenant, log, report } of this.logs.values()) {
      if (log === undefined || this.findings.of(tenant) > 0) continue
      for (const check of checks) await check(database, { tenant, report, signal })
    }
  }

  /** Tenants, heads, and the entry on which each log's check rests. */
  private async readLogs(): Promise<void> {
    const { tenant: only, expect = [] } = this.options
    const rows = await readLogRows(this.client, only, this.from)
    if (only !== undefined && rows.length === 0) throw tenantUnknown(only)
    for (const row of rows) this.addLog(row)
    for (const expected of expect) {
      const tenant = expected.tenant ?? only
      if (tenant === undefined) throw new RangeError('an expected hash without its tenant')
      const log = this.logs.get(tenant)
      if (!log) throw tenantUnknown(tenant)
      log.expected.push(expected)
    }
  }

  private addLog({ tenant, log, sharedWith, head, from, anchor }: LogRow): LogCheck {
    const { report } = this.findings
    const check: LogCheck = {
      tenant,
      log,
      report,
      name: Buffer.from(tenant),
      head,
      from,
      anchor,
      template: undefined,
      otherLogs: new Map(),
      chain: new ChainCheck(tenant, { from, anchor }, report),
      streams: new StreamSum(this.salt),
      expected: [],
    }
    this.logs.set(tenant, check)
    const digest = digestOf(viewOf(check.name), 0, check.name.length)
    this.byName.set(digest, [...(this.byName.get(digest) ?? []), check])
    if (log === undefined) report('TENANT_UNKNOWN', tenant, from, `there is no tenant ${tenant}`)
    if (sharedWith !== undefined) report('LOG_SHARED', tenant, 0, `tenant ${sharedWith} claims log ${log} too`)
    if (!anchor) report('SEQ_GAP', tenant, from - 1, `entry ${from - 1}, on which the next one rests, is missing`)
    return check
  }

  private async readEntries(): Promise<void> {
    const { tenant, onProgress } = this.options
    const conditions = [
      ...(tenant === undefined ? [] : [`tenant = ${pg.escapeLiteral(tenant)}`]),
      ...(this.from === 0 ? [] : [`seq >= ${this.from}`]),
    ]
    const where = conditions.length === 0 ? '' : ` where ${conditions.join(' and ')}`
    const sizes = [...this.logs.values()].map(({ head, from }) => Math.max(0, (head?.nextSeq ?? 0) - from))
    const total = sizes.reduce((sum, size) => sum + size, 0)
    let told = performance.now()
    const onChunk = (entries: number): void => {
      const now = performance.now()
      if (now - told < PROGRESS_MS) return
      told = now
      onProgress?.({ entries, total })
    }
    const select = `select ${ROW_COLUMNS} from entries${where}`
    await copyRows(this.client, select, ROW_COLUMN_COUNT, (row) => this.take(row), onChunk)
  }

  private take(row: CopiedRow): void {
    const { reader } = this
    const log = this.logOf(row)
    const fault = reader.read(row)
    if (fault !== undefined) {
      log.report('ROW_MALFORMED', log.tenant, Number.isSafeInteger(reader.seq) ? reader.seq : 0, fault)
      return
    }
    this.rows.check(row, reader, log)
    if (log.expected.length > 0) compareExpected(log, row.bytes, reader)
    if (log.chain.disordered) return
    log.chain.add(reader)
  }

  /** The row's log, by the bytes of its first column. */
  private logOf({ bytes, view, starts, lengths }: CopiedRow): LogCheck {
    const start = starts[0] ?? 0
    const end = start + Math.max(0, lengths[0] ?? 0)
    if (this.last && isName(this.last.name, view, start, end)) return this.last
    const found = this.byName.get(digestOf(view, start, end))?.find(({ name }) => isName(name, view, start, end))
    this.last = found ?? this.addLog(logOfNobody(bytes.toString('utf8', start, end)))
    return this.last
  }

  /** Reads one log again whose rows lie in too many pieces, and takes its chain from there. */
  private async readInOrder(log: LogCheck): Promise<void> {
    const { tenant, from, anchor } = log
    const told = new Set(this.findings.kept.filter((f) => f.tenant === tenant).map((f) => `${f.code} ${f.seq}`))
    log.chain = new ChainCheck(tenant, { from, anchor, ordered: true }, (code, tenant, seq, message) => {
      if (!told.has(`${code} ${seq}`)) log.report(code, tenant, seq, message)
    })
    const select = `select ${ROW_COLUMNS} from entries where tenant = ${pg.escapeLiteral(tenant)} and seq >= ${from} order by seq`
    const { reader } = this
    const silent = new RowCheck(() => undefined)
    const silentLog = { ...log, report: () => undefined, otherLogs: new Map() }
    await copyRows(this.client, select, ROW_COLUMN_COUNT, (row) => {
      if (reader.read(row) !== undefined) return
      silent.check(row, reader, silentLog)
      log.chain.add(reader)
    })
  }

  private async finish(log: LogCheck): Promise<void> {
    const { tenant, chain, head, report, expected } = log
    chain.finish(head)
    reportOtherLogs(log)
    if (log.log !== undefined && log.from === 0 && chain.last.seq < 0) {
      report('FIRST_ENTRY', tenant, 0, 'the log has no first entry')
    }
    for (const { seq, hash } of expected) {
      if (seq < log.from) await this.lookUpExpected(log, seq, hash)
      else report('EXPECTED_HEAD', tenant, seq, `entry ${seq}, whose chain hash was kept, is missing`)
    }
  }

  /** An expected entry before the first place that is read. */
  private async lookUpExpected({ tenant, report }: LogCheck, seq: number, hash: string): Promise<void> {
    const { rows } = await this.client.query<{ chain_hash: Buffer | null }>(
      'select chain_hash from entries where tenant = $1 and seq = $2',
      [tenant, seq],
    )
    const stored = rows[0]?.chain_hash?.toString('hex')
    if (stored !== hash.toLowerCase()) report('EXPECTED_HEAD', tenant, seq, expectedMessage(seq, stored))
  }

  private async checkStreams(): Promise<void> {
    const { tenant } = this.options
    const { report } = this.findings
    const scope = { tenant, from: this.from, salt: this.salt }
    const sums = await sumStreams(this.client, scope, report)
    const none = new StreamSum(this.salt)
    const names = new Set([...sums.keys(), ...this.logs.keys()])
    for (const name of names) {
      const fromEntries = this.logs.get(name)?.streams ?? none
      if (!fromEntries.equals(sums.get(name) ?? none)) await compareStreams(this.client, name, this.from, report)
    }
  }

  private result({ tenant, log, from, chain }: LogCheck): TenantVerification {
    const { last } = chain
    return {
      tenant,
      log: log ?? '',
      from,
      nextSeq: last.seq + 1,
      chainHash: last.chainHash.toString('hex'),
      entries: chain.entries,
      findings: this.findings.of(tenant),
    }
  }
}

const PROGRESS_MS = 200

interface LogRow {
  readonly tenant: string
  readonly log: string | undefined
  /** Another tenant with the same log. */
  readonly sharedWith: string | undefined
  readonly head: StoredHead | undefined
  readonly from: number
  readonly anchor: Anchor | undefined
}

const BEGINNING: Anchor = { chainHash: GENESIS, atMs: -Infinity }

/** Rows of a tenant that neither the tenants nor the heads name. */
function logOfNobody(tenant: string): LogRow {
  return { tenant, log: undefined, sharedWith: undefined, head: undefined, from: 0, anchor: BEGINNING }
}

/** @param from a log that ends before it is checked from its end */
async function readLogRows(client: pg.Client, only: string | undefined, from: number): Promise<LogRow[]> {
  const { rows } = await client.query<{
    tenant: string
    log: string | null
    shared_with: string | null
    next_seq: string | null
    chain_hash: Buffer | null
    recorded_at: string | null
    from_seq: string
    anchor_hash: Buffer | null
    anchor_ms: number | null
  }>(
    `select l.tenant, l.log, (select min(id) from tenants where log = l.log and id <> l.tenant) as shared_with, l.next_seq::text, l.chain_hash, l.from_seq::text,
       to_char(l.recorded_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as recorded_at,
       a.chain_hash as anchor_hash, extract(epoch from a.recorded_at)::float8 * 1000 as anchor_ms
     from (
       select coalesce(t.id, h.tenant) as tenant, t.log, h.next_seq, h.chain_hash, h.recorded_at,
         least($2::int8, coalesce(h.next_seq, $2::int8)) as from_seq
       from tenants t full join heads h on h.tenant = t.id) l
     left join lateral (
       select chain_hash, recorded_at from entries where tenant = l.tenant and seq = l.from_seq - 1 limit 1) a on true
     where $1::text is null or l.tenant = $1`,
    [only ?? null, from],
  )
  return rows.map((row) => {
    const fromSeq = Number(row.from_seq)
    const found =
      row.anchor_hash?.length === HASH_BYTES
        ? { chainHash: row.anchor_hash, atMs: row.anchor_ms ?? -Infinity }
        : undefined
    const head =
      row.next_seq === null || row.chain_hash === null
        ? undefined
        : { nextSeq: Number(row.next_seq), chainHash: row.chain_hash, recordedAt: row.recorded_at ?? '' }
    return {
      tenant: row.tenant,
      log: row.log ?? undefined,
      sharedWith: row.shared_with ?? undefined,
      head,
      from: fromSeq,
      anchor: fromSeq === 0 ? BEGINNING : found,
    }
  })
}

/** Compares a row with the hashes kept of its place; these are done with then. */
function compareExpected(log: LogCheck, bytes: Buffer, { seq, hashAt }: RowReader): void {
  const here = log.expected.filter((expected) => expected.seq === seq)
  if (here.length === 0) return
  log.expected = log.expected.filter((expected) => expected.seq !== seq)
  const stored = bytes.toString('hex', hashAt, hashAt + HASH_BYTES)
  for (const { hash } of here) {
    if (stored !== hash.toLowerCase()) log.report('EXPECTED_HEAD', log.tenant, seq, expectedMessage(seq, stored))
  }
}

function expectedMessage(seq: number, stored: string | undefined): string {
  return stored === undefined
    ? `entry ${seq}, whose chain hash was kept, is missing`
    : `the chain hash of entry ${seq} is ${stored}, not the one that was kept`
}

function isName(name: Buffer, view: DataView, start: number, end: number): boolean {
  if (name.length !== end - start) return false
  for (let i = 0; i < name.length; i++) if (name[i] !== view.getUint8(start + i)) return false
  return true
}

function digestOf(view: DataView, start: number, end: number): number {
  let digest = end - start
  for (let i = start; i < end; i++) digest = (Math.imul(digest, 31) + view.getUint8(i)) | 0
  return digest
}

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}
