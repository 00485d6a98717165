import { createHash } from 'node:crypto'
import { DomainError } from '../errors.js'
import type { EntryFilter } from './filter.js'
import { canonicalize } from './jcs.js'

export type Order = 'asc' | 'desc'

/** What a page was asked for: a cursor goes on with the same question only. */
export interface Question {
  readonly tenant: string
  readonly filter: EntryFilter
  readonly order: Order
}

const VERSION = 1

/** An opaque cursor behind the entry `seq`. The digest is no secret: it catches mix-ups, not attacks, which gain nothing. */
export function writeCursor(question: Question, seq: number): string {
  return Buffer.from(JSON.stringify([VERSION, seq, digestOf(question, seq)])).toString('base64url')
}

/** @returns the seq that the page starts behind. @throws DomainError CURSOR_INVALID */
export function readCursor(question: Question, cursor: string): number {
  const seq = seqIn(cursor)
  if (seq === undefined || writeCursor(question, seq) !== cursor) {
    throw new DomainError(
      'CURSOR_INVALID',
      'this cursor is not one of this query: send it as it came, with the same filter and order, or start without one',
      { pointer: '/cursor' },
    )
  }
  return seq
}

function seqIn(cursor: string): number | undefined {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(cursor, 'base64url').toString())
  } catch {
    return undefined
  }
  const seq: unknown = Array.isArray(value) ? value[1] : undefined
  return typeof seq === 'number' && Number.isSafeInteger(seq) && seq >= 0 ? seq : undefined
}

function digestOf({ tenant, filter, order }: Question, seq: number): string {
  const given = Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined))
  return createHash('sha256')
    .update(canonicalize([tenant, given, order, seq]))
    .digest('base64url')
    .slice(0, 22)
}
