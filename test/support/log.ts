import { createTenant } from '../../src/keyring/tenants.js'
import type { Appender } from '../../src/ledger/appender.js'
import type { LeafEvent } from '../../src/ledger/event.js'
import { prepare } from '../../src/ledger/prepare.js'
import type { TestDatabase } from './database.js'

/** Reports events as a service would. @returns the first one's seq */
export async function report(appender: Appender, tenant: string, events: readonly LeafEvent[]): Promise<number> {
  const by = { tenant, id: 'service:test', via: 'token:test', permissions: [] }
  const receipt = await appender.submit({
    tenant,
    by: by.id,
    via: by.via,
    events: events.map((event, index) => prepare({ source: { name: 'test' }, ...event }, { by }, index)),
  })
  if (receipt.repeated) throw new Error('a repeat where none was sent')
  return receipt.entries[0]?.seq ?? -1
}

/** Creates tenants named `name-0`, `name-1`, … */
export async function createTenants(test: TestDatabase, name: string, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, n) => `${name}-${n}`)
  for (const id of ids) await createTenant(test.db, test.installation, id)
  return ids
}
