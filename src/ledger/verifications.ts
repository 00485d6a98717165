import { sql } from 'kysely'
import type { Database } from '../db/database.js'
import type { Verification } from './verify.js'

/** Keeps the result, one row per tenant: what answers and reports say about the last verification. */
export async function recordVerification(database: Database, { tenants, durationMs }: Verification): Promise<void> {
  if (tenants.length === 0) return
  await database.operator
    .insertInto('verifications')
    .values(
      tenants.map(({ tenant, from, nextSeq, chainHash, findings }) => ({
        tenant,
        verified_at: sql<string>`now()`,
        from_seq: from,
        next_seq: nextSeq,
        chain_hash: Buffer.from(chainHash, 'hex'),
        findings: Math.min(findings, MOST_COUNTED),
        duration_ms: Math.min(durationMs, MOST_COUNTED),
      })),
    )
    .execute()
}

/** The columns are int4. */
const MOST_COUNTED = 2 ** 31 - 1
