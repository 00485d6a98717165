import { createHash, randomBytes } from 'node:crypto'
import pg from 'pg'
import { copyRows, type CopiedRow } from './copy.js'
import { parseEnvelope } from './envelope.js'
import type { Report } from './findings.js'

/**
 * A sum over (stream, version, seq) that does not depend on order: entries and the table of streams come to the same one
 * exactly where they name the same. Salted anew in every run, so that nobody can prepare rows that cancel out.
 */
export class StreamSum {
  private readonly lanes = new Uint32Array(4)
  private readonly salt: Buffer

  constructor(salt: Buffer) {
    this.salt = salt
  }

  static newSalt(): Buffer {
    return randomBytes(32)
  }

  add(stream: string, version: number, seq: number): void {
    const digest = createHash('sha256').update(this.salt).update(`${seq} ${version} ${stream}`).digest()
    for (let i = 0; i < 4; i++) this.lanes[i] = (this.lanes[i] ?? 0) + digest.readUInt32LE(4 * i)
  }

  equals(other: StreamSum): boolean {
    return this.lanes.every((lane, i) => lane === other.lanes[i])
  }
}

export interface StreamsScope {
  readonly tenant: string | undefined
  readonly from: number
  readonly salt: Buffer
}

/** Sums up the table of streams by tenant, and reports versions that are not dense. */
export async function sumStreams(
  client: pg.Client,
  scope: StreamsScope,
  report: Report,
): Promise<Map<string, StreamSum>> {
  const sums = new Map<string, StreamSum>()
  const where = scope.tenant === undefined ? '' : `where tenant = ${pg.escapeLiteral(scope.tenant)}`
  const last = { tenant: '', stream: '', version: 0, seq: -1 }
  await copyRows(
    client,
    `select tenant, stream, version, seq from streams ${where} order by tenant, stream, version, seq`,
    4,
    (row) => {
      const [tenant, stream, version, seq] = [text(row, 0), text(row, 1), int8(row, 2), int8(row, 3)]
      if (tenant !== last.tenant || stream !== last.stream) {
        Object.assign(last, { tenant, stream, version: 0, seq: -1 })
      }
      if (version !== last.version + 1) {
        const message = `version ${version} of stream ${stream} follows version ${last.version}`
        report('STREAM_VERSION', tenant, seq, message)
      } else if (seq <= last.seq) {
        report(
          'STREAM_VERSION',
          tenant,
          seq,
          `version ${version} of stream ${stream} stands before version ${last.version}`,
        )
      }
      Object.assign(last, { version, seq })
      if (seq < scope.from) return
      let sum = sums.get(tenant)
      if (!sum) sums.set(tenant, (sum = new StreamSum(scope.salt)))
      sum.add(stream, version, seq)
    },
  )
  return sums
}

/** One tenant's entries against its streams, row by row: for tenants whose sums differ. */
export async function compareStreams(client: pg.Client, tenant: string, from: number, report: Report): Promise<void> {
  const one = `tenant = ${pg.escapeLiteral(tenant)} and seq >= ${from}`
  await copyRows(
    client,
    `select e.seq, e.opening, s.seq, s.stream, s.version
     from (select seq, substr(leaf, 1, 1024) as opening from entries where ${one}) e
     full join (select seq, stream, version from streams where ${one}) s on s.seq = e.seq`,
    5,
    (row) => {
      const opening = row.bytes.subarray(row.starts[1], (row.starts[1] ?? 0) + Math.max(0, row.lengths[1] ?? 0))
      const envelope = isNull(row, 0) ? undefined : parseEnvelope(opening)
      if (isNull(row, 2)) {
        if (envelope?.stream === undefined) return
        const message = `version ${envelope.version} of stream ${envelope.stream} is not in the table of streams`
        report('STREAM_ROW_MISSING', tenant, envelope.seq, message)
        return
      }
      const [seq, stream, version] = [int8(row, 2), text(row, 3), int8(row, 4)]
      const named = `version ${version} of stream ${stream} is said to be entry ${seq}`
      if (isNull(row, 0)) report('STREAM_ROW_MISMATCH', tenant, seq, `${named}, which is not there`)
      else if (envelope && envelope.stream === undefined) {
        report('STREAM_ROW_MISMATCH', tenant, seq, `${named}, which has no stream`)
      } else if (envelope && (envelope.stream !== stream || envelope.version !== version)) {
        const message = `${named}, which is version ${envelope.version} of ${envelope.stream}`
        report('STREAM_ROW_MISMATCH', tenant, seq, message)
      }
    },
  )
}

function isNull({ lengths }: CopiedRow, column: number): boolean {
  return (lengths[column] ?? -1) < 0
}

function text({ bytes, starts, lengths }: CopiedRow, column: number): string {
  const start = starts[column] ?? 0
  return bytes.toString('utf8', start, start + Math.max(0, lengths[column] ?? 0))
}

function int8({ view, starts, lengths }: CopiedRow, column: number): number {
  if (lengths[column] !== 8) return NaN
  const start = starts[column] ?? 0
  return view.getInt32(start) * 0x1_0000_0000 + view.getUint32(start + 4)
}
