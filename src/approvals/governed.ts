import { sql } from 'kysely'
import { inTenant, type Database, type Tx } from '../db/database.js'
import type { Installation } from '../keyring/installation.js'
import type { Subjects } from '../keyring/subjects.js'
import { isTransient, lockHead } from '../ledger/append.js'
import type { Appender } from '../ledger/appender.js'
import type { Head } from '../ledger/batch.js'
import { tenantUnknown } from '../ledger/errors.js'
import type { CountedRecords } from '../ledger/counted-records.js'
import { readStreams } from '../ledger/streams.js'
import { wake } from '../ledger/wake.js'
import type { Principal } from '../principal.js'
import { evolveGovernanceBy, GOVERNANCE_PREFIXES, NO_GOVERNANCE, type Governance } from './governance.js'
import type { Kinds, Surroundings } from './kind.js'
import type { ReminderTimes } from './step.js'

/** What commands and queries of changes work with. */
export interface ApprovalDeps {
  readonly database: Database
  readonly appender: Appender
  readonly installation: Installation
  readonly subjects: Subjects
  readonly kinds: Kinds
  /** For kinds that ask elsewhere. */
  readonly surroundings?: Surroundings
  /** Where refused votes are put on record. */
  readonly refusals: Pick<CountedRecords, 'record'>
  /** Sealed groups: bytes of their canonical form at most. */
  readonly maxGroupBytes?: number
  /** The ledger's clock as a function of the database's, ms since 1970; tests let it run ahead. */
  readonly clock?: (databaseMs: number) => number | Promise<number>
  /** When people are reminded; as in `REMINDER_TIMES` unless said otherwise. */
  readonly reminders?: ReminderTimes
}

/** A tenant as it stands while its head is locked: nothing of it changes until the transaction ends. */
export interface Governed {
  readonly head: Head
  /** The database's time under the lock, never earlier than the log's last entry. */
  readonly nowMs: number
  readonly governance: Governance
}

const ATTEMPTS = 5

/**
 * Runs a command whose decision rests on roles, policies and the like. The head is locked first, then everything is folded
 * from the entries, then `work` decides and appends: a role that is revoked at the same moment is revoked before or after,
 * never in between. Followers are told after the commit.
 * @throws DomainError TENANT_UNKNOWN, and what `work` throws; then nothing was written
 */
export async function governed<T>(
  deps: Pick<ApprovalDeps, 'database' | 'clock'>,
  by: Pick<Principal, 'tenant'>,
  work: (tx: Tx, governed: Governed) => Promise<T>,
): Promise<T> {
  const { tenant } = by
  const { command } = deps.database
  for (let attempt = 1; ; attempt++) {
    try {
      const { answer, grew } = await inTenant(command, tenant, async (tx) => {
        const head = await lockHead(tx, tenant)
        const { nextSeq } = head
        const nowMs = Math.max(await timeOf(tx, deps.clock), head.recordedAtMs)
        const governance = await foldGovernance(tx, deps.database, head)
        const answer = await work(tx, { head, nowMs, governance })
        return { answer, grew: head.nextSeq > nextSeq }
      })
      if (grew) wake(command, tenant)
      return answer
    } catch (error) {
      if (!isTransient(error) || attempt === ATTEMPTS) throw error
    }
  }
}

/** What a tenant's governance is now, to look at; a decision takes it from `governed`. */
export async function readGoverned<T>(
  deps: Pick<ApprovalDeps, 'database' | 'clock'>,
  tenant: string,
  work: (tx: Tx, governed: Omit<Governed, 'head'> & { readonly nextSeq: number }) => Promise<T>,
): Promise<T> {
  const read = async (tx: Tx): Promise<T> => {
    const head = await tx
      .selectFrom('heads')
      .innerJoin('tenants', 'tenants.id', 'heads.tenant')
      .select(['log', 'next_seq', 'chain_hash', 'recorded_at'])
      .where('heads.tenant', '=', tenant)
      .executeTakeFirst()
    if (!head) throw tenantUnknown(tenant)
    const nowMs = Math.max(await timeOf(tx, deps.clock), Date.parse(head.recorded_at))
    const { log, next_seq: nextSeq, chain_hash: chainHash } = head
    const governance = await foldGovernance(tx, deps.database, { tenant, log, nextSeq, chainHash })
    return work(tx, { nowMs, governance, nextSeq: head.next_seq })
  }
  return inTenant(deps.database.reader, tenant, read, { snapshot: true })
}

async function timeOf(tx: Tx, clock: ApprovalDeps['clock']): Promise<number> {
  const { rows } = await sql<{ now: string }>`select clock_timestamp() as now`.execute(tx)
  const databaseMs = Date.parse(rows[0]?.now ?? '')
  return clock ? clock(databaseMs) : databaseMs
}

interface Known {
  readonly log: string
  /** Everything before this seq is folded. */
  readonly nextSeq: number
  /** Of the last entry folded. */
  readonly chainHash: Buffer
  readonly governance: Governance
}

/** Tenants whose governance a process remembers. */
const MAX_KNOWN = 1_000

const known = new WeakMap<Database, Map<string, Known>>()

/**
 * Folds the entries that a tenant's governance consists of, on from where this process was. Only what is committed is
 * remembered: under the lock, and in a snapshot, all that stands before the head is.
 */
async function foldGovernance(
  tx: Tx,
  database: Database,
  { tenant, log, nextSeq, chainHash }: Pick<Head, 'tenant' | 'log' | 'nextSeq' | 'chainHash'>,
): Promise<Governance> {
  const tenants = known.get(database) ?? new Map<string, Known>()
  known.set(database, tenants)
  const found = tenants.get(tenant)
  if (found?.nextSeq === nextSeq && found.chainHash.equals(chainHash)) return found.governance
  const before = found && (await goesOn(tx, tenant, found, { log, nextSeq })) ? found : undefined
  const entries = await readStreams(tx, tenant, GOVERNANCE_PREFIXES, (before?.nextSeq ?? 0) - 1)
  const governance = evolveGovernanceBy(before?.governance ?? NO_GOVERNANCE, entries)
  tenants.delete(tenant)
  const [oldest] = tenants.keys()
  if (oldest !== undefined && tenants.size >= MAX_KNOWN) tenants.delete(oldest)
  tenants.set(tenant, { log, nextSeq, chainHash, governance })
  return governance
}

/** Whether a log goes on from what was folded of it: one that was restored from a backup may have gone on otherwise. */
async function goesOn(
  tx: Tx,
  tenant: string,
  found: Known,
  { log, nextSeq }: Pick<Head, 'log' | 'nextSeq'>,
): Promise<boolean> {
  if (found.log !== log || found.nextSeq >= nextSeq) return false
  const last = await tx
    .selectFrom('entries')
    .select('chain_hash')
    .where('tenant', '=', tenant)
    .where('seq', '=', found.nextSeq - 1)
    .executeTakeFirst()
  return last !== undefined && found.chainHash.equals(last.chain_hash)
}
