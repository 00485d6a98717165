import type { Tx } from '../../db/database.js'
import { DomainError } from '../../errors.js'
import { readNamedStreams, readStream, type StreamEntry } from '../../ledger/streams.js'
import { changeOf, changeStream, evolveChange, type ChangeState } from '../change.js'
import type { Ground } from '../decision.js'
import type { Governed } from '../governed.js'
import { policyOf } from '../governance.js'
import { gainingBy, type Kinds } from '../kind.js'
import { policyHash, type Policy } from '../policy.js'
import { readCredentials } from './credentials.js'

/** An id of a change: a ULID. */
const CHANGE_ID = /^[0-9A-HJKMNP-TV-Z]{26}$/

/**
 * A change as its entries say now.
 * @throws DomainError CHANGE_UNKNOWN
 */
export async function loadChange(tx: Tx, tenant: string, id: string): Promise<ChangeState> {
  return (await loadChangeEntries(tx, tenant, id)).change
}

/** The same, with the entries. */
export async function loadChangeEntries(
  tx: Tx,
  tenant: string,
  id: string,
): Promise<{ change: ChangeState; entries: readonly StreamEntry[] }> {
  const entries = CHANGE_ID.test(id) ? await readStream(tx, tenant, changeStream(id)) : []
  const change = foldChange(entries)
  if (!change) throw new DomainError('CHANGE_UNKNOWN', `there is no change ${JSON.stringify(id.slice(0, 80))}`)
  return { change, entries }
}

/** Several changes, in the order asked for; those that are not there are left out. */
export async function loadChanges(tx: Tx, tenant: string, ids: readonly string[]): Promise<ChangeState[]> {
  const byId = new Map<string, StreamEntry[]>(ids.map((id) => [id, []]))
  for (const entry of await readNamedStreams(tx, tenant, ids.map(changeStream))) {
    byId.get(changeOf(entry.stream))?.push(entry)
  }
  return [...byId.values()].flatMap((entries) => foldChange(entries) ?? [])
}

export function foldChange(entries: readonly StreamEntry[]): ChangeState | undefined {
  return entries.reduce<ChangeState | undefined>(evolveChange, undefined)
}

/** All policies that a change has to satisfy: the one pinned at its request, the one in force, and what its kind adds. */
export function policiesFor(
  kinds: Kinds,
  { kind, payload, policy }: Pick<ChangeState, 'kind' | 'payload' | 'policy'>,
  { governance }: Pick<Governed, 'governance'>,
): Policy[] {
  const all = [policy, policyOf(governance, kind), ...(kinds.find(kind).alsoPolicies?.(payload, governance) ?? [])]
  return [...new Map(all.map((each) => [policyHash(each), each])).values()]
}

/** What a decision on a change rests on now, all of it read from synchronous rows. */
export async function groundOf(
  tx: Tx,
  tenant: string,
  kinds: Kinds,
  change: ChangeState,
  governed: Pick<Governed, 'governance'>,
  alsoVia: readonly string[] = [],
): Promise<Ground> {
  const vias = [change.via, ...change.votes.map(({ via }) => via), ...alsoVia]
  return {
    tenant,
    access: governed.governance.access,
    policies: policiesFor(kinds, change, governed),
    beneficiaries: gainingBy(kinds.find(change.kind), change.payload, governed.governance),
    credentials: await readCredentials(tx, tenant, vias),
  }
}
