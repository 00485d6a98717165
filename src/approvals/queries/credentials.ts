import type { Tx } from '../../db/database.js'
import { approveSomething } from '../../auth/permissions.js'
import type { TokenGrant } from '../../auth/token.js'
import { tokenStream } from '../../auth/token.js'
import { readNamedStreams } from '../../ledger/streams.js'
import type { Credential } from '../eligibility.js'

const VIA = /^token:([0-9A-Z]{26})$/

interface Made {
  readonly grant: TokenGrant
  readonly by: string
  readonly via: string
  readonly revoked: boolean
}

/**
 * Credentials as the log knows them, with everybody who had a hand in making them: who made a token, who made the token it
 * was made with, and so on back to the host. What the log does not know is missing: a row that somebody put into the table
 * of tokens is no credential.
 * @param vias `token:…`; others, such as `host`, are left out
 */
export async function readCredentials(
  tx: Tx,
  tenant: string,
  vias: Iterable<string>,
): Promise<ReadonlyMap<string, Credential>> {
  const made = new Map<string, Made>()
  const asked = [...new Set(vias)].filter((via) => VIA.test(via))
  for (let wanted = asked; wanted.length > 0;) {
    const streams = wanted.map((via) => tokenStream(idOf(via)))
    for (const { stream, event, by, via } of await readNamedStreams(tx, tenant, streams)) {
      const name = `token:${stream.slice(tokenStream('').length)}`
      const before = made.get(name)
      if (event.type === 'token.created' && !before) {
        made.set(name, { grant: event.data as unknown as TokenGrant, by, via, revoked: false })
      } else if (event.type === 'token.revoked' && before) {
        made.set(name, { ...before, revoked: true })
      }
    }
    const makers = wanted.flatMap((via) => made.get(via)?.via ?? [])
    wanted = [...new Set(makers)].filter((via) => VIA.test(via) && !made.has(via))
  }
  return new Map(
    asked.flatMap((via) => {
      const found = made.get(via)
      if (!found) return []
      const { principal, permissions, expiresAt } = found.grant
      const { revoked } = found
      return [[via, { via, principal, permissions, revoked, minters: mintersOf(made, via), expiresAt }]]
    }),
  )
}

const idOf = (via: string): string => VIA.exec(via)?.[1] ?? ''

function mintersOf(made: ReadonlyMap<string, Made>, via: string): Set<string> {
  const minters = new Set<string>()
  for (let token = made.get(via); token !== undefined; token = made.get(token.via)) minters.add(token.by)
  return minters
}

/** Of the same principals, only what some change could be approved with: whoever has thousands of tokens holds nobody up. */
export function readApproving(
  tx: Tx,
  tenant: string,
  principals: readonly string[],
  nowMs: number,
): Promise<Credential[]> {
  return readLiveCredentials(tx, tenant, principals, nowMs, approveSomething)
}

/** The credentials of these principals that live: neither revoked nor expired, by the table and by the log. */
export async function readLiveCredentials(
  tx: Tx,
  tenant: string,
  principals: readonly string[],
  nowMs: number,
  wanted: (permissions: readonly string[]) => boolean = () => true,
): Promise<Credential[]> {
  if (principals.length === 0) return []
  const rows = await tx
    .selectFrom('tokens')
    .select(['id', 'principal', 'permissions'])
    .where('tenant', '=', tenant)
    .where('principal', 'in', principals)
    .where('revoked_at', 'is', null)
    .where((where) =>
      where.or([where('expires_at', 'is', null), where('expires_at', '>', new Date(nowMs).toISOString())]),
    )
    .execute()
  const some = rows.filter(({ permissions }) => wanted(permissions))
  const known = await readCredentials(
    tx,
    tenant,
    some.map(({ id }) => `token:${id}`),
  )
  return some.flatMap(({ id, principal }) => {
    const credential = known.get(`token:${id}`)
    return credential && !credential.revoked && credential.principal === principal ? [credential] : []
  })
}

/** Whether the table of tokens still holds a credential for its principal, neither revoked nor expired. */
export async function isLive(tx: Tx, tenant: string, { via, principal }: Credential, nowMs: number): Promise<boolean> {
  const row = await tx
    .selectFrom('tokens')
    .select(['principal', 'expires_at', 'revoked_at'])
    .where('tenant', '=', tenant)
    .where('id', '=', idOf(via))
    .executeTakeFirst()
  if (row?.principal !== principal || row.revoked_at !== null) return false
  return row.expires_at === null || nowMs < Date.parse(row.expires_at)
}
