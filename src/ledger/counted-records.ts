import type { Principal } from '../principal.js'
import type { Appender } from './appender.js'
import type { LeafEvent } from './event.js'
import { prepare } from './prepare.js'

export interface Countable {
  readonly by: Principal
  /** What is put on record; `data.count` is added. */
  readonly event: LeafEvent
  /** What tells kinds apart: two of one kind have the same event. */
  readonly key: string
  /** What stands for it once there are too many kinds; one that is its own `overflow` is never refused. */
  readonly overflow: () => Countable
}

interface Repeats {
  readonly first: Countable
  count: number
}

const WINDOW_MS = 60_000
/** Kinds counted at once; whatever is beyond them is counted as its overflow. */
const MAX_KEYS = 10_000

/**
 * Puts on record what anybody can cause as often as they like. The first of its kind becomes an entry at once; repeats
 * within the following minute become one entry with their count, so that nobody can grow a log by being refused.
 */
export class CountedRecords {
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

  record(countable: Countable): void {
    const repeats = this.repeats.get(countable.key)
    if (repeats) {
      repeats.count++
      return
    }
    if (this.repeats.size >= MAX_KEYS) {
      const overflow = countable.overflow()
      if (overflow.key !== countable.key) {
        this.record(overflow)
        return
      }
    }
    this.open({ first: countable, count: 0 })
    this.write(countable, 1)
  }

  /** Writes the counts there are, and waits until all is on record. */
  async close(): Promise<void> {
    this.closing = true
    for (const timer of this.timers) clearTimeout(timer)
    this.timers.clear()
    for (const key of this.repeats.keys()) this.end(key)
    await Promise.all(this.writing)
  }

  private open(repeats: Repeats): void {
    const { key } = repeats.first
    this.repeats.set(key, repeats)
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      this.end(key)
    }, this.windowMs)
    timer.unref()
    this.timers.add(timer)
  }

  /** What could not be written is counted with what comes, and tried again at the window's end. */
  private keep(countable: Countable, count: number): void {
    if (this.closing) return
    const repeats = this.repeats.get(countable.key)
    if (repeats) repeats.count += count
    else this.open({ first: countable, count })
  }

  private end(key: string): void {
    const repeats = this.repeats.get(key)
    this.repeats.delete(key)
    if (repeats && repeats.count > 0) this.write(repeats.first, repeats.count)
  }

  private write(countable: Countable, count: number): void {
    const written = this.append(countable, count).catch((error: unknown) => {
      this.onTrouble(error)
      this.keep(countable, count)
    })
    this.writing.add(written)
    void written.finally(() => this.writing.delete(written))
  }

  private async append({ by, event }: Countable, count: number): Promise<void> {
    const counted = { ...event, data: { ...event.data, count } }
    await this.appender.submit({ tenant: by.tenant, by: by.id, via: by.via, events: [prepare(counted, { by }, 0)] })
  }
}
