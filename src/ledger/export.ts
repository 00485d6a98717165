import { createHash } from 'node:crypto'
import { inTenant, type Database } from '../db/database.js'
import { DomainError } from '../errors.js'
import { readLeaf } from './entry.js'
import { tenantUnknown } from './errors.js'
import { GENESIS } from './hash.js'

/** What an export says of itself: with it and the lines the chain can be checked without this service or its code. */
export interface ExportManifest {
  readonly format: 'countersign-export'
  readonly v: 1
  readonly tenant: string
  /** Identity of the log, 32 hex digits. */
  readonly log: string
  readonly entries: number
  readonly firstSeq: number
  readonly lastSeq: number
  readonly firstRecordedAt: string
  readonly lastRecordedAt: string
  /** Chain hash before the first entry, 64 hex digits: zeros where that is entry 0. */
  readonly previousChainHash: string
  readonly lastChainHash: string
  readonly exportedAt: string
  /** How large the whole log was when the export began. */
  readonly logSize: number
  readonly level: 'chained'
  readonly lines: { readonly bytes: number; readonly sha256: string }
  readonly check: readonly string[]
}

export interface ExportRange {
  readonly fromSeq?: number | undefined
  /** Included. */
  readonly toSeq?: number | undefined
}

const PAGE = 1000

const CHECK = [
  'Each line is {"seq", "leaf" (base64), "chainHash" (hex)}; seq rises by 1 from firstSeq to lastSeq.',
  'leafHash = SHA-256(0x00 | leaf); chainHash = SHA-256(chainHash of the line before, previousChainHash for the first | leafHash).',
  'The leaf is RFC 8785 JSON; its members entry.seq, entry.tenant and entry.log are those of the line and of this manifest.',
  'The chainHash of the last line is lastChainHash: compare it with one that was kept elsewhere.',
]

/**
 * A part of a log as lines, in order. What is appended meanwhile does not show.
 * @param write takes some lines at a time; awaited
 * @throws DomainError TENANT_UNKNOWN; RANGE_EMPTY when the log holds nothing of the range
 */
export async function exportLog(
  database: Database,
  tenant: string,
  { fromSeq = 0, toSeq }: ExportRange,
  write: (lines: string) => Promise<void> | void,
  onEntries: (done: number, total: number) => void = () => {},
): Promise<ExportManifest> {
  const exportedAt = new Date().toISOString()
  const head = await inTenant(database.reader, tenant, (tx) =>
    tx
      .selectFrom('heads')
      .innerJoin('tenants', 'tenants.id', 'heads.tenant')
      .select(['next_seq', 'log'])
      .where('heads.tenant', '=', tenant)
      .executeTakeFirst(),
  )
  if (!head) throw tenantUnknown(tenant)
  const lastSeq = Math.min(toSeq ?? Infinity, head.next_seq - 1)
  if (fromSeq > lastSeq) {
    throw new DomainError(
      'RANGE_EMPTY',
      `the log of ${tenant} has entries 0 to ${head.next_seq - 1}: none of them is in this range`,
    )
  }
  const previous = fromSeq === 0 ? GENESIS : (await readPage(database, tenant, fromSeq - 1, fromSeq - 1))[0]?.chain_hash
  if (!previous) throw new Error(`entry ${fromSeq - 1} of ${tenant} is missing`)
  const hash = createHash('sha256')
  let bytes = 0
  let first: Row | undefined
  let last: Row | undefined
  for (let seq = fromSeq; seq <= lastSeq; seq += PAGE) {
    const rows = await readPage(database, tenant, seq, Math.min(seq + PAGE - 1, lastSeq))
    first ??= rows[0]
    last = rows.at(-1)
    const lines = rows.map(lineOf).join('')
    hash.update(lines)
    bytes += Buffer.byteLength(lines)
    await write(lines)
    onEntries(Math.min(seq + PAGE, lastSeq + 1) - fromSeq, lastSeq + 1 - fromSeq)
  }
  if (!first || !last) throw new Error(`entries ${fromSeq} to ${lastSeq} of ${tenant} are missing`)
  return {
    format: 'countersign-export',
    v: 1,
    tenant,
    log: head.log,
    entries: lastSeq - fromSeq + 1,
    firstSeq: fromSeq,
    lastSeq,
    firstRecordedAt: readLeaf(first.leaf).entry.at,
    lastRecordedAt: readLeaf(last.leaf).entry.at,
    previousChainHash: previous.toString('hex'),
    lastChainHash: last.chain_hash.toString('hex'),
    exportedAt,
    logSize: head.next_seq,
    level: 'chained',
    lines: { bytes, sha256: hash.digest('hex') },
    check: CHECK,
  }
}

interface Row {
  seq: number
  leaf: Buffer
  chain_hash: Buffer
}

/** Base64 and hex digits need no escaping, so this is JSON. */
function lineOf({ seq, leaf, chain_hash: chainHash }: Row): string {
  return `{"seq":${seq},"leaf":"${leaf.toString('base64')}","chainHash":"${chainHash.toString('hex')}"}\n`
}

async function readPage(database: Database, tenant: string, from: number, to: number): Promise<Row[]> {
  return inTenant(database.reader, tenant, (tx) =>
    tx
      .selectFrom('entries')
      .select(['seq', 'leaf', 'chain_hash'])
      .where('tenant', '=', tenant)
      .where('seq', '>=', from)
      .where('seq', '<=', to)
      .orderBy('seq')
      .execute(),
  )
}
