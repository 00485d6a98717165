const WINDOW_MS = 60_000
/** Callers counted one by one; whoever comes beyond shares one count. */
const MAX_CALLERS = 100_000

/** Counts requests per caller in windows of a minute. It answers at once, so it costs a request next to nothing. */
export class RateLimit {
  private readonly perMinute: number
  private readonly now: () => number
  private counts = new Map<string, number>()
  private endsMs = 0

  constructor(perMinute: number, now: () => number = Date.now) {
    this.perMinute = perMinute
    this.now = now
  }

  /** Counts one request. @returns seconds to wait, 0 for a request within the limit */
  take(caller: string): number {
    this.turn()
    const key = this.keyOf(caller)
    const count = (this.counts.get(key) ?? 0) + 1
    this.counts.set(key, count)
    return count > this.perMinute ? this.wait() : 0
  }

  /** Whether the caller has used up its limit, without counting. @returns seconds to wait, 0 when it has not */
  spent(caller: string): number {
    this.turn()
    return (this.counts.get(this.keyOf(caller)) ?? 0) >= this.perMinute ? this.wait() : 0
  }

  private turn(): void {
    const now = this.now()
    if (now < this.endsMs && now >= this.endsMs - WINDOW_MS) return
    this.counts = new Map()
    this.endsMs = now + WINDOW_MS
  }

  private keyOf(caller: string): string {
    return this.counts.size < MAX_CALLERS || this.counts.has(caller) ? caller : 'others'
  }

  private wait(): number {
    return Math.max(1, Math.ceil((this.endsMs - this.now()) / 1000))
  }
}
