import { hash } from 'node:crypto'
import { DomainError } from '../errors.js'
import { canonicalize } from '../ledger/jcs.js'

/** Some of the people who have to agree. */
export interface ApproverGroup {
  readonly name: string
  /** So many of them; one person counts in one group only. */
  readonly count: number
  /** Whoever has one of these roles, by inheritance too. */
  readonly roles?: readonly string[]
  /** And these, by pseudonym. Without `roles` and `people`: whoever has the permission. */
  readonly people?: readonly string[]
}

/** What changes of one kind ask for. */
export interface Policy {
  /** All of them have to be met. */
  readonly groups: readonly ApproverGroup[]
  /** So many rejections close a change. */
  readonly denyQuorum: number
  /** How long votes may be waited for at most, in ms. */
  readonly ttlMs: number
  /** How long an approved change rests before it is applied, in ms; not longer than `ttlMs`. */
  readonly coolingOffMs: number
  readonly reasonRequired: boolean
}

export const HOUR_MS = 3_600_000
export const DAY_MS = 24 * HOUR_MS
/** How long a change may wait for votes unless said otherwise. */
export const DEFAULT_TTL_MS = 72 * HOUR_MS
export const MAX_TTL_MS = 90 * DAY_MS
const MIN_TTL_MS = 60_000
const MAX_GROUPS = 8
const MAX_COUNT = 16
const MAX_NAMED = 64

/** Two people, whoever may approve; one rejection closes. */
export const DEFAULT_POLICY: Policy = {
  groups: [{ name: 'approvers', count: 2 }],
  denyQuorum: 1,
  ttlMs: DEFAULT_TTL_MS,
  coolingOffMs: 0,
  reasonRequired: false,
}

const NAME = /^[a-z][a-z0-9-]{0,62}$/
const ROLE = /^(?:own:)?[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$/
const PERSON = /^person:[A-Za-z0-9._:@-]{1,121}$/

/**
 * Takes a value for a policy; what is left out is as in `DEFAULT_POLICY`.
 * @throws DomainError POLICY_INVALID
 */
export function checkPolicy(value: unknown, pointer = ''): Policy {
  const given = members(value, pointer, ['groups', 'denyQuorum', 'ttlMs', 'coolingOffMs', 'reasonRequired'])
  const ttlMs = whole(given['ttlMs'] ?? DEFAULT_POLICY.ttlMs, `${pointer}/ttlMs`, MIN_TTL_MS, MAX_TTL_MS)
  return {
    groups: checkGroups(given['groups'] ?? DEFAULT_POLICY.groups, `${pointer}/groups`),
    denyQuorum: whole(given['denyQuorum'] ?? DEFAULT_POLICY.denyQuorum, `${pointer}/denyQuorum`, 1, MAX_COUNT),
    ttlMs,
    coolingOffMs: whole(given['coolingOffMs'] ?? DEFAULT_POLICY.coolingOffMs, `${pointer}/coolingOffMs`, 0, ttlMs),
    reasonRequired: flag(given['reasonRequired'] ?? DEFAULT_POLICY.reasonRequired, `${pointer}/reasonRequired`),
  }
}

/** SHA-256 of the policy's canonical JSON, 64 hex digits: what a vote names. */
export function policyHash(policy: Policy): string {
  return hash('sha256', canonicalize(policy), 'hex')
}

function checkGroups(value: unknown, pointer: string): ApproverGroup[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_GROUPS) {
    throw invalid(pointer, `a policy has 1 to ${MAX_GROUPS} groups`)
  }
  const groups = value.map((each: unknown, n) => checkGroup(each, `${pointer}/${n}`))
  if (new Set(groups.map(({ name }) => name)).size < groups.length) throw invalid(pointer, 'two groups share a name')
  return groups
}

function checkGroup(value: unknown, pointer: string): ApproverGroup {
  const { name, count, roles, people } = members(value, pointer, ['name', 'count', 'roles', 'people'])
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw invalid(`${pointer}/name`, 'a group is named with a-z, 0-9 and -, a letter first, at most 63')
  }
  return {
    name,
    count: whole(count, `${pointer}/count`, 1, MAX_COUNT),
    ...(roles !== undefined && { roles: names(roles, `${pointer}/roles`, ROLE, 'roles') }),
    ...(people !== undefined && { people: names(people, `${pointer}/people`, PERSON, 'people by pseudonym') }),
  }
}

function members(value: unknown, pointer: string, known: readonly string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(pointer, 'this must be an object')
  for (const name of Object.keys(value)) {
    if (!known.includes(name)) throw invalid(pointer, `${JSON.stringify(name)} is none of ${known.join(', ')}`)
  }
  return value as Record<string, unknown>
}

function whole(value: unknown, pointer: string, least: number, most: number): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most) return value
  throw invalid(pointer, `this must be a whole number from ${least} to ${most}`)
}

function flag(value: unknown, pointer: string): boolean {
  if (typeof value === 'boolean') return value
  throw invalid(pointer, 'this must be true or false')
}

function names(value: unknown, pointer: string, grammar: RegExp, what: string): string[] {
  const given: unknown[] = Array.isArray(value) ? value : []
  const texts = given.filter((each): each is string => typeof each === 'string' && grammar.test(each))
  if (texts.length === 0 || texts.length < given.length || texts.length > MAX_NAMED) {
    throw invalid(pointer, `this must list 1 to ${MAX_NAMED} ${what}`)
  }
  return [...new Set(texts)].sort()
}

function invalid(pointer: string, message: string): DomainError {
  return new DomainError('POLICY_INVALID', message, { pointer })
}
