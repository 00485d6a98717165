import type { Appender } from '../ledger/appender.js'
import { prepare } from '../ledger/prepare.js'
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

interface Repeats {
  readonly denial: Denial
  count: number
}

const WINDOW_MS = 60_000
/** Kinds of denials counted at once; whatever is beyond them is counted as one. */
const MAX_KEYS = 10_000
const ANY = 'any'

/**
 * Puts denials on record. The first of its kind becomes an entry at once; repeats within the following minute become one
 * entry with their count, so that nobody can grow a log by being refused.
 */
export class Denials {
  private readonly appender: Pick<Appender, 'submit'>
  private readonly onTrouble: (error: unknown) => void
  private readonly windowMs: number
  private readonly repeats = new Map<string, Repeats>()
  private readonly timers = new Set<NodeJS.Timeout>()
  private closing = false
  private readonly writing = new Set<Promise<void>>()

  constructor(
    appender: Pick<Appender, 'submit'>,
    {
      onTrouble = () => undefined,
      windowMs = WINDOW_MS,
    }: { onTrouble?: (error: unknown) => void; windowMs?: number } = {},
  ) {
    this.appender = appender
    this.onTrouble = onTrouble
    this.windowMs = windowMs
  }

  record(denial: Denial): void {
    const { code } = denial
    const key = keyOf(denial)
    const repeats = this.repeats.get(key)
    if (repeats) {
      repeats.count++
      return
    }
    if (this.repeats.size >= MAX_KEYS && denial.route !== ANY) {
      this.record({ route: ANY, code })
      return
    }
    this.open(key, { denial, count: 0 })
    this.write(denial, 1)
  }

  /** Writes the counts there are, and waits until all is on record. */
  async close(): Promise<void> {
    this.closing = true
    for (const timer of this.timers) clearTimeout(timer)
    this.timers.clear()
    for (const key of this.repeats.keys()) this.end(key)
    await Promise.all(this.writing)
  }

  private open(key: string, repeats: Repeats): void {
    this.repeats.set(key, repeats)
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      this.end(key)
    }, this.windowMs)
    timer.unref()
    this.timers.add(timer)
  }

  /** What could not be written is counted with what comes, and tried again at the window's end. */
  private keep(denial: Denial, count: number): void {
    if (this.closing) return
    const key = keyOf(denial)
    const repeats = this.repeats.get(key)
    if (repeats) repeats.count += count
    else this.open(key, { denial, count })
  }

  private end(key: string): void {
    const repeats = this.repeats.get(key)
    this.repeats.delete(key)
    if (repeats && repeats.count > 0) this.write(repeats.denial, repeats.count)
  }

  private write(denial: Denial, count: number): void {
    const written = this.append(denial, count).catch((error: unknown) => {
      this.onTrouble(error)
      this.keep(denial, count)
    })
    this.writing.add(written)
    void written.finally(() => this.writing.delete(written))
  }

  private async append({ by: caller, route, code, permission }: Denial, count: number): Promise<void> {
    const by = caller ?? host(SYSTEM_TENANT)
    const event = {
      type: 'access.denied',
      outcome: 'denied' as const,
      reason: code,
      data: { count, route, ...(permission !== undefined && { permission }) },
      ...(caller && { actor: { id: caller.id, type: caller.id.startsWith('person:') ? 'user' : 'service' } }),
    }
    await this.appender.submit({ tenant: by.tenant, by: by.id, via: by.via, events: [prepare(event, { by }, 0)] })
  }
}

function keyOf({ by, route, code, permission }: Denial): string {
  return JSON.stringify([by?.tenant, by?.id, by?.via, route, code, permission])
}
