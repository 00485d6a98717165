import { sql, type RawBuilder } from 'kysely'
import { DomainError } from '../errors.js'
import { MAX_TYPE_BYTES, TYPE } from './check-event.js'
import { instantMs, instantUs, timeFault } from './rfc3339.js'
import { timestamptzParameter } from './wire.js'

/** Which entries of a log; absent members do not narrow, and all that are given must hold. */
export interface EntryFilter {
  /** An event type, or all below a prefix: `role.*`. */
  readonly type?: string
  readonly actor?: string
  /** Any of the entry's targets. */
  readonly target?: string
  /** A person that the entry concerns: acting, acted on, or with personal data sealed in it. */
  readonly subject?: string
  readonly stream?: string
  readonly outcome?: string
  /** Both ends included. */
  readonly fromSeq?: number
  readonly toSeq?: number
  /** Recorded time, RFC 3339: from this instant on, up to before that one. */
  readonly from?: string
  readonly to?: string
  /** The same of the time that the caller claims; entries without one are left out. */
  readonly occurredFrom?: string
  readonly occurredTo?: string
}

const texts = ['type', 'actor', 'target', 'subject', 'stream', 'outcome'] as const
const places = ['fromSeq', 'toSeq'] as const
const times = ['from', 'to', 'occurredFrom', 'occurredTo'] as const
const ranges = [
  ['fromSeq', 'toSeq'],
  ['from', 'to'],
  ['occurredFrom', 'occurredTo'],
] as const

const PREFIX = /^(?:[A-Za-z0-9_-]+\.)+\*$/

/** @throws DomainError FILTER_INVALID, RANGE_INVALID */
export function checkFilter(filter: EntryFilter): void {
  for (const name of texts) {
    const text = filter[name]
    if (text === '') {
      throw new DomainError('FILTER_INVALID', `${name} is empty: leave it out, or say which`, { pointer: `/${name}` })
    }
    // The database has no form for these.
    if (text !== undefined && /\0|\p{Cs}/u.test(text)) {
      throw new DomainError('FILTER_INVALID', `${name} holds U+0000 or half a character`, { pointer: `/${name}` })
    }
  }
  const { type } = filter
  if (type !== undefined && !(type.length <= MAX_TYPE_BYTES + 2 && (TYPE.test(type) || PREFIX.test(type)))) {
    throw new DomainError(
      'FILTER_INVALID',
      `type ${JSON.stringify(type)} is neither an event type such as role.granted nor a prefix such as role.*`,
      { pointer: '/type' },
    )
  }
  for (const name of places) {
    const value = filter[name]
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 0)) {
      throw new DomainError('RANGE_INVALID', `${name} is no place in a log: a whole number from 0 on`, {
        pointer: `/${name}`,
      })
    }
  }
  for (const name of times) {
    const fault = filter[name] === undefined ? undefined : timeFault(filter[name])
    if (fault !== undefined) throw new DomainError('RANGE_INVALID', `${name} ${fault}`, { pointer: `/${name}` })
  }
  for (const [from, to] of ranges) {
    const [first, last] = [filter[from], filter[to]]
    if (first !== undefined && last !== undefined && valueOf(first) > valueOf(last)) {
      throw new DomainError('RANGE_INVALID', `${from} lies behind ${to}: nothing lies between them`, {
        pointer: `/${from}`,
      })
    }
  }
}

const valueOf = (end: string | number): number => (typeof end === 'number' ? end : instantMs(end))

/** Whether only the index can answer. Times do not count: they are a range of seq, looked up beforehand. */
export function needsIndex({ type, actor, target, subject, stream, outcome, ...rest }: EntryFilter): boolean {
  const { occurredFrom, occurredTo } = rest
  return [type, actor, target, subject, stream, outcome, occurredFrom, occurredTo].some((value) => value !== undefined)
}

/** A range of seq, both ends included; empty where `first` is greater than `last`. */
export interface SeqRange {
  readonly first: number
  readonly last: number
}

/**
 * The places that an indexed filter finds in a range, in order, at most `count` of them. What the row security of
 * tables lets pass before it has checked the tenant is leakproof operators alone, so all of these are: =, <, >=.
 */
export function indexedPlaces(
  tenant: string,
  filter: EntryFilter,
  { first, last }: SeqRange,
  order: 'asc' | 'desc',
  count: number,
): RawBuilder<{ seq: number }> {
  const tables: RawBuilder<unknown>[] = []
  const conditions: RawBuilder<unknown>[] = []
  const add = (table: string, name: string): void => {
    const at = sql.ref(`${name}.seq`)
    tables.push(sql`${sql.table(table)} as ${sql.table(name)}`)
    conditions.push(sql`${sql.ref(`${name}.tenant`)} = ${tenant}`, sql`${at} >= ${first}`, sql`${at} <= ${last}`)
    if (tables.length > 1) conditions.push(sql`${at} = ${sql.ref(`${lead}.seq`)}`)
  }
  const roles = (['actor', 'target', 'subject'] as const).filter((role) => filter[role] !== undefined)
  const columns = columnConditions(filter)
  const lead = columns.length > 0 ? 'i' : (roles[0] ?? 'i')
  if (lead === 'i') {
    add('entry_index', 'i')
    conditions.push(...columns)
  }
  for (const role of roles) {
    add('entry_refs', role)
    conditions.push(sql`${sql.ref(`${role}.reference`)} = ${filter[role]}`, sql`${sql.ref(`${role}.role`)} = ${role}`)
  }
  const seq = sql.ref(`${lead}.seq`)
  return sql`select ${seq} as seq from ${sql.join(tables)} where ${sql.join(conditions, sql` and `)}
    order by ${seq} ${sql.raw(order)} limit ${count}`
}

/** The conditions on columns of `entry_index as i`; none where the filter names none of them. */
export function columnConditions({
  type,
  stream,
  outcome,
  occurredFrom,
  occurredTo,
}: EntryFilter): RawBuilder<unknown>[] {
  const conditions: RawBuilder<unknown>[] = []
  if (type?.endsWith('.*')) {
    const prefix = type.slice(0, -1)
    // The character behind the dot opens the first name that no longer has the prefix, in the order of bytes.
    conditions.push(sql`i.type >= ${prefix}`, sql`i.type < ${`${prefix.slice(0, -1)}/`}`)
  } else if (type !== undefined) conditions.push(sql`i.type = ${type}`)
  if (stream !== undefined) conditions.push(sql`i.stream = ${stream}`)
  if (outcome !== undefined) conditions.push(sql`i.outcome = ${outcome}`)
  if (occurredFrom !== undefined) conditions.push(sql`i.occurred_at >= ${instantParameter(occurredFrom)}`)
  if (occurredTo !== undefined) conditions.push(sql`i.occurred_at < ${instantParameter(occurredTo)}`)
  return conditions
}

/** An instant as a parameter; what is finer than a microsecond is cut off, as it is in the index. */
export const instantParameter = (time: string): Buffer => timestamptzParameter(instantUs(time))
