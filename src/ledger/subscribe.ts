import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { sql } from 'kysely'
import type { Database, Tx } from '../db/database.js'
import type { EntriesListener } from './listen.js'
import { claim, enrol, lagOf, LeaseLost, move, release, renew } from './subscriptions.js'
import type { Bounds, Lease, LeasedSlice, Slice } from './subscriptions.js'

/** Who follows all logs, each in order, every entry once. */
export interface Consumer {
  /** Names its cursors; at most one process at a time follows a log under it. */
  readonly name: string
  /** Only entries of these types; undefined for all. */
  readonly types?: readonly string[]
  /** Only entries that may stand in a stream, and of their leaves only the ends: see `Wanted`. */
  readonly streams?: true
  /**
   * What happens outside the database, before the cursor moves: tenants side by side, one slice each. After a crash or a
   * lost lease it happens again, so it must bear repeating. All wait for the slowest, so who is slow stops early.
   * @returns the seq to go on from, where it did not come to the end of the slice
   */
  readonly act?: (slice: Slice) => Promise<number | void>
  /** What is written in the transaction that moves the cursors past these slices. */
  readonly write?: (tx: Tx, slices: readonly Slice[]) => Promise<void>
}

export interface FollowerOptions {
  /** Wakes the follower; without one, or while it reconnects, it polls. */
  readonly listener?: EntriesListener | undefined
  /** How often all logs are looked at, also for new tenants. */
  readonly pollMs?: number
  /** While entries keep coming, how often a log is read: reading a few at a time costs as much as reading many. */
  readonly lingerMs?: number
  /** After so long without a sign of life another process takes over. */
  readonly leaseMs?: number
  readonly bounds?: Bounds
  /** How long a log rests after its first failure, doubled with each further one, and at most. */
  readonly restMs?: { readonly first: number; readonly most: number }
  /** Told of every failure; `tenant` where one log is to blame. */
  readonly onTrouble?: (error: unknown, tenant?: string) => void
}

const defaults = {
  listener: undefined,
  pollMs: 1_000,
  lingerMs: 20,
  leaseMs: 10_000,
  bounds: { tenants: 100, entries: 4_000, bytes: 8 * 1024 * 1024 },
  restMs: { first: 200, most: 60_000 },
  onTrouble: () => undefined,
}

/**
 * Follows the logs of all tenants behind leased cursors. Any number of processes may follow under one consumer's name:
 * each log has one follower at a time, whose cursor moves only while it holds the lease it read under.
 */
export class Follower {
  private readonly database: Database
  private readonly consumer: Consumer
  private readonly options: Required<FollowerOptions>
  private readonly lease: Lease
  private readonly woken = new Set<string>()
  private readonly enrolled = new Set<string>()
  /** Logs that failed, and when to try again. */
  private readonly resting = new Map<string, { failures: number; untilMs: number; error: unknown }>()
  private held: readonly string[] = []
  private everyone = true
  private pollAtMs = 0
  private last = ''
  private stopping = false
  private running: Promise<void> | undefined
  private resume: (() => void) | undefined

  constructor(database: Database, consumer: Consumer, options: FollowerOptions = {}) {
    this.database = database
    this.consumer = consumer
    this.options = { ...defaults, ...options }
    const owner = `${hostname()}/${process.pid}/${randomBytes(6).toString('hex')}`
    this.lease = { consumer: consumer.name, owner }
  }

  /** Follows from now on, until `stop`. */
  start(): void {
    this.running ??= this.run()
  }

  /** Finishes what it is at and gives its leases back. */
  async stop(): Promise<void> {
    this.stopping = true
    this.resume?.()
    await this.running
    await release(this.database.operator, this.lease).catch(this.options.onTrouble)
  }

  /**
   * Follows until it, or another process, has reached the heads as they are at some moment after the call. For who
   * does not `start`.
   * @param tenants only these; undefined for all
   * @throws whatever the consumer throws for one of them
   */
  async catchUp(tenants?: readonly string[]): Promise<void> {
    const { operator } = this.database
    await enrol(operator, this.consumer.name, tenants)
    for (;;) {
      const slices = await this.claim(tenants)
      await this.apply(slices)
      for (const { error } of this.resting.values()) throw error
      if (slices.length > 0) continue
      const [lag] = await lagOf(operator, [this.consumer.name], tenants)
      if (lag?.entries === 0) break
      await this.pause(50)
    }
  }

  private async run(): Promise<void> {
    const { listener, onTrouble, restMs } = this.options
    const deaf = listener?.listen((tenants) => this.wake(tenants))
    const heartbeat = setInterval(() => void this.keepLeases(), this.options.leaseMs / 3)
    for (let failures = 0; !this.stopping;) {
      try {
        const startedMs = performance.now()
        const read = await this.round()
        failures = 0
        if (read > 0 && read < this.options.bounds.entries / 2) {
          await this.pause(startedMs + this.options.lingerMs - performance.now(), { deaf: true })
        }
        if (!this.everyone && this.woken.size === 0) await this.pause(this.pollAtMs - performance.now())
      } catch (error) {
        onTrouble(error)
        this.everyone = true
        await this.pause(Math.min(restMs.first * 2 ** failures++, 5_000), { deaf: true })
      }
    }
    clearInterval(heartbeat)
    deaf?.()
  }

  private wake(tenants: readonly string[] | undefined): void {
    if (tenants === undefined) this.everyone = true
    else for (const tenant of tenants) this.woken.add(tenant)
    this.resume?.()
  }

  /** Waits for the time to pass, or to be woken unless `deaf`; a stop ends it in any case. */
  private async pause(ms: number, { deaf = false } = {}): Promise<void> {
    if (this.stopping) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, ms))
      this.resume = () => {
        if (deaf && !this.stopping) return
        clearTimeout(timer)
        resolve()
      }
    })
    this.resume = undefined
  }

  /** @returns how many entries it went past */
  private async round(): Promise<number> {
    const now = performance.now()
    const everyone = this.everyone || now >= this.pollAtMs
    if (everyone) {
      this.everyone = false
      this.woken.clear()
      this.pollAtMs = now + this.options.pollMs
      await enrol(this.database.operator, this.consumer.name, undefined)
      const slices = await this.claim(undefined)
      if (slices.length === this.options.bounds.tenants) this.everyone = true
      return this.apply(slices)
    }
    const names = [...this.woken].slice(0, this.options.bounds.tenants)
    for (const name of names) this.woken.delete(name)
    const unknown = names.filter((name) => !this.enrolled.has(name))
    if (unknown.length > 0) {
      await enrol(this.database.operator, this.consumer.name, unknown)
      for (const name of unknown) this.enrolled.add(name)
    }
    return names.length > 0 ? this.apply(await this.claim(names)) : 0
  }

  private async claim(wanted: readonly string[] | undefined): Promise<LeasedSlice[]> {
    const now = performance.now()
    const not = [...this.resting].filter(([, { untilMs }]) => untilMs > now).map(([tenant]) => tenant)
    const { leaseMs, bounds } = this.options
    const options = {
      leaseMs,
      bounds,
      not,
      after: this.last,
      types: this.consumer.types,
      streams: this.consumer.streams,
    }
    const slices = await claim(this.database.operator, this.lease, wanted, options)
    this.last = slices.at(-1)?.tenant ?? ''
    return slices
  }

  /** @returns how many entries the slices go past */
  private async apply(slices: readonly LeasedSlice[]): Promise<number> {
    if (slices.length === 0) return 0
    this.held = slices.map(({ tenant }) => tenant)
    try {
      await this.keep(await this.act(slices))
    } finally {
      this.held = []
    }
    return slices.reduce((sum, { from, next }) => sum + next - from, 0)
  }

  /** @returns the slices for which it went well, as far as it went */
  private async act(slices: readonly LeasedSlice[]): Promise<LeasedSlice[]> {
    const { act } = this.consumer
    if (!act) return [...slices]
    const outcomes = await Promise.allSettled(
      slices.map(async (slice) => (slice.entries.length > 0 ? act(slice) : undefined)),
    )
    const done: LeasedSlice[] = []
    for (const [n, slice] of slices.entries()) {
      const outcome = outcomes[n]
      if (outcome?.status === 'rejected') await this.rest(slice.tenant, outcome.reason)
      else done.push(upTo(slice, outcome?.value ?? slice.next))
    }
    return done
  }

  /** Writes and moves, all slices at once; where that fails each by itself, so that one log never stalls another. */
  private async keep(slices: readonly LeasedSlice[]): Promise<void> {
    if (slices.length === 0) return
    try {
      const behind = await this.database.operator.transaction().execute(async (tx) => {
        const behind = await move(tx, this.lease, slices, { durably: this.consumer.act !== undefined })
        const some = slices.filter(({ entries }) => entries.length > 0)
        if (some.length > 0) await this.consumer.write?.(tx, some)
        return behind
      })
      for (const { tenant } of slices) this.resting.delete(tenant)
      for (const tenant of behind) this.woken.add(tenant)
    } catch (error) {
      if (error instanceof LeaseLost) {
        await this.keep(slices.filter(({ tenant }) => !error.tenants.has(tenant)))
        return
      }
      // When the database itself is gone, no log is to blame.
      await sql`select 1`.execute(this.database.operator)
      const [first, ...others] = slices
      if (first && others.length === 0) await this.rest(first.tenant, error)
      else for (const slice of slices) await this.keep([slice])
    }
  }

  private async rest(tenant: string, error: unknown): Promise<void> {
    const { first, most } = this.options.restMs
    const failures = (this.resting.get(tenant)?.failures ?? 0) + 1
    const ms = Math.min(first * 2 ** (failures - 1), most)
    this.resting.set(tenant, { failures, untilMs: performance.now() + ms, error })
    setTimeout(() => this.wake([tenant]), ms).unref()
    this.options.onTrouble(error, tenant)
    await release(this.database.operator, this.lease, [tenant])
  }

  private async keepLeases(): Promise<void> {
    if (this.held.length === 0) return
    await renew(this.database.operator, this.lease, this.held, this.options.leaseMs).catch(this.options.onTrouble)
  }
}

function upTo(slice: LeasedSlice, next: number): LeasedSlice {
  return next === slice.next ? slice : { ...slice, next, entries: slice.entries.filter(({ seq }) => seq < next) }
}
