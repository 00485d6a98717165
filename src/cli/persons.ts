import { DomainError } from '../errors.js'
import { findSubject } from '../keyring/reveal.js'
import type { Identifier } from '../keyring/subjects.js'
import { host as hostPrincipal } from '../principal.js'
import type { Host } from './host.js'

const PERSON = /^person:[0-9A-HJKMNP-TV-Z]{26}$/
const SERVICE = /^service:[A-Za-z0-9._@-]{1,120}$/
const IDENTIFIER = /^([a-z][a-z0-9-]{0,31}):(.+)$/s

/** Who is meant by a word of the command line: a pseudonym, a service, or a person by something that names them. */
export type Named = { readonly pseudonym: string } | { readonly service: string } | { readonly identifier: Identifier }

/** @throws DomainError USAGE when the word names nobody */
export function parseNamed(word: string): Named {
  if (PERSON.test(word)) return { pseudonym: word }
  if (SERVICE.test(word)) return { service: word }
  const [, kind, value] = IDENTIFIER.exec(word) ?? []
  if (kind === undefined || value === undefined || kind === 'person' || kind === 'service') {
    throw new DomainError(
      'USAGE',
      `${JSON.stringify(word)} names nobody: write service:billing, email:ada@example.org, or a pseudonym such as person:01J8Z3…`,
    )
  }
  return { identifier: { kind, value } }
}

/**
 * What stands in entries for somebody: pseudonyms and services as they are, people by their pseudonym if the tenant
 * knows them. Looking somebody up by name is on record.
 * @throws DomainError SUBJECT_UNKNOWN
 */
export async function referenceOf(host: Host, tenant: string, word: string, reason: string): Promise<string> {
  // What stands in entries is mostly no person: projects, buckets, files, with any characters.
  if (!/^(email|person):/.test(word)) return word
  const named = parseNamed(word)
  if ('service' in named) return named.service
  if ('pseudonym' in named) return expectKnown(host, tenant, named.pseudonym)
  const { subject } = await findSubject(host.deps, hostPrincipal(tenant), { identifier: named.identifier, reason })
  if (subject === undefined) {
    throw new DomainError('SUBJECT_UNKNOWN', `tenant ${tenant} knows nobody by that ${named.identifier.kind}`)
  }
  return subject
}

/** @throws DomainError SUBJECT_UNKNOWN */
export async function expectKnown({ deps }: Host, tenant: string, pseudonym: string): Promise<string> {
  await deps.subjects.resolve(tenant, [pseudonym])
  return pseudonym
}
