import type { Appender } from '../ledger/appender.js'
import { CountedRecords, type Countable } from '../ledger/counted-records.js'
import { host, SYSTEM_TENANT, type Principal } from '../principal.js'

export interface Denial {
  /** Absent where there was no valid credential: those go to the operator's log, counted per route. */
  readonly by?: Principal | undefined
  /** Method and pattern, never the address as it was sent. */
  readonly route: string
  /** The code of the problem that was answered. */
  readonly code: string
  readonly permission?: string | undefined
}

const ANY = 'any'

/** Puts denials on record, repeats of one kind within a minute as one entry with their count. */
export class Denials {
  private readonly records: CountedRecords

  constructor(
    appender: Pick<Appender, 'submit'>,
    options: { onTrouble?: (error: unknown) => void; windowMs?: number } = {},
  ) {
    this.records = new CountedRecords(appender, options)
  }

  record(denial: Denial): void {
    this.records.record(countable(denial))
  }

  /** Writes the counts there are, and waits until all is on record. */
  async close(): Promise<void> {
    await this.records.close()
  }
}

function countable({ by: caller, route, code, permission }: Denial): Countable {
  return {
    by: caller ?? host(SYSTEM_TENANT),
    key: JSON.stringify([caller?.tenant, caller?.id, caller?.via, route, code, permission]),
    overflow: () => countable({ route: ANY, code }),
    event: {
      type: 'access.denied',
      outcome: 'denied',
      reason: code,
      data: { route, ...(permission !== undefined && { permission }) },
      ...(caller && { actor: { id: caller.id, type: caller.id.startsWith('person:') ? 'user' : 'service' } }),
    },
  }
}
