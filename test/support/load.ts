import { setTimeout as sleep } from 'node:timers/promises'
import type { AppenderProcess } from './appender-process.js'
import { Seeded } from './seeded.js'
import type { FoundEntry } from './verify-chain.js'

/** What a caller was told of an event, by its id. */
type Outcome =
  | { readonly told: 'acknowledged'; readonly tenant: string; readonly seq: number }
  /** Nothing was written, or so it was told. */
  | { readonly told: 'refused' }
  /** Nobody knows. */
  | { readonly told: 'nothing' }

export interface LoadCounts {
  readonly acknowledged: number
  readonly refused: number
  readonly unknown: number
}

/** Refusals after which a caller comes back. */
const passing = new Set(['STORE_UNAVAILABLE', 'OUTCOME_UNKNOWN', 'QUEUE_FULL', 'IDEMPOTENCY_IN_FLIGHT'])

let loads = 0

/**
 * Callers that keep several processes busy, every other one with idempotency keys: those repeat what they sent until they
 * know that it is there. It remembers what each was told, and holds the logs against that.
 */
export class Load {
  private readonly outcomes = new Map<string, Outcome>()
  private readonly codes = new Map<string, number>()
  private readonly name = `load${++loads}`
  private stopped = false
  private readonly callers: Promise<void>[]
  private landed = 0

  constructor(processes: readonly AppenderProcess[], tenants: readonly string[], callersEach = 8) {
    this.callers = processes.flatMap((process, p) =>
      Array.from({ length: callersEach }, (_, c) => this.call(process, tenants, p * callersEach + c)),
    )
  }

  /** Events acknowledged so far. */
  get acknowledged(): number {
    return this.landed
  }

  /** How often callers met this code. */
  met(code: string): number {
    return this.codes.get(code) ?? 0
  }

  /** Resolves when so many more events have been acknowledged. */
  async progress(events: number): Promise<void> {
    const goal = this.landed + events
    while (this.landed < goal) await sleep(5)
  }

  /** Lets all callers come to an end; those with keys until they are certain. */
  async stop(): Promise<void> {
    this.stopped = true
    await Promise.all(this.callers)
  }

  private async call(process: AppenderProcess, tenants: readonly string[], number: number): Promise<void> {
    const random = new Seeded(number)
    for (let n = 0; !this.stopped; n++) {
      const tenant = random.of(tenants)
      const ids = Array.from({ length: 1 + random.below(5) }, (_, k) => `${this.name}-${number} ${n} ${k}`)
      const events = ids.map((id) => ({ type: 'thing.happened', id, data: { text: 'x'.repeat(random.below(800)) } }))
      const key = `${this.name}-${number} ${n}`
      const idempotency = number % 2 === 0 ? { key, body: key } : undefined
      for (;;) {
        try {
          const receipt = await process.run('submit', { tenant, events, ...(idempotency && { idempotency }) })
          ids.forEach((id, k) => {
            const seq = receipt.repeated ? receipt.firstSeq + k : (receipt.entries[k]?.seq ?? -1)
            this.outcomes.set(id, { told: 'acknowledged', tenant, seq })
          })
          this.landed += ids.length
          break
        } catch (error) {
          const code = (error as { code?: string }).code ?? ''
          if (!passing.has(code)) throw error
          this.codes.set(code, this.met(code) + 1)
          await sleep(20)
          if (idempotency) continue
          for (const id of ids) this.outcomes.set(id, { told: code === 'OUTCOME_UNKNOWN' ? 'nothing' : 'refused' })
          break
        }
      }
    }
  }

  /**
   * Holds the logs against what callers were told: what was acknowledged is there, where it was said to be; what was
   * refused is not; nothing is there twice, and each submission whole or not at all.
   * @throws Error naming the first event that is not so
   */
  check(logs: ReadonlyMap<string, readonly FoundEntry[]>): LoadCounts {
    const places = new Map<string, { tenant: string; seq: number }>()
    for (const [tenant, entries] of logs) {
      for (const { seq, event } of entries) {
        const id = event['id']
        if (typeof id !== 'string' || !id.startsWith(`${this.name}-`)) continue
        if (places.has(id)) throw new Error(`event ${id} is there twice`)
        places.set(id, { tenant, seq })
      }
    }
    const counts = { acknowledged: 0, refused: 0, unknown: 0 }
    for (const [id, outcome] of this.outcomes) {
      const place = places.get(id)
      if (outcome.told === 'acknowledged') {
        counts.acknowledged++
        if (place?.tenant !== outcome.tenant || place.seq !== outcome.seq) {
          throw new Error(`event ${id} was acknowledged at ${outcome.seq}; found: ${JSON.stringify(place)}`)
        }
      } else if (outcome.told === 'refused') {
        counts.refused++
        if (place) throw new Error(`event ${id} was refused, and is there: ${JSON.stringify(place)}`)
      } else counts.unknown++
    }
    for (const id of places.keys()) {
      if (!this.outcomes.has(id)) throw new Error(`event ${id} is there, and nobody was told anything of it`)
    }
    return counts
  }
}
