import type { KeyObject } from 'node:crypto'
import { inTenant, type Database } from '../db/database.js'
import { DomainError } from '../errors.js'
import { command, type Fold } from '../ledger/append.js'
import type { LeafEvent } from '../ledger/event.js'
import { readStream, type StreamEntry } from '../ledger/streams.js'
import { service, type Principal } from '../principal.js'
import { actorOf } from './reveal.js'
import { newSigningKey, privateKeyOf, readSigningKeys, writeSigningKeys, type SigningKey } from './signing-key-file.js'

/**
 * What a tenant signs with: grants of approved changes, and webhooks. One Ed25519 key serves both, since neither can be taken
 * for the other: a grant is signed as `header.claims` whose header opens a JSON object, a webhook as `id.seconds.body`, and no
 * id of ours opens one.
 */
export const SIGNING_STREAM = 'keys/signing'

/** Every type of entry on that stream. */
export const signingEventTypes = ['signing-key.made', 'signing-key.retired'] as const

/** How long webhooks carry a signature by the key before too, so that receivers can learn the new one. */
export const OVERLAP_MS = 24 * 3_600_000

export interface SigningDeps {
  readonly database: Database
  /** The folder of the tenants' files. */
  readonly signingKeysDir: string
}

/** A public key as the log tells it. */
export interface PublicKey {
  readonly kid: string
  /** 32 bytes, base64url. */
  readonly x: string
  readonly status: 'current' | 'retired' | 'revoked'
  /** Signatures are made with it until then; of retired keys. RFC 3339, UTC. */
  readonly until?: string
}

export interface PublicKeyHistory extends PublicKey {
  readonly madeAt: string
  readonly retiredAt?: string
}

type Keys = readonly PublicKey[]

const fold: Fold<Keys> = { initial: [], evolve: evolveKeys }

/** Oldest first. */
export function evolveKeys(keys: Keys, { type, data }: LeafEvent): Keys {
  const { kid, x, until, revoked } = (data ?? {}) as { kid: string; x: string; until?: string; revoked?: true }
  if (type === 'signing-key.made') return [...keys, { kid, x, status: 'current' }]
  if (type !== 'signing-key.retired') return keys
  return keys.map((key) =>
    key.kid === kid ? { ...key, status: revoked ? 'revoked' : 'retired', ...(until !== undefined && { until }) } : key,
  )
}

/** What signs for a tenant now. */
export interface Signer {
  readonly kid: string
  readonly key: KeyObject
  /** The key before too, while receivers may still know only that one. */
  readonly keys: readonly KeyObject[]
  readonly publicKeys: readonly PublicKey[]
}

/**
 * A tenant's signing key; the first to ask makes it, an entry before it signs anything.
 * @throws DomainError SIGNING_KEY_MISSING where the log names a key that the file lacks, SIGNING_KEY_FILE_INVALID
 */
export async function signerOf(deps: SigningDeps, tenant: string): Promise<Signer> {
  // A rotation between reading the log and reading the file leaves what was read behind: then both are read once more.
  const signer = (await trySigner(deps, tenant)) ?? (await trySigner(deps, tenant))
  if (signer) return signer
  const lost = `the signing key of tenant ${tenant} that its log names is not in ${deps.signingKeysDir}`
  throw new DomainError('SIGNING_KEY_MISSING', `${lost}: restore it, or run countersign signing-key rotate`)
}

async function trySigner(deps: SigningDeps, tenant: string): Promise<Signer | undefined> {
  const { database, signingKeysDir } = deps
  const known = await readKeys(database, tenant)
  const keys = known.some(isCurrent) ? known : await makeFirst(deps, tenant)
  const files = readSigningKeys(signingKeysDir, tenant)
  const open = (kid: string): KeyObject[] => files.filter((file) => file.kid === kid).map(privateKeyOf)
  const current = keys.find(isCurrent)
  const [key] = open(current?.kid ?? '')
  if (current === undefined || key === undefined) return undefined
  const now = Date.now()
  const before = keys.filter(
    ({ status, until }) => status === 'retired' && until !== undefined && now < Date.parse(until),
  )
  return { kid: current.kid, key, keys: [key, ...before.flatMap(({ kid }) => open(kid))], publicKeys: keys }
}

async function makeFirst(deps: SigningDeps, tenant: string): Promise<Keys> {
  const { database, signingKeysDir } = deps
  const by = service(tenant)
  // A file without its entry is left by whoever died between the two: it goes on as if it had just been made.
  const candidate = readSigningKeys(signingKeysDir, tenant).at(-1) ?? newSigningKey()
  return command(
    database.command,
    { by, stream: SIGNING_STREAM },
    fold,
    (keys) => (keys.some(isCurrent) ? [] : [made(by, candidate)]),
    // Still under the lock of the log's head: of two who make one, the second finds the first's.
    async () => writeSigningKeys(signingKeysDir, tenant, [candidate]),
  )
}

export interface Rotation {
  readonly kid: string
  readonly retired: readonly string[]
}

/**
 * Replaces a tenant's signing key: an entry each for the new one and the one before.
 * @param revoke takes the one before out of what is published at once: its grants are refused, its webhooks no longer verify
 */
export async function rotateSigningKey(
  deps: SigningDeps,
  by: Principal,
  { revoke = false }: { revoke?: boolean } = {},
): Promise<Rotation> {
  const { database, signingKeysDir } = deps
  const next = newSigningKey()
  let retired: string[] = []
  await command(
    database.command,
    { by, stream: SIGNING_STREAM },
    fold,
    (keys, nowMs) => {
      retired = keys.filter(isCurrent).map(({ kid }) => kid)
      const until = new Date(nowMs + OVERLAP_MS).toISOString()
      const events: LeafEvent[] = retired.map((kid) => ({
        type: 'signing-key.retired',
        actor: actorOf(by),
        data: revoke ? { kid, revoked: true } : { kid, until },
      }))
      return [...events, made(by, next)]
    },
    async () => {
      // The one before stays until the log has the next; older ones have nothing left to sign.
      const kept = readSigningKeys(signingKeysDir, by.tenant).filter(({ kid }) => retired.includes(kid))
      writeSigningKeys(signingKeysDir, by.tenant, [...kept, next])
    },
  )
  if (revoke) {
    const left = readSigningKeys(signingKeysDir, by.tenant).filter(({ kid }) => !retired.includes(kid))
    writeSigningKeys(signingKeysDir, by.tenant, left)
  }
  return { kid: next.kid, retired }
}

function made(by: Principal, { kid, x }: SigningKey): LeafEvent {
  return { type: 'signing-key.made', actor: actorOf(by), data: { kid, x: x.toString('base64url'), alg: 'EdDSA' } }
}

/** A tenant's public keys with their times, oldest first; undefined where there is no such tenant. */
export async function publicKeysOf(
  database: Pick<Database, 'reader'>,
  tenant: string,
): Promise<PublicKeyHistory[] | undefined> {
  return inTenant(database.reader, tenant, async (tx) => {
    const found = await tx.selectFrom('tenants').select('id').where('id', '=', tenant).executeTakeFirst()
    return found && history(await readStream(tx, tenant, SIGNING_STREAM))
  })
}

/**
 * Tenants that cannot sign, because the folder lacks the key that their log names.
 * @throws DomainError SIGNING_KEY_FILE_INVALID
 */
export async function tenantsWithoutKey({ database: { operator }, signingKeysDir }: SigningDeps): Promise<string[]> {
  const rows = await operator
    .selectFrom('streams')
    .select('tenant')
    .distinct()
    .where('stream', '=', SIGNING_STREAM)
    .execute()
  const lacking: string[] = []
  for (const { tenant } of rows) {
    const keys = (await readStream(operator, tenant, SIGNING_STREAM)).reduce<Keys>(
      (keys, { event }) => evolveKeys(keys, event),
      [],
    )
    const current = keys.find(isCurrent)?.kid
    if (!readSigningKeys(signingKeysDir, tenant).some(({ kid }) => kid === current)) lacking.push(tenant)
  }
  return lacking.sort()
}

function history(entries: readonly StreamEntry[]): PublicKeyHistory[] {
  const at = (type: string, kid: string) =>
    entries.find(({ event }) => event.type === type && event.data?.['kid'] === kid)?.at
  const keys = entries.reduce<Keys>((keys, { event }) => evolveKeys(keys, event), [])
  return keys.map((key) => {
    const retiredAt = at('signing-key.retired', key.kid)
    return { ...key, madeAt: at('signing-key.made', key.kid) ?? '', ...(retiredAt !== undefined && { retiredAt }) }
  })
}

async function readKeys(database: Pick<Database, 'reader'>, tenant: string): Promise<Keys> {
  const entries = await inTenant(database.reader, tenant, (tx) => readStream(tx, tenant, SIGNING_STREAM))
  return entries.reduce<Keys>((keys, { event }) => evolveKeys(keys, event), [])
}

const isCurrent = ({ status }: PublicKey): boolean => status === 'current'
