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
const MAX_KEYS = 10_000

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
    const { by, route, code, permission } = denial
    const key = JSON.stringify([by?.tenant, by?.id, by?.via, route, code, permission])
    const repeats = this.repeats.get(key)
    if (repeats) {
      repeats.count++
      return
    }
    if (this.repeats.size >= MAX_KEYS) return this.record({ route: 'any', code })
    this.repeats.set(key, { denial, count: 0 })
    this.write(denial, 1)
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      this.end(key)
    }, this.windowMs)
    timer.unref()
    this.timers.add(timer)
  }

  /** Writes the counts there are, and waits until all is on record. */
  async close(): Promise<void> {
    for (const timer of this.timers) clearTimeout(timer)
    this.timers.clear()
    for (const key of this.repeats.keys()) this.end(key)
    await Promise.all(this.writing)
  }

  private end(key: string): void {
    const repeats = this.repeats.get(key)
    this.repeats.delete(key)
    if (repeats && repeats.count > 0) this.write(repeats.denial, repeats.count)
  }

  private write(denial: Denial, count: number): void {
    const written = this.append(denial, count).catch(this.onTrouble)
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
