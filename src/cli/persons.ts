import { DomainError } from '../errors.js'
import { findSubject } from '../keyring/reveal.js'
import type { Identifier } from '../keyring/subjects.js'
import { host as hostPrincipal } from '../principal.js'
import type { Host } from './host.js'

/** Pseudonyms and services are names already; whatever else has a kind before its colon names a person. */
const REFERENCE = /^(?:person|service):[A-Za-z0-9._:@-]{1,121}$/
const IDENTIFIER = /^([a-z][a-z0-9-]{0,31}):(.+)$/s
/** The kinds by which people are known, beside those that a project or a bucket could have too. */
const PERSONAL_KINDS = /^(email|username|name|aws-[a-z-]+)$/

/** @throws DomainError USAGE when the word names nobody */
export function parseIdentifier(word: string): Identifier {
  const [, kind, value] = IDENTIFIER.exec(word) ?? []
  if (kind !== undefined && kind !== 'person' && kind !== 'service' && value !== undefined && /\S/.test(value)) {
    return { kind, value }
  }
  throw new DomainError(
    'USAGE',
    `${JSON.stringify(word)} names nobody: write a kind and a value, email:ada@example.org`,
  )
}

/**
 * Who is to act: a service as it is, a person by pseudonym. Who is named by something else and not known yet gets one.
 * @throws DomainError SUBJECT_UNKNOWN for a pseudonym that is nobody's; USAGE
 */
export async function principalOf({ deps }: Host, tenant: string, word: string): Promise<string> {
  if (word.startsWith('service:')) return word
  if (word.startsWith('person:')) {
    await deps.subjects.resolve(tenant, [word])
    return word
  }
  const identifier = parseIdentifier(word)
  const resolved = await deps.subjects.resolve(tenant, [identifier])
  return resolved.of(identifier).subject
}

/**
 * What stands in entries for somebody or something: people are looked up, which is on record, all else stays as it is.
 * @throws DomainError SUBJECT_UNKNOWN for who is not known
 */
export async function referenceOf(host: Host, tenant: string, word: string, reason: string): Promise<string> {
  if (word.startsWith('person:')) {
    await host.deps.subjects.resolve(tenant, [word])
    return word
  }
  const kind = IDENTIFIER.exec(word)?.[1]
  if (REFERENCE.test(word) || kind === undefined || !PERSONAL_KINDS.test(kind)) return word
  const { subject } = await findSubject(host.deps, hostPrincipal(tenant), { identifier: parseIdentifier(word), reason })
  if (subject === undefined) throw new DomainError('SUBJECT_UNKNOWN', `tenant ${tenant} knows nobody by that ${kind}`)
  return subject
}
