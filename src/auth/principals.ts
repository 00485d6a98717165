import { DomainError } from '../errors.js'
import type { Party } from '../ledger/event.js'
import { HOST, SERVICE } from '../principal.js'
import { linkedTo, ownersOf, personOf, type Access, type Registered } from './access.js'

const SERVICE_ID = /^service:[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/
const PERSON_ID = /^person:[A-Za-z0-9._:@-]{1,121}$/
/** The operator on the host, and this service itself: no token acts as them, and nobody registers them. */
const RESERVED = new Set<string>([HOST, SERVICE])

export interface Registration {
  readonly principal: string
  /** Who answers for a service; as it was where it is left out. */
  readonly owner?: string
}

export interface Link {
  readonly principal: string
  /** The person that it counts as. */
  readonly sameAs: string
}

/** @throws DomainError PRINCIPAL_INVALID, PRINCIPAL_RESERVED */
export function checkPrincipal(principal: string, pointer = '/principal'): void {
  if (!SERVICE_ID.test(principal) && !PERSON_ID.test(principal)) {
    throw new DomainError(
      'PRINCIPAL_INVALID',
      `${JSON.stringify(principal.slice(0, 80))} is no principal: name a person by pseudonym (person:…) or a service (service:billing)`,
      { pointer },
    )
  }
  if (RESERVED.has(principal)) {
    const who = principal === HOST ? 'the operator on the host' : 'this service itself'
    throw new DomainError('PRINCIPAL_RESERVED', `${principal} is ${who}: choose another name`, { pointer })
  }
}

export function kindOf(principal: string): Registered['kind'] {
  return principal.startsWith('person:') ? 'person' : 'service'
}

/** A principal as an event names it. */
export function partyOf(principal: string): Party {
  return { id: principal, type: kindOf(principal) === 'person' ? 'user' : 'service' }
}

/** @throws DomainError PRINCIPAL_UNKNOWN */
export function expectRegistered(access: Access, principal: string, pointer: string): Registered {
  const registered = access.principals[principal]
  if (registered) return registered
  throw new DomainError('PRINCIPAL_UNKNOWN', `${principal.slice(0, 160)} is not registered here`, { pointer })
}

/**
 * What a principal's record says once it is registered; registering who was disabled brings back the roles it has.
 * @returns undefined where it says so already
 * @throws DomainError PRINCIPAL_INVALID, PRINCIPAL_RESERVED, PRINCIPAL_UNKNOWN, PRINCIPAL_OWNER_INVALID
 */
export function registration(
  access: Access,
  { principal, owner }: Registration,
): Omit<Registered, 'version'> | undefined {
  checkPrincipal(principal)
  const before = access.principals[principal]
  const kind = kindOf(principal)
  if (owner !== undefined) {
    if (kind === 'person') throw ownerInvalid('a person answers for itself: only services have owners')
    expectRegistered(access, owner, '/owner')
    if (owner === principal || ownersOf(access, owner).includes(principal)) {
      throw ownerInvalid(`${principal} would answer for itself`)
    }
  }
  const kept = owner ?? before?.owner
  if (before && !before.disabled && before.owner === kept) return undefined
  return {
    kind,
    ...(kept !== undefined && { owner: kept }),
    ...(before?.sameAs !== undefined && { sameAs: before.sameAs }),
    roles: before?.roles ?? [],
  }
}

/**
 * Whether linking changes anything: two people who count as one already are left as they are.
 * @throws DomainError PRINCIPAL_UNKNOWN, PRINCIPAL_NOT_A_PERSON, PRINCIPAL_LINKED
 */
export function links(access: Access, { principal, sameAs }: Link): boolean {
  const linked = expectPerson(access, principal, '/principal').sameAs
  expectPerson(access, sameAs, '/sameAs')
  if (personOf(access, principal) === personOf(access, sameAs)) return false
  if (linked === undefined) return true
  const message = `${principal} counts as ${linked} already: unlink it first`
  throw new DomainError('PRINCIPAL_LINKED', message, { pointer: '/principal' })
}

/** Principals with those that count as the same person, and whoever answers for them: all who gain where they do. */
export function withPeople(access: Access, principals: readonly string[]): string[] {
  const all = principals.flatMap((each) => [each, ...ownersOf(access, each)])
  return [...new Set(all.flatMap((each) => linkedTo(access, each)))]
}

function expectPerson(access: Access, principal: string, pointer: string): Registered {
  const registered = expectRegistered(access, principal, pointer)
  if (registered.kind === 'person') return registered
  throw new DomainError('PRINCIPAL_NOT_A_PERSON', `${principal} is a service: only people are linked`, { pointer })
}

function ownerInvalid(message: string): DomainError {
  return new DomainError('PRINCIPAL_OWNER_INVALID', message, { pointer: '/owner' })
}
