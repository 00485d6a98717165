import { ingest, type IngestDeps } from '../keyring/ingest.js'
import { derive, type Installation } from '../keyring/installation.js'
import { sourcePosition } from '../ledger/positions.js'
import type { Principal } from '../principal.js'
import type { ImportDeps } from './import.js'

/** Where an import goes: into the log of the principal's tenant, in its name. */
export function importInto(deps: IngestDeps, by: Principal): ImportDeps {
  return {
    ingest: async (events, position) => ingest(deps, by, events, { position }),
    position: async (source) => sourcePosition(deps.database, by.tenant, source),
  }
}

/** What files are recognised by. The oldest key: a newer one must not make known files look new. */
export function fingerprintKey({ keys: [oldest] }: Installation): Buffer {
  if (oldest === undefined) throw new Error('an installation without keys')
  return derive(oldest, 'fingerprint')
}
