import { setTimeout as delay } from 'node:timers/promises'
import { inTenant, type Database } from '../db/database.js'
import type { EntriesListener } from './listen.js'
import { viewOf, type EntryView } from './view.js'

export interface LiveOptions {
  readonly listener: EntriesListener
  /** How often logs are looked at that somebody follows, in case no notice came. */
  readonly pollMs?: number
  /** Entries of one log kept for those who follow it closely; who falls further behind reads for himself. */
  readonly kept?: number
  readonly onTrouble?: (error: unknown) => void
}

/** Entries read at once. */
const PAGE = 200
const POLL_MS = 1_000
const KEPT = 500
/** Leaf bytes of a log kept at most. */
const KEPT_BYTES = 2 * 1024 * 1024

interface Kept {
  readonly view: EntryView
  readonly bytes: number
}

/** The newest entries of one log, read once for all who follow it. */
interface Tail {
  readonly tenant: string
  followers: number
  /** Without a gap up to `next`. */
  kept: Kept[]
  bytes: number
  /** The seq that the log grows by next, as far as was read. */
  next: number
  reading: boolean
  /** Something may have come since the reading began. */
  stale: boolean
  readonly waiting: Set<() => void>
}

/** Live feeds of many logs to many followers: one connection hears, one reader per log reads, whoever is slow waits for himself. */
export class LiveFeed {
  private readonly database: Database
  private readonly options: Required<LiveOptions>
  private readonly tails = new Map<string, Tail>()
  private readonly deaf: () => void
  private readonly poll: NodeJS.Timeout
  private readonly closing = new AbortController()

  constructor(database: Database, options: LiveOptions) {
    this.database = database
    this.options = { pollMs: POLL_MS, kept: KEPT, onTrouble: () => undefined, ...options }
    this.deaf = this.options.listener.listen((tenants) => this.wake(tenants))
    this.poll = setInterval(() => this.wake(undefined), this.options.pollMs)
    this.poll.unref()
  }

  /** How many feeds are open. */
  get followers(): number {
    let count = 0
    for (const tail of this.tails.values()) count += tail.followers
    return count
  }

  /** Ends all feeds. */
  close(): void {
    clearInterval(this.poll)
    this.deaf()
    this.closing.abort()
  }

  /**
   * A log's entries from `from` on, in order, then each as it is committed, until `signal` or `close` ends it. The next
   * one is fetched when it is asked for, so a slow follower costs no memory.
   * @param from seq of the first entry; undefined for those to come only
   */
  async *entries(tenant: string, from: number | undefined, signal?: AbortSignal): AsyncGenerator<EntryView> {
    const ended = AbortSignal.any([this.closing.signal, ...(signal ? [signal] : [])])
    const tail = await this.follow(tenant)
    const roused = (): void => rouse(tail)
    ended.addEventListener('abort', roused)
    try {
      for (let next = from ?? tail.next; !ended.aborted;) {
        const views = await this.known(tail, next)
        for (const view of views) {
          if (ended.aborted) return
          yield view
          next = view.seq + 1
        }
        if (views.length === 0 && !ended.aborted) await this.more(tail)
      }
    } finally {
      ended.removeEventListener('abort', roused)
      tail.followers--
      if (tail.followers === 0) this.tails.delete(tenant)
    }
  }

  /** What is kept from `next` on, or read where it is no longer kept; none where the log ends as far as is known. */
  private async known(tail: Tail, next: number): Promise<EntryView[]> {
    const first = tail.next - tail.kept.length
    const found = next >= first ? tail.kept.slice(next - first) : await this.read(tail.tenant, next)
    return found.map(({ view }) => view)
  }

  /** Waits until the log may have grown. */
  private async more(tail: Tail): Promise<void> {
    await new Promise<void>((resolve) => {
      tail.waiting.add(resolve)
      if (tail.stale) this.refresh(tail)
    })
  }

  private async follow(tenant: string): Promise<Tail> {
    const known = this.tails.get(tenant)
    if (known) {
      known.followers++
      return known
    }
    const head = await inTenant(this.database.reader, tenant, (tx) =>
      tx.selectFrom('heads').select('next_seq').where('tenant', '=', tenant).executeTakeFirst(),
    )
    const next = head?.next_seq ?? 0
    const tail = this.tails.get(tenant) ?? {
      tenant,
      followers: 0,
      kept: [],
      bytes: 0,
      next,
      reading: false,
      stale: true,
      waiting: new Set(),
    }
    tail.followers++
    this.tails.set(tenant, tail)
    return tail
  }

  private wake(tenants: readonly string[] | undefined): void {
    const touched = tenants === undefined ? [...this.tails.values()] : tenants.map((tenant) => this.tails.get(tenant))
    for (const tail of touched) {
      if (!tail) continue
      tail.stale = true
      if (tail.waiting.size > 0) this.refresh(tail)
    }
  }

  /** Reads what came, once for all who wait for it. */
  private refresh(tail: Tail): void {
    if (tail.reading) return
    tail.reading = true
    void this.extend(tail)
  }

  private async extend(tail: Tail): Promise<void> {
    while (tail.stale && tail.waiting.size > 0) {
      tail.stale = false
      try {
        const read = await this.read(tail.tenant, tail.next)
        if (read.length === 0) continue
        tail.kept.push(...read)
        tail.next += read.length
        tail.bytes += read.reduce((sum, { bytes }) => sum + bytes, 0)
        this.forget(tail)
        // A full page may not be all there is.
        if (read.length === PAGE) tail.stale = true
        rouse(tail)
      } catch (error) {
        this.options.onTrouble(error)
        tail.stale = true
        await delay(this.options.pollMs, undefined, { ref: false })
      }
    }
    tail.reading = false
  }

  private forget(tail: Tail): void {
    let gone = 0
    for (const { bytes } of tail.kept) {
      if (tail.kept.length - gone <= this.options.kept && tail.bytes <= KEPT_BYTES) break
      tail.bytes -= bytes
      gone++
    }
    tail.kept.splice(0, gone)
  }

  private async read(tenant: string, from: number): Promise<Kept[]> {
    const rows = await inTenant(this.database.reader, tenant, (tx) =>
      tx
        .selectFrom('entries')
        .select(['seq', 'leaf', 'chain_hash'])
        .where('tenant', '=', tenant)
        .where('seq', '>=', from)
        .orderBy('seq')
        .limit(PAGE)
        .execute(),
    )
    return rows.map((row) => ({ view: viewOf(row), bytes: row.leaf.length }))
  }
}

function rouse(tail: Tail): void {
  const waiting = [...tail.waiting]
  tail.waiting.clear()
  for (const resolve of waiting) resolve()
}
