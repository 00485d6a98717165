import { DomainError } from '../errors.js'

/** Another writer extended the stream first. Nothing was written: load, decide and append again. */
export class StreamVersionConflict extends DomainError {
  override readonly name = 'StreamVersionConflict'
  constructor(stream: string, expected: number, actual: number) {
    super('LEDGER_STREAM_VERSION_CONFLICT', `stream ${stream} is at version ${actual}, not ${expected}`)
  }
}

/**
 * Keys of this tenant changed after the submission was sealed. Nothing was written: look its subjects up and seal again.
 */
export class KeyEpochMoved extends DomainError {
  override readonly name = 'KeyEpochMoved'
  constructor(tenant: string, sealedUnder: number, now: number) {
    super('KEY_EPOCH_MOVED', `tenant ${tenant} is at key epoch ${now}; this was sealed under ${sealedUnder}`)
  }
}

export function tenantUnknown(tenant: string): DomainError {
  return new DomainError('TENANT_UNKNOWN', `there is no tenant ${tenant}`)
}

export function sourceMoved(source: string, after: string | null, stands: string | undefined): DomainError {
  return new DomainError(
    'SOURCE_MOVED',
    `source ${source} stands at ${stands ?? 'its beginning'}, not at ${after ?? 'its beginning'}: read its position and go on from there; nothing was written`,
  )
}

/** SQLSTATE of `ledger_clock_is_ahead`, one of our own. */
export const CLOCK_AHEAD = 'CS001'

export const clockAhead = (): DomainError =>
  new DomainError('CLOCK_AHEAD', "this server's clock is more than 5 s ahead of the database's; nothing was written", {
    retryAfterS: 5,
  })

export const storeUnavailable = (): DomainError =>
  new DomainError('STORE_UNAVAILABLE', 'the database cannot be reached or cannot write now; nothing was written', {
    retryAfterS: 2,
  })

export const outcomeUnknown = (): DomainError =>
  new DomainError(
    'OUTCOME_UNKNOWN',
    'the connection was lost while writing and the database cannot be asked yet: send it again with the same Idempotency-Key',
    { retryAfterS: 2 },
  )
