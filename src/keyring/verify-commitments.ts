import { sql } from 'kysely'
import { inTenant, type Database, type Tx } from '../db/database.js'
import { DomainError } from '../errors.js'
import { readLeaf } from '../ledger/entry.js'
import type { SealedCommitment } from '../ledger/event.js'
import { Findings, type Finding } from '../ledger/findings.js'
import type { Installation } from './installation.js'
import { open } from './seal.js'
import { listTenants } from './tenants.js'
import { unwrapKey } from './wrap.js'

export interface CommitmentsOptions {
  /** Only this tenant; without it all of them. */
  readonly tenant?: string | undefined
  readonly onFinding?: ((finding: Finding) => void) | undefined
  /** Told after every few hundred groups. */
  readonly onProgress?: ((progress: { groups: number }) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

export interface CommitmentsVerification {
  /** Sealed groups that are stored. */
  readonly groups: number
  /** Of these, those whose key was destroyed: nobody can open them any more. */
  readonly erased: number
  /** The first of them; `findingCount` counts all. */
  readonly findings: readonly Finding[]
  readonly findingCount: number
  readonly durationMs: number
}

/**
 * Opens every sealed group whose key exists and holds it against what its leaf committed to. Nothing of what is read leaves
 * this function. Groups that are not there any more are no findings: erasing them is what they are stored apart for.
 * @throws DomainError KEY_UNKNOWN when the key file does not hold a key that wraps one of theirs
 */
export async function verifyCommitments(
  database: Database,
  installation: Installation,
  { tenant: only, onFinding, onProgress, signal }: CommitmentsOptions = {},
): Promise<CommitmentsVerification> {
  const began = performance.now()
  const findings = new Findings(onFinding)
  let groups = 0
  let erased = 0
  const tenants = only === undefined ? (await listTenants(database)).map(({ id }) => id) : [only]
  for (const tenant of tenants) {
    for await (const rows of pages(database, tenant)) {
      signal?.throwIfAborted()
      for (const row of rows) {
        groups++
        if (row.wrapped === null) erased++
        const fault = faultOf(installation, tenant, row)
        if (fault !== undefined) findings.report('COMMITMENT_MISMATCH', tenant, row.seq, `group ${row.group} ${fault}`)
      }
      onProgress?.({ groups })
    }
  }
  const durationMs = Math.round(performance.now() - began)
  return { groups, erased, findings: findings.kept, findingCount: findings.count, durationMs }
}

/** Groups read at once: each comes with its leaf. */
const PAGE = 500

interface GroupRow {
  readonly seq: number
  readonly group: string
  readonly subject: string
  readonly generation: number
  readonly ciphertext: Buffer
  /** Null where its key was destroyed. */
  readonly wrapped: Buffer | null
  /** Null where there is no such entry. */
  readonly leaf: Buffer | null
}

/** All groups of a tenant, in order, each page in a transaction of its own. */
async function* pages(database: Database, tenant: string): AsyncGenerator<GroupRow[]> {
  let seq = -1
  let group = ''
  for (;;) {
    const rows = await inTenant(database.keyring, tenant, (tx) => readPage(tx, tenant, seq, group))
    yield rows
    const last = rows.at(-1)
    if (!last || rows.length < PAGE) return
    ;({ seq, group } = last)
  }
}

async function readPage(tx: Tx, tenant: string, seq: number, group: string): Promise<GroupRow[]> {
  return tx
    .selectFrom('sealed_groups as g')
    .leftJoin('subject_keys as k', (join) =>
      join
        .onRef('k.tenant', '=', 'g.tenant')
        .onRef('k.subject', '=', 'g.subject')
        .onRef('k.generation', '=', 'g.generation'),
    )
    .leftJoin('entries as e', (join) => join.onRef('e.tenant', '=', 'g.tenant').onRef('e.seq', '=', 'g.seq'))
    .select(['g.seq', 'g.group', 'g.subject', 'g.generation', 'g.ciphertext', 'k.wrapped', 'e.leaf'])
    .where('g.tenant', '=', tenant)
    .where(sql<boolean>`(g.seq, g."group") > (${seq}::int8, ${group}::text)`)
    .orderBy('g.seq')
    .orderBy('g.group')
    .limit(PAGE)
    .execute()
}

/** @returns what is wrong with a stored group, or undefined */
function faultOf(installation: Installation, tenant: string, row: GroupRow): string | undefined {
  const { seq, group, subject, generation, ciphertext, wrapped, leaf } = row
  if (!leaf) return `belongs to entry ${seq}, which is not there`
  const commitment = commitmentIn(leaf, group)
  if (!commitment) return `is stored, but entry ${seq} does not commit to it`
  if (commitment.subject !== subject)
    return `is stored for ${subject}, but entry ${seq} commits to it for ${commitment.subject}`
  if (!wrapped) return undefined
  try {
    const key = unwrapKey(installation, { tenant, purpose: 'subject', id: subject, generation }, wrapped)
    open(tenant, commitment, key, ciphertext)
    return undefined
  } catch (error) {
    if (error instanceof DomainError && error.code === 'DECRYPTION_FAILED') {
      return `is not what entry ${seq} committed to, or its key was changed`
    }
    throw error
  }
}

function commitmentIn(leaf: Buffer, group: string): SealedCommitment | undefined {
  try {
    return readLeaf(leaf).event.sealed?.find((sealed) => sealed.group === group)
  } catch {
    return undefined
  }
}
