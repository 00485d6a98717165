import pg from 'pg'
import { mayHaveCommitted, type Database } from '../db/database.js'
import { DomainError } from '../errors.js'
import { readAnswers, readHeads, readLanded, type Answers } from './appender-checks.js'
import { isConditional, keysOf, Lane, questionsOf, receiptOf, repeatOf } from './appender-lane.js'
import type { Call, Receipt, Room, Submission } from './appender-lane.js'
import { Batch, lastOf, type Head, type Placed } from './batch.js'
import { checkPrincipal } from './envelope.js'
import { CLOCK_AHEAD, clockAhead, outcomeUnknown, storeUnavailable, tenantUnknown } from './errors.js'

export interface AppenderOptions {
  /** Events in the queue at most; past it callers are told to come back. */
  readonly queueEvents?: number
  /** Leaf bytes in the queue at most. */
  readonly queueBytes?: number
  /** How long a caller waits for a database that does not answer. */
  readonly patienceMs?: number
  readonly now?: () => number
  /** Told of trouble that callers only meet as 503. */
  readonly onTrouble?: (error: unknown) => void
}

/** Events in one submission at most, and in one batch unless a single submission is larger. */
export const MAX_BATCH_EVENTS = 1000
const MAX_BATCH_BYTES = 4 * 1024 * 1024
/** One is written while the next is chained; a third would only make them smaller, and every head of each costs. */
const MAX_IN_FLIGHT = 2
/** Events that must wait before a further batch is sent behind one in flight: smaller ones gain nothing. */
const WORTH_PIPELINING = 64
/** After so many failures in a row a lane queues for its head's lock instead of trying its luck. */
const FAILURES_BEFORE_QUEUEING = 5
const QUEUEING_LANES = 4

/**
 * The second door: groups what callers submit while the previous commit flushes, chains it and writes it in one
 * statement. Answers after the commit is durable. Several processes may run one each over the same tenants.
 */
export class Appender {
  private readonly database: Database
  private readonly options: Required<AppenderOptions>
  private readonly lanes = new Map<string, Lane>()
  /** Lanes with calls that may be chained now. */
  private readonly ready = new Set<Lane>()
  /** Lanes with something to look up. */
  private readonly unchecked = new Set<Lane>()
  private readonly batches = Array.from({ length: MAX_IN_FLIGHT }, () => new Batch())
  private readonly keysInFlight = new Map<string, Promise<unknown>>()
  private readonly pool: pg.Pool
  private link: pg.Client | undefined
  private linking = false
  private flights = 0
  private flyingEvents = 0
  private queueing = 0
  private queuedEvents = 0
  private queuedBytes = 0
  private pumping = false
  private checkingNow = false
  private closing = false
  private closed = false
  private drained: (() => void) | undefined
  private readonly sweeper: NodeJS.Timeout

  constructor(database: Database, options: AppenderOptions = {}) {
    this.database = database
    this.options = {
      queueEvents: 20_000,
      queueBytes: 64 * 1024 * 1024,
      patienceMs: 5_000,
      now: Date.now,
      onTrouble: () => undefined,
      ...options,
    }
    this.pool = database.pool('writer', QUEUEING_LANES + 1, { query_timeout: ANSWER_TIMEOUT_MS })
    this.sweeper = setInterval(() => this.sweep(), 250)
    this.sweeper.unref()
  }

  /** Whether the database was reachable when last tried. */
  get connected(): boolean {
    return this.link !== undefined
  }

  get queued(): { events: number; bytes: number } {
    return { events: this.queuedEvents, bytes: this.queuedBytes }
  }

  /**
   * Appends a submission, all of it or nothing, and answers after it is durable.
   * @throws DomainError QUEUE_FULL, SHUTTING_DOWN, STORE_UNAVAILABLE, TENANT_UNKNOWN, SOURCE_MOVED, KEY_EPOCH_MOVED,
   *   LEDGER_STREAM_VERSION_CONFLICT, IDEMPOTENCY_IN_FLIGHT, IDEMPOTENCY_KEY_REUSED (nothing was written), OUTCOME_UNKNOWN
   */
  submit(submission: Submission): Promise<Receipt> {
    const { events, epoch, position } = submission
    if (events.length === 0 || events.length > MAX_BATCH_EVENTS) {
      throw new RangeError(`a submission has 1 to ${MAX_BATCH_EVENTS} events, not ${events.length}`)
    }
    if (epoch === undefined && events.some((event) => event.sealed.length > 0)) {
      throw new RangeError('sealed groups without the key epoch they were sealed under')
    }
    // What no leaf or query can carry would otherwise only be met while others' submissions are being handled with it.
    checkPrincipal(submission)
    const keys = keysOf(submission)
    if (keys.some((key) => key.includes('\0')) || position?.source.includes('\0')) {
      throw new RangeError('a key or source with U+0000 in it')
    }
    return keys.length === 0 ? this.enqueue(submission) : this.submitKeyed(submission, keys)
  }

  /**
   * Asks for a key before anything is made for its request. `submit` asks again: only its answer is final.
   * @returns what became of the request before; undefined where the key is new
   * @throws DomainError IDEMPOTENCY_KEY_REUSED
   */
  async repeated({
    tenant,
    by,
    idempotency,
  }: Required<Pick<Submission, 'tenant' | 'by' | 'idempotency'>>): Promise<Receipt | undefined> {
    if (!idempotency) return undefined
    const question = { tenant, principal: by, keys: keysOf({ idempotency }), source: undefined, stream: undefined }
    const [answers] = await this.withClient((client) => readAnswers(client, [question]))
    const repeat = answers && repeatOf(idempotency, answers)
    if (repeat instanceof Error) throw repeat
    return repeat
  }

  /** Takes nothing more, answers everything accepted, then ends. */
  async close(): Promise<void> {
    this.closing = true
    if (this.queuedEvents > 0) await new Promise<void>((resolve) => (this.drained = resolve))
    this.closed = true
    clearInterval(this.sweeper)
    await this.link?.end()
    await this.pool.end()
  }

  private async submitKeyed(submission: Submission, names: readonly string[]): Promise<Receipt> {
    const keys = names.map((name) => `${submission.tenant} ${submission.by} ${name}`)
    for (;;) {
      const other = keys.map((key) => this.keysInFlight.get(key)).find((outcome) => outcome !== undefined)
      if (!other) break
      if (submission.idempotency) {
        throw new DomainError('IDEMPOTENCY_IN_FLIGHT', 'a request with this Idempotency-Key is still being answered', {
          retryAfterS: 1,
        })
      }
      await other.catch(() => undefined)
    }
    const outcome = this.enqueue(submission)
    for (const key of keys) this.keysInFlight.set(key, outcome)
    try {
      return await outcome
    } finally {
      for (const key of keys) this.keysInFlight.delete(key)
    }
  }

  private enqueue(submission: Submission): Promise<Receipt> {
    const { queueEvents, queueBytes, patienceMs } = this.options
    const { events, tenant, by, via, stream } = submission
    if (this.closing) {
      return Promise.reject(new DomainError('SHUTTING_DOWN', 'the service is shutting down', { retryAfterS: 1 }))
    }
    const bytes = events.reduce((sum, event) => sum + event.body.length, 0)
    if (this.queuedEvents + events.length > queueEvents || this.queuedBytes + bytes > queueBytes) {
      return Promise.reject(
        new DomainError('QUEUE_FULL', 'more is being written than the database takes; nothing of this was written', {
          retryAfterS: 1,
        }),
      )
    }
    this.queuedEvents += events.length
    this.queuedBytes += bytes
    return new Promise((resolve, reject) => {
      const lane = this.laneOf(tenant)
      const call: Call = {
        submission,
        bytes,
        deadline: performance.now() + patienceMs,
        repeats: undefined,
        addition: { by, via, events, stream: stream && { name: stream.name, version: stream.expectedVersion + 1 } },
        attempts: [],
        alone: false,
        counted: false,
        settle: (outcome) => {
          this.queuedEvents -= events.length
          this.queuedBytes -= bytes
          lane.forget(call)
          if (outcome instanceof Error) reject(outcome)
          else resolve(outcome)
          if (this.queuedEvents === 0) this.drained?.()
        },
      }
      this.arrive(lane, call)
    })
  }

  private laneOf(tenant: string): Lane {
    let lane = this.lanes.get(tenant)
    if (!lane) {
      if (this.lanes.size >= MAX_LANES) this.dropIdleLanes()
      lane = new Lane(tenant)
      this.lanes.set(tenant, lane)
    }
    return lane
  }

  private dropIdleLanes(): void {
    for (const [tenant, lane] of this.lanes) if (lane.idle) this.lanes.delete(tenant)
  }

  private arrive(lane: Lane, call: Call): void {
    if (lane.head && lane.arriving.length === 0 && !lane.checking && !isConditional(call)) {
      lane.accept(call, lane.head, nothingKnown)
      this.makeReady(lane)
    } else {
      lane.arriving.push(call)
      this.checkSoon(lane)
    }
  }

  /** What is next for a lane, once something about it has come to an end. */
  private goOn(lane: Lane): void {
    if (lane.checking) return // whoever is at it goes on itself
    if (lane.head) {
      this.makeReady(lane)
      if (lane.hasUnchecked) this.checkSoon(lane)
      return
    }
    // Brought back on the road once nothing of it is in flight.
    if (lane.flying > 0 || lane.idle) return
    if (lane.failures >= FAILURES_BEFORE_QUEUEING && this.queueing < QUEUEING_LANES) void this.queueForHead(lane)
    else if (lane.failures > 1) this.rest(lane, Math.random() * 2 ** Math.min(lane.failures, 6))
    else this.checkSoon(lane)
  }

  /** Lanes in `ready` have a head. */
  private makeReady(lane: Lane): void {
    if (!lane.head || lane.waiting.length === 0) return
    this.ready.add(lane)
    this.pumpSoon()
  }

  /** Whatever is in flight for this lane will come back; nothing new goes out before the head is read again. */
  private loseHead(lane: Lane): void {
    lane.head = undefined
    this.ready.delete(lane)
  }

  // Looking up: heads, remembered keys, positions.

  private checkSoon(lane: Lane): void {
    if (lane.checking || lane.resting || (!lane.head && lane.flying > 0)) return
    this.unchecked.add(lane)
    if (this.checkingNow) return
    this.checkingNow = true
    queueMicrotask(() => void this.check())
  }

  private async check(): Promise<void> {
    while (this.unchecked.size > 0) {
      // One that queues for its head's lock meanwhile looks for itself.
      const lanes = [...this.unchecked].filter((lane) => !lane.checking)
      this.unchecked.clear()
      for (const lane of lanes) lane.checking = true
      let failed = false
      try {
        await this.withClient((client) => this.checkLanes(client, lanes))
      } catch (error) {
        failed = true
        this.options.onTrouble(error)
      }
      for (const lane of lanes) {
        lane.checked()
        if (failed) this.rest(lane, 100)
        else this.goOn(lane)
      }
    }
    this.checkingNow = false
  }

  /**
   * Reads what the lanes must know and lets their calls wait, or settles them. The heads are read first: keys and
   * positions read later than the head hold as long as the head does.
   */
  private async checkLanes(client: pg.ClientBase, lanes: readonly Lane[]): Promise<void> {
    // A lane that lost its head waits until all it has in flight is back: what came back first must stay first.
    const asking = lanes
      .filter((lane) => lane.head !== undefined || lane.flying === 0)
      .map((lane) => ({ lane, head: lane.head, calls: lane.head ? lane.arrivals() : lane.recall() }))
    try {
      const lost = asking.filter(({ head }) => !head).map(({ lane }) => lane)
      const heads = await readHeads(client, lost)
      const answers = await readAnswers(
        client,
        asking.flatMap(({ calls }) => calls.map(questionsOf)),
      )
      // Last: what a lost connection still commits behind these answers moves the head, and is looked for again then.
      const landed = await this.settleLanded(client, asking)
      let n = 0
      for (const asked of asking) {
        const { lane, head, calls } = asked
        const answersOfLane = answers.slice(n, (n += calls.length))
        const open = calls.flatMap((call, index) =>
          landed.has(call) ? [] : [{ call, answers: answersOfLane[index] ?? nothingKnown }],
        )
        asked.calls = open.map(({ call }) => call)
        // Whoever lost the head while we asked has to ask again: what was true then need not be now.
        if (lane.head !== head) continue
        asked.calls = []
        this.admit(lane, head ?? heads.get(lane.tenant), open)
      }
    } finally {
      for (const { lane, calls } of asking) lane.arriving.unshift(...calls)
    }
  }

  private admit(lane: Lane, head: Head | undefined, open: readonly { call: Call; answers: Answers }[]): void {
    if (!head) {
      for (const { call } of open) call.settle(tenantUnknown(lane.tenant))
      return
    }
    lane.head = head
    for (const { call, answers } of open) lane.accept(call, head, answers)
  }

  /** Calls whose answer was lost: those that did land are answered now, and returned. */
  private async settleLanded(
    client: pg.ClientBase,
    asking: readonly { lane: Lane; calls: readonly Call[] }[],
  ): Promise<ReadonlySet<Call>> {
    const attempts = asking.flatMap(({ lane, calls }) =>
      calls.flatMap((call) => call.attempts.map((placed) => ({ lane, call, placed }))),
    )
    if (attempts.length === 0) return new Set()
    const found = await readLanded(
      client,
      attempts.map(({ lane, placed }) => ({ tenant: lane.tenant, ...lastOf(placed) })),
    )
    const landed = attempts.filter((_, n) => found[n])
    for (const { call, placed } of landed) call.settle(receiptOf(call, placed))
    return new Set(landed.map(({ call }) => call))
  }

  private async withClient<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await this.pool.connect()
    let failed = true
    try {
      const result = await work(client)
      failed = false
      return result
    } finally {
      client.release(failed)
    }
  }

  private rest(lane: Lane, ms: number): void {
    lane.resting = true
    setTimeout(() => {
      lane.resting = false
      if (!lane.idle) this.checkSoon(lane)
    }, ms)
  }

  // Chaining and sending.

  private pumpSoon(): void {
    if (this.pumping) return
    this.pumping = true
    queueMicrotask(() => {
      this.pumping = false
      this.pump()
    })
  }

  private pump(): void {
    while (this.ready.size > 0 && this.flights < MAX_IN_FLIGHT) {
      if (!this.link) {
        void this.connect()
        return
      }
      if (this.flights > 0 && this.queuedEvents - this.flyingEvents < WORTH_PIPELINING) return
      this.send(this.link)
    }
  }

  private send(link: pg.Client): void {
    const batch = this.batches.pop()
    if (!batch) throw new Error('no batch is free')
    batch.reset()
    const parcels = this.fill(batch)
    const { entries } = batch
    this.flights++
    this.flyingEvents += entries
    const { name, text, values } = batch.statement({ notify: true })
    void link
      .query<{ moved: number[] }>({ name, text, values })
      .then(
        ({ rows }) => this.landed(parcels, new Set(rows[0]?.moved)),
        (error: unknown) => this.failed(parcels, error),
      )
      .finally(() => {
        this.flights--
        this.flyingEvents -= entries
        this.batches.push(batch)
        this.pumpSoon()
      })
  }

  /**
   * Events for the next batch. Callers that are answered together come back together: taken all at once they would keep
   * this process and the database working in turns, shared out over the flights both work at the same time.
   */
  private share(): number {
    const waiting = this.queuedEvents - this.flyingEvents
    const share = Math.ceil(waiting / (MAX_IN_FLIGHT - this.flights))
    return Math.min(MAX_BATCH_EVENTS, Math.max(WORTH_PIPELINING, share))
  }

  private fill(batch: Batch): Parcel[] {
    const parcels: Parcel[] = []
    let room: Room = { events: this.share(), bytes: MAX_BATCH_BYTES, empty: true }
    for (const lane of this.ready) {
      if (!lane.head) throw new Error('a lane without a head is not ready')
      const taken = lane.take(room)
      room = taken.room
      if (taken.calls.length > 0) parcels.push(this.chain(batch, lane, lane.head, taken.calls))
      // Who could not take all stays first in line; it goes on with the next batch.
      if (lane.waiting.length > 0) break
      this.ready.delete(lane)
    }
    return parcels
  }

  private chain(batch: Batch, lane: Lane, head: Head, calls: readonly Call[]): Parcel {
    lane.flying++
    const placed = batch.extend(
      head,
      calls.map((call) => call.addition),
      this.options.now(),
    )
    return { lane, calls: calls.map((call, n) => ({ call, placed: placed[n] })) }
  }

  private landed(parcels: readonly Parcel[], moved: ReadonlySet<number>): void {
    parcels.forEach(({ lane, calls }, n) => {
      lane.flying--
      if (moved.has(n)) {
        lane.failures = 0
        for (const { call, placed } of calls) call.settle(receiptOf(call, placed))
      } else {
        lane.failures++
        lane.returned.push(...calls.map(({ call }) => call))
        this.loseHead(lane)
      }
      this.goOn(lane)
    })
  }

  /** A batch did not come through: nothing of it was written, or nobody knows. */
  private failed(parcels: readonly Parcel[], error: unknown): void {
    this.options.onTrouble(error)
    const verdict = judge(error)
    const inCompany = parcels.reduce((sum, { calls }) => sum + calls.length, 0) > 1
    for (const { lane, calls } of parcels) {
      lane.flying--
      lane.failures++
      this.loseHead(lane)
      for (const { call, placed } of calls) {
        if (verdict === 'unknown' && placed) call.attempts.push(placed)
        if (verdict === 'refused') call.settle(refusal(call, error))
        else if (verdict === 'bad' && !inCompany) call.settle(error instanceof Error ? error : new Error(String(error)))
        else {
          call.alone = verdict === 'bad'
          lane.returned.push(call)
        }
      }
      this.goOn(lane)
    }
  }

  /** Waits for the head's lock as a command does, so that a busy or long-held head is reached in the end. */
  private async queueForHead(lane: Lane): Promise<void> {
    this.queueing++
    lane.checking = true
    const batch = new Batch()
    let parcel: Parcel | undefined
    let moved: ReadonlySet<number> = new Set()
    try {
      await this.withClient(async (client) => {
        await client.query('begin')
        await client.query('select from heads where tenant = $1 for update', [lane.tenant])
        await this.checkLanes(client, [lane])
        const { calls } = lane.take({ events: MAX_BATCH_EVENTS, bytes: MAX_BATCH_BYTES, empty: true })
        if (lane.head && calls.length > 0) {
          parcel = this.chain(batch, lane, lane.head, calls)
          const { rows } = await client.query<{ moved: number[] }>(batch.statement({ notify: true }))
          moved = new Set(rows[0]?.moved)
        }
        await client.query('commit')
      })
      if (parcel) this.landed([parcel], moved)
    } catch (error) {
      if (parcel) this.failed([parcel], error)
      else this.options.onTrouble(error)
    }
    this.queueing--
    lane.checked()
    lane.failures = 0
    this.goOn(lane)
  }

  private async connect(): Promise<void> {
    if (this.linking) return
    this.linking = true
    const link = this.database.client('writer', { pipeline: true, query_timeout: ANSWER_TIMEOUT_MS })
    const gone = () => {
      if (this.link === link) this.link = undefined
    }
    link.on('error', gone)
    link.on('end', gone)
    try {
      await link.connect()
      // The arrays come as parameters; planning anew for each would cost more than it could gain.
      await link.query(`set plan_cache_mode = 'force_generic_plan'`)
      if (this.closed) await link.end()
      else this.link = link
    } catch (error) {
      this.options.onTrouble(error)
      await link.end().catch(() => undefined)
      await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS))
    }
    this.linking = false
    this.pumpSoon()
  }

  /** Callers are not kept longer than they can wait; what is in flight is answered by its connection. */
  private sweep(): void {
    const now = performance.now()
    for (const lane of this.lanes.values()) {
      const expired = lane.expire(now)
      if (expired.length === 0) continue
      for (const call of expired) call.settle(refusal(call))
      // A source's later submissions rested on the ones that left.
      this.loseHead(lane)
      this.goOn(lane)
    }
  }
}

interface Parcel {
  readonly lane: Lane
  readonly calls: readonly { readonly call: Call; readonly placed: Placed | undefined }[]
}

/** The server answers or is taken for gone. */
const ANSWER_TIMEOUT_MS = 15_000
const RECONNECT_MS = 100
/** Lanes kept in memory; idle ones are forgotten beyond. */
const MAX_LANES = 10_000

const nothingKnown: Answers = { keys: new Map(), position: undefined, version: undefined }

/**
 * What an error says about the statement. `unknown`: it may have committed. `refused`: it did not, and trying at once
 * makes no sense. `again`: it did not, and may. `bad`: something in it can never be written.
 */
function judge(error: unknown): 'unknown' | 'refused' | 'again' | 'bad' {
  if (mayHaveCommitted(error) || !(error instanceof pg.DatabaseError)) return 'unknown'
  const { code = '' } = error
  if (code === CLOCK_AHEAD || code === READ_ONLY || code.startsWith('53') || code.startsWith('58')) return 'refused'
  if (code.startsWith('40') || code === LOCK_TIMEOUT || code === CANCELLED || code === NOT_PREPARED) return 'again'
  return 'bad'
}

/** SQLSTATEs. */
const READ_ONLY = '25006'
const LOCK_TIMEOUT = '55P03'
const CANCELLED = '57014'
/** The statement before it on the connection was to prepare it, and did not get that far. */
const NOT_PREPARED = '26000'

/** One of an earlier attempt's may still be under way where its connection was lost: nobody can say then. */
function refusal({ attempts }: Call, error?: unknown): DomainError {
  if (attempts.length > 0) return outcomeUnknown()
  return error instanceof pg.DatabaseError && error.code === CLOCK_AHEAD ? clockAhead() : storeUnavailable()
}
