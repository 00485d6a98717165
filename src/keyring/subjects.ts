import { createHmac, randomBytes } from 'node:crypto'
import { sql } from 'kysely'
import { inTenant, type Database, type Tx } from '../db/database.js'
import { DomainError } from '../errors.js'
import { tenantUnknown } from '../ledger/errors.js'
import { canonicalBytes, canonicalize } from '../ledger/jcs.js'
import { ulid } from '../ledger/ulid.js'
import type { Installation } from './installation.js'
import { encrypt, unwrapKey, wrapKey } from './wrap.js'

/** Something that names a person: an e-mail address, a user name, an ARN. */
export interface Identifier {
  readonly kind: string
  readonly value: string
}

export interface SubjectKey {
  /** `person:<ULID>` */
  readonly subject: string
  readonly generation: number
  /** 32 bytes. */
  readonly key: Buffer
}

/** Who is meant: by identifier, or by pseudonym. */
export type PersonRef = Identifier | string

export interface Resolved {
  /** The tenant's key epoch, read before the keys. */
  readonly epoch: number
  /** @throws DomainError SUBJECT_ERASED for a pseudonym whose key was destroyed */
  readonly of: (ref: PersonRef) => SubjectKey
}

/** A pseudonym that is nobody's. */
export class SubjectUnknown extends DomainError {
  readonly subject: string

  constructor(subject: string) {
    super(
      'SUBJECT_UNKNOWN',
      `${subject} is nobody this tenant knows: name the person by {kind, value}, or use a pseudonym from an answer`,
    )
    this.subject = subject
  }
}

/** A pseudonym that outlived its key: it may still be named, nothing can be sealed for it. */
type Known = SubjectKey | 'erased'

/** Version of the normalisation below; it is part of every HMAC. */
const NORMALISATION = 1

/** Two spellings of one identifier: surrounding white space, composed characters, and the case of e-mail addresses. */
export function normalise({ kind, value }: Identifier): string {
  const text = value.normalize('NFC').trim()
  return kind === 'email' ? text.toLowerCase() : text
}

function refKey(ref: PersonRef): string {
  return typeof ref === 'string' ? ref : `${ref.kind} ${normalise(ref)}`
}

/** Keys of this many persons stay unwrapped in memory. */
const CACHED_PERSONS = 20_000

/**
 * Finds and makes the pseudonyms and keys of persons. What it remembers is stamped with the key epoch it was read under:
 * the log refuses what was sealed under an older one, and `forget` makes room for the new.
 */
export class Subjects {
  private readonly database: Database
  private readonly installation: Installation
  private readonly tenants = new Map<string, { epoch: number; indexKey: Buffer; persons: Map<string, Known> }>()
  private cached = 0

  constructor(database: Database, installation: Installation) {
    this.database = database
    this.installation = installation
  }

  /** Drops what is remembered of a tenant, after its keys changed. */
  forget(tenant: string): void {
    this.cached -= this.tenants.get(tenant)?.persons.size ?? 0
    this.tenants.delete(tenant)
  }

  /**
   * The keys of all these persons; who is new gets a pseudonym and a key, committed before this returns.
   * @param beforeMaking called where somebody may be new; nobody is made when it throws
   * @throws SubjectUnknown for the first pseudonym that is nobody's; nobody is made then
   */
  async resolve(tenant: string, refs: readonly PersonRef[], beforeMaking?: () => void): Promise<Resolved> {
    const known = this.tenants.get(tenant)
    if (!known || refs.some((ref) => !known.persons.has(refKey(ref)))) {
      beforeMaking?.()
      await this.learn(tenant, refs)
    }
    const now = this.tenants.get(tenant)
    if (!now) throw new Error(`nothing is known of tenant ${tenant}`)
    const keys = new Map(refs.map((ref) => [refKey(ref), now.persons.get(refKey(ref))]))
    return {
      epoch: now.epoch,
      of: (ref) => {
        const key = keys.get(refKey(ref))
        if (!key) throw new Error('a person that was not asked for')
        if (key === 'erased') {
          throw new DomainError(
            'SUBJECT_ERASED',
            `the key of ${typeof ref === 'string' ? ref : 'this person'} was destroyed: nothing can be sealed for them`,
          )
        }
        return key
      },
    }
  }

  /** The pseudonym of a known person; nobody is made. */
  async find(tenant: string, identifier: Identifier): Promise<string | undefined> {
    return inTenant(this.database.keyring, tenant, async (tx) => {
      const indexKey = await this.indexKey(tx, tenant)
      const row = await tx
        .selectFrom('identifiers')
        .select('subject')
        .where('tenant', '=', tenant)
        .where('hmac', '=', identifierHmac(indexKey, identifier))
        .executeTakeFirst()
      return row?.subject
    })
  }

  /** A pseudonym with a key and no identifier, for a record about somebody who is not known. */
  async create(tenant: string): Promise<SubjectKey> {
    return inTenant(this.database.keyring, tenant, (tx) => this.make(tx, tenant))
  }

  private async learn(tenant: string, refs: readonly PersonRef[]): Promise<void> {
    const learned = await inTenant(this.database.keyring, tenant, async (tx) => {
      // The epoch first: a key destroyed after it was read raises it, and what was sealed in between is sent back.
      const head = await tx.selectFrom('heads').select('key_epoch').where('tenant', '=', tenant).executeTakeFirst()
      if (!head) throw tenantUnknown(tenant)
      const indexKey = await this.indexKey(tx, tenant)
      return { epoch: head.key_epoch, indexKey, persons: await this.learnPersons(tx, tenant, indexKey, refs) }
    })
    const before = this.tenants.get(tenant)
    if (this.cached > CACHED_PERSONS) this.forgetAll()
    if (before?.epoch === learned.epoch && this.tenants.has(tenant)) {
      for (const [ref, key] of learned.persons) before.persons.set(ref, key)
    } else {
      this.forget(tenant)
      this.tenants.set(tenant, learned)
    }
    this.cached += learned.persons.size
  }

  private forgetAll(): void {
    this.tenants.clear()
    this.cached = 0
  }

  private async learnPersons(
    tx: Tx,
    tenant: string,
    indexKey: Buffer,
    refs: readonly PersonRef[],
  ): Promise<Map<string, Known>> {
    const identifiers = new Map<string, { hmac: Buffer; identifier: Identifier }>()
    for (const ref of refs) {
      if (typeof ref !== 'string')
        identifiers.set(refKey(ref), { hmac: identifierHmac(indexKey, ref), identifier: ref })
    }
    let found = await this.subjectsOf(tx, tenant, identifiers)
    if (found.size < identifiers.size) {
      // Of two that meet the same new person, the second waits here and then finds what the first has made.
      await sql`select pg_advisory_xact_lock(hashtextextended(${`countersign subjects ${tenant}`}, 0))`.execute(tx)
      found = await this.subjectsOf(tx, tenant, identifiers)
      for (const [ref, { hmac, identifier }] of identifiers) {
        if (!found.has(ref)) found.set(ref, await this.makeIdentified(tx, tenant, hmac, identifier))
      }
    }
    const pseudonyms = refs.filter((ref) => typeof ref === 'string')
    const keys = await this.keysOf(tx, tenant, [...new Set([...found.values(), ...pseudonyms])])
    const keyOf = (subject: string): Known => {
      const key = keys.get(subject)
      if (!key) throw new Error(`subject ${subject} has no key`)
      return key
    }
    return new Map([
      ...[...found].map(([ref, subject]): [string, Known] => [ref, keyOf(subject)]),
      ...pseudonyms.map((subject): [string, Known] => [subject, keyOf(subject)]),
    ])
  }

  private async subjectsOf(
    tx: Tx,
    tenant: string,
    identifiers: ReadonlyMap<string, { hmac: Buffer }>,
  ): Promise<Map<string, string>> {
    if (identifiers.size === 0) return new Map()
    const rows = await tx
      .selectFrom('identifiers')
      .select(['hmac', 'subject'])
      .where('tenant', '=', tenant)
      .where(
        'hmac',
        'in',
        [...identifiers.values()].map(({ hmac }) => hmac),
      )
      .execute()
    const subjects = new Map(rows.map((row) => [row.hmac.toString('hex'), row.subject]))
    const found = new Map<string, string>()
    for (const [ref, { hmac }] of identifiers) {
      const subject = subjects.get(hmac.toString('hex'))
      if (subject !== undefined) found.set(ref, subject)
    }
    return found
  }

  private async makeIdentified(tx: Tx, tenant: string, hmac: Buffer, identifier: Identifier): Promise<string> {
    const { subject, generation, key } = await this.make(tx, tenant)
    const sealed = encrypt(key, Buffer.from(normalise(identifier)), identifierData(tenant, subject, identifier.kind))
    await tx
      .insertInto('identifiers')
      .values({ tenant, hmac, subject, kind: identifier.kind, generation, sealed })
      .execute()
    return subject
  }

  private async make(tx: Tx, tenant: string): Promise<SubjectKey> {
    const made = { subject: `person:${ulid()}`, generation: 1, key: randomBytes(32) }
    const { subject, generation, key } = made
    const wrapped = wrapKey(this.installation, { tenant, purpose: 'subject', id: subject, generation }, key)
    await tx.insertInto('subjects').values({ tenant, subject, erased_seq: null }).execute()
    await tx.insertInto('subject_keys').values({ tenant, subject, generation, wrapped }).execute()
    return made
  }

  /** The newest key of each subject. */
  private async keysOf(tx: Tx, tenant: string, subjects: readonly string[]): Promise<Map<string, Known>> {
    if (subjects.length === 0) return new Map()
    const rows = await tx
      .selectFrom('subjects')
      .leftJoin('subject_keys', (join) =>
        join
          .onRef('subject_keys.tenant', '=', 'subjects.tenant')
          .onRef('subject_keys.subject', '=', 'subjects.subject'),
      )
      .select(['subjects.subject', 'generation', 'wrapped'])
      .where('subjects.tenant', '=', tenant)
      .where('subjects.subject', 'in', subjects)
      .orderBy('generation')
      .execute()
    const known = new Set(rows.map((row) => row.subject))
    const unknown = subjects.find((subject) => !known.has(subject))
    if (unknown !== undefined) throw new SubjectUnknown(unknown)
    const keys = new Map<string, Known>()
    for (const { subject, generation, wrapped } of rows) {
      if (generation === null || wrapped === null) {
        keys.set(subject, 'erased')
        continue
      }
      const name = { tenant, purpose: 'subject', id: subject, generation } as const
      keys.set(subject, { subject, generation, key: unwrapKey(this.installation, name, wrapped) })
    }
    return keys
  }

  private async indexKey(tx: Tx, tenant: string): Promise<Buffer> {
    const known = this.tenants.get(tenant)?.indexKey
    if (known) return known
    const row = await tx
      .selectFrom('tenant_keys')
      .select(['generation', 'wrapped'])
      .where('tenant', '=', tenant)
      .where('purpose', '=', 'index')
      .orderBy('generation', 'desc')
      .limit(1)
      .executeTakeFirst()
    if (!row) throw tenantUnknown(tenant)
    const name = { tenant, purpose: 'index', id: tenant, generation: row.generation } as const
    return unwrapKey(this.installation, name, row.wrapped)
  }
}

/** HMAC-SHA-256 under the tenant's own index key: it finds a person without telling who it is. */
function identifierHmac(indexKey: Buffer, identifier: Identifier): Buffer {
  const bytes = canonicalBytes([NORMALISATION, identifier.kind, normalise(identifier)])
  return createHmac('sha256', indexKey).update(bytes).digest()
}

function identifierData(tenant: string, subject: string, kind: string): string {
  return canonicalize(['identifier', NORMALISATION, tenant, subject, kind])
}
