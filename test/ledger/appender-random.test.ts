import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTenant } from '../../src/keyring/tenants.js'
import type { LeafEvent } from '../../src/ledger/event.js'
import { appenderProcesses, type AppenderProcess } from '../support/appender-process.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { say } from '../support/say.js'
import { Seeded } from '../support/seeded.js'
import { verifyChains, type FoundEntry } from '../support/verify-chain.js'

const PROCESSES = 3
const TENANTS = 6
const CALLERS = 8
const SUBMISSIONS = 60
const KILLS = 60

let server: TestDatabase
let admin: pg.Client

beforeAll(async () => {
  server = await testDatabase()
  admin = await server.superuser()
})

afterAll(async () => {
  await server.close()
})

/** What a caller knows of one event. `lost`: it was told that nobody knows. */
interface Told {
  readonly tenant: string
  readonly id: string
  outcome: 'acknowledged' | 'refused' | 'lost'
  seq?: number
}

const transient = new Set(['STORE_UNAVAILABLE', 'OUTCOME_UNKNOWN', 'QUEUE_FULL', 'IDEMPOTENCY_IN_FLIGHT'])

function codeOf(error: unknown): string {
  return (error as { code?: string }).code ?? String(error)
}

/** Submissions of all kinds, one after the other, each repeated as its kind allows until its outcome is certain. */
class Caller {
  readonly told: Told[] = []
  private readonly random: Seeded
  private readonly process: AppenderProcess
  private readonly name: string
  private readonly positions = new Map<string, number>()
  private readonly versions = new Map<string, number>()
  private sent = 0

  constructor(name: string, process: AppenderProcess, random: Seeded) {
    this.name = name
    this.process = process
    this.random = random
  }

  async run(tenants: readonly string[]): Promise<void> {
    for (let n = 0; n < SUBMISSIONS; n++) {
      const tenant = this.random.of(tenants)
      const kind = this.random.of(['plain', 'plain', 'keyed', 'singly', 'position', 'stream', 'command'] as const)
      await this[kind](tenant)
    }
  }

  private events(tenant: string): { told: Told[]; events: LeafEvent[] } {
    const told = Array.from({ length: 1 + this.random.below(4) }, (): Told => {
      return { tenant, id: `${this.name} ${String(this.sent++).padStart(5, '0')}`, outcome: 'refused' }
    })
    this.told.push(...told)
    const text = 'x'.repeat(this.random.below(600))
    return { told, events: told.map(({ id }) => ({ type: 'thing.happened', id, data: { text } })) }
  }

  private async plain(tenant: string): Promise<void> {
    const { told, events } = this.events(tenant)
    try {
      const receipt = await this.process.run('submit', { tenant, events })
      if (receipt.repeated) throw new Error('a repeat where none was sent')
      receipt.entries.forEach(({ seq }, n) => acknowledge(told[n], seq))
    } catch (error) {
      const code = codeOf(error)
      expect(transient).toContain(code)
      if (code === 'OUTCOME_UNKNOWN') for (const one of told) one.outcome = 'lost'
    }
  }

  private async keyed(tenant: string): Promise<void> {
    const { told, events } = this.events(tenant)
    const key = `${this.name} ${this.sent}`
    const receipt = await this.untilCertain(() =>
      this.process.run('submit', { tenant, events, idempotency: { key, body: key } }),
    )
    if (receipt.repeated) expect(receipt.count).toBe(events.length)
    told.forEach((one, n) => acknowledge(one, receipt.repeated ? receipt.firstSeq + n : receipt.entries[n]?.seq))
    const again = await this.untilCertain(() =>
      this.process.run('submit', { tenant, events, idempotency: { key, body: key } }),
    )
    expect(again).toEqual({ repeated: true, firstSeq: told[0]?.seq, count: events.length })
  }

  private async singly(tenant: string): Promise<void> {
    const { told, events } = this.events(tenant)
    const eventKeys = told.map(({ id }) => id)
    const receipt = await this.untilCertain(() => this.process.run('submit', { tenant, events, eventKeys }))
    if (receipt.repeated) throw new Error('a whole repeat of single events')
    receipt.entries.forEach(({ seq }, n) => acknowledge(told[n], seq))
  }

  private async position(tenant: string): Promise<void> {
    const { told, events } = this.events(tenant)
    const from = this.positions.get(tenant)
    const position = { source: this.name, after: from === undefined ? null : `${from}`, now: `${(from ?? 0) + 1}` }
    try {
      const receipt = await this.untilCertain(() => this.process.run('submit', { tenant, events, position }))
      if (receipt.repeated) throw new Error('a repeat where none was sent')
      receipt.entries.forEach(({ seq }, n) => acknowledge(told[n], seq))
    } catch (error) {
      // Nobody else moves this source: an attempt whose outcome was not known had landed.
      expect(codeOf(error)).toBe('SOURCE_MOVED')
      for (const one of told) one.outcome = 'lost'
    }
    this.positions.set(tenant, (from ?? 0) + 1)
  }

  private async stream(tenant: string): Promise<void> {
    await this.extend(tenant, (events, name, expectedVersion) =>
      this.process.run('submit', { tenant, events, stream: { name, expectedVersion } }),
    )
  }

  private async command(tenant: string): Promise<void> {
    await this.extend(tenant, (events, stream, expectedVersion) =>
      this.process.run('command', { tenant, events, stream, expectedVersion }),
    )
  }

  private async extend(
    tenant: string,
    send: (events: LeafEvent[], stream: string, version: number) => Promise<unknown>,
  ): Promise<void> {
    const { told, events } = this.events(tenant)
    const stream = `${this.name}/${this.random.below(2)}`
    const place = `${tenant} ${stream}`
    const version = this.versions.get(place) ?? 0
    for (;;) {
      try {
        await send(events, stream, version)
        for (const one of told) one.outcome = 'acknowledged'
        break
      } catch (error) {
        const code = codeOf(error)
        // Nobody else extends this stream: an attempt whose answer was lost had landed.
        if (code === 'LEDGER_STREAM_VERSION_CONFLICT') {
          for (const one of told) one.outcome = 'lost'
          break
        }
      }
      await sleep(20)
    }
    this.versions.set(place, version + events.length)
  }

  private async untilCertain<T>(send: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await send()
      } catch (error) {
        if (!transient.has(codeOf(error))) throw error
        await sleep(20)
      }
    }
  }
}

function acknowledge(told: Told | undefined, seq: number | undefined): void {
  if (!told || seq === undefined) throw new Error('a receipt for what was not sent')
  told.outcome = 'acknowledged'
  told.seq = seq
}

test(
  'whatever connections are lost, each event lands once and in order or is refused',
  { timeout: 120_000 },
  async () => {
    const seed = Number(process.env['COUNTERSIGN_TEST_SEED'] ?? 20261121)
    const random = new Seeded(seed)
    const tenants = Array.from({ length: TENANTS }, (_, n) => `tenant-${n}`)
    for (const tenant of tenants) await createTenant(server.db, server.installation, tenant)
    const processes = await appenderProcesses(server, PROCESSES, { patienceMs: 2_000 })
    const callers = processes.flatMap((process, p) =>
      Array.from({ length: CALLERS }, (_, c) => new Caller(`c${p}-${c}`, process, new Seeded(seed + 100 * p + c))),
    )
    const ending = new AbortController()
    const work = Promise.all(callers.map((caller) => caller.run(tenants))).finally(() => ending.abort())
    const killing = (async () => {
      let killed = 0
      for (let n = 0; n < KILLS && !ending.signal.aborted; n++) {
        await sleep(random.below(60))
        const { rows } = await admin.query<{ pid: number }>(
          `select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
         and application_name in ('countersign writer', 'countersign command')`,
        )
        const pid = rows.length > 0 ? random.of(rows).pid : undefined
        if (pid !== undefined) killed += (await admin.query('select pg_terminate_backend($1)', [pid])).rowCount ?? 0
      }
      return killed
    })()
    await work
    const killed = await killing
    await Promise.all(processes.map((process) => process.close()))

    const logs = await verifyChains(admin)
    const told = callers.flatMap((caller) => caller.told)
    const placesOf = new Map<string, FoundEntry[]>()
    for (const entry of [...logs.values()].flat()) {
      const id = String(entry.event['id'])
      placesOf.set(id, [...(placesOf.get(id) ?? []), entry])
    }
    for (const { tenant, id, outcome, seq } of told) {
      const places = placesOf.get(id) ?? []
      expect({ id, outcome, found: places.length }).toEqual({
        id,
        outcome,
        found: outcome === 'acknowledged' ? 1 : outcome === 'refused' ? 0 : places.length > 0 ? 1 : 0,
      })
      if (seq !== undefined) expect([places[0]?.entry.tenant, places[0]?.seq]).toEqual([tenant, seq])
    }
    for (const entries of logs.values()) {
      const lastOf = new Map<string, string>()
      for (const { event } of entries.slice(1)) {
        const [caller = '', n = ''] = String(event['id']).split(' ')
        expect(n > (lastOf.get(caller) ?? '')).toBe(true)
        lastOf.set(caller, n)
      }
    }
    const count = (outcome: Told['outcome']) => told.filter((one) => one.outcome === outcome).length
    say(
      `seed ${seed}: ${PROCESSES} processes, ${killed} connections killed, ${told.length} events of all kinds: ` +
        `${count('acknowledged')} acknowledged, each there once, ${count('refused')} refused, none there, ` +
        `${count('lost')} whose answer was lost`,
    )
  },
)
