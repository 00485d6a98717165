import { inTenant, type Database } from '../db/database.js'

/** How far a source was taken in, in its own words; null for one that never was. */
export async function sourcePosition(database: Database, tenant: string, source: string): Promise<string | null> {
  const row = await inTenant(database.reader, tenant, (tx) =>
    tx
      .selectFrom('source_positions')
      .select('position')
      .where('tenant', '=', tenant)
      .where('source', '=', source)
      .executeTakeFirst(),
  )
  return row?.position ?? null
}
