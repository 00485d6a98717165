import type pg from 'pg'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { appenderProcess, appenderProcesses, type AppenderProcess } from '../support/appender-process.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { Load } from '../support/load.js'
import { createTenants } from '../support/log.js'
import { say } from '../support/say.js'
import { verifyChains } from '../support/verify-chain.js'

let server: TestDatabase
let admin: pg.Client

beforeAll(async () => {
  server = await testDatabase()
  admin = await server.superuser()
})

afterEach(async () => {
  await verifyChains(admin)
})

afterAll(async () => {
  await server.close()
})

async function closeAll(processes: readonly AppenderProcess[]): Promise<void> {
  await Promise.all(processes.map((process) => process.close()))
}

async function deadlocks(): Promise<number> {
  await admin.query('select pg_stat_clear_snapshot()')
  const { rows } = await admin.query<{ deadlocks: number }>(
    'select deadlocks from pg_stat_database where datname = current_database()',
  )
  return rows[0]?.deadlocks ?? -1
}

/** Each process's callers on their own, so that their progress can be told apart. */
function loads(processes: readonly AppenderProcess[], tenants: readonly string[]): Load[] {
  return processes.map((process) => new Load([process], tenants))
}

/** The slowest may have this much less than the fastest. */
const MOST_UNFAIR = 20

async function share(tenants: readonly string[], events: number): Promise<{ counts: number[]; total: number }> {
  const processes = await appenderProcesses(server, 4, { patienceMs: 60_000 })
  const all = loads(processes, tenants)
  while (all.reduce((sum, load) => sum + load.acknowledged, 0) < events) await sleep(10)
  const counts = all.map((load) => load.acknowledged)
  await Promise.all(all.map((load) => load.stop()))
  await closeAll(processes)
  const logs = await verifyChains(admin)
  const total = all.reduce((sum, load) => sum + load.check(logs).acknowledged, 0)
  expect(Math.max(...counts)).toBeLessThan(MOST_UNFAIR * Math.min(...counts))
  return { counts, total }
}

test('four processes append to one tenant: one chain, and each makes progress', async () => {
  const { counts, total } = await share(await createTenants(server, 'one', 1), 4_000)
  say(`four processes on one tenant: ${total} events, each there once; ${counts.join(', ')} per process`)
})

test('four processes append to the same hundred tenants: no deadlock, and each makes progress', async () => {
  const before = await deadlocks()
  const { counts, total } = await share(await createTenants(server, 'many', 100), 6_000)
  expect(await deadlocks()).toBe(before)
  say(`four processes on a hundred tenants: ${total} events, no deadlock; ${counts.join(', ')} per process`)
})

test('commands that hold some heads for long leave all other tenants alone', async () => {
  const held = await createTenants(server, 'held', 6)
  const free = await createTenants(server, 'free', 20)
  const processes = await appenderProcesses(server, 2, { patienceMs: 60_000 })
  const holder = await appenderProcess(server)
  const events = [{ type: 'thing.happened' }]
  // Both know the heads, and lose them.
  for (const process of processes) {
    await Promise.all(held.map((tenant) => process.run('submit', { tenant, events })))
  }
  const holding = Promise.all(held.map((tenant) => holder.holds(tenant)))
  const released = Promise.all(held.map((tenant) => holder.run('hold', { tenant })))
  await holding
  let landed = 0
  const waiting = processes.flatMap((process) =>
    held.map(async (tenant) => {
      await process.run('submit', { tenant, events })
      landed++
    }),
  )
  const load = new Load(processes, free)
  await load.progress(1_000)
  expect(landed).toBe(0)
  await load.stop()
  await Promise.all(held.map((tenant) => holder.run('release', { tenant })))
  await released
  await Promise.all(waiting)
  await closeAll([...processes, holder])
  const { acknowledged } = load.check(await verifyChains(admin))
  say(
    `${held.length} heads held by commands: 1000 events of ${free.length} other tenants landed meanwhile, ` +
      `${acknowledged} in all, and then the ${waiting.length} that had to wait`,
  )
})

test('groups that processes have in flight while their key is destroyed never land behind it', async () => {
  const [tenant = ''] = await createTenants(server, 'sealed', 1)
  const processes = await appenderProcesses(server, 3)
  const counts = { landed: 0, refused: 0 }
  const ROUNDS = 6
  for (let round = 0; round < ROUNDS; round++) {
    const person = { kind: 'email', value: `round-${round}@example.org` }
    const [first] = await Promise.all(
      processes.map((process) =>
        process.run('ingest', { tenant, events: [{ type: 'user.signed-in', actor: person }] }),
      ),
    )
    const subject = first?.entries[0]?.actor ?? ''
    const note = { type: 'user.noted', personal: [{ group: 'note', subject, data: `note ${round}` }] }
    const flying = processes.flatMap((process) =>
      Array.from({ length: 25 }, () => process.run('ingest', { tenant, events: [note] })),
    )
    await Promise.race(flying)
    const boundary = await processes[round % 3]?.run('destroy', { tenant, subject })
    for (const outcome of await Promise.allSettled(flying)) {
      if (outcome.status === 'rejected') {
        expect(outcome.reason).toMatchObject({ code: 'SUBJECT_ERASED' })
        counts.refused++
      } else {
        expect(outcome.value.entries[0]?.seq).toBeLessThan(boundary ?? -1)
        counts.landed++
      }
    }
    const behind = await admin.query('select seq from sealed_groups where tenant = $1 and subject = $2 and seq > $3', [
      tenant,
      subject,
      boundary,
    ])
    expect(behind.rows).toEqual([])
  }
  await closeAll(processes)
  expect(counts.refused).toBeGreaterThan(0)
  say(
    `${ROUNDS} keys destroyed under three processes: ${counts.landed} groups landed before their key's end, ` +
      `${counts.refused} were sent back, none landed behind it`,
  )
})

test('processes whose clocks differ share a log whose time never goes backwards', async () => {
  const tenants = await createTenants(server, 'clocks', 2)
  const clocks = [0, -3_600_000, 3_000, -250]
  const processes = await Promise.all(clocks.map((clockMs) => appenderProcess(server, { clockMs })))
  const load = new Load(processes, tenants, 4)
  await load.progress(1_500)
  const ahead = await appenderProcess(server, { clockMs: 3_600_000 })
  const tooFar = ahead.run('submit', { tenant: tenants[0] ?? '', events: [{ type: 'thing.happened' }] })
  await expect(tooFar).rejects.toMatchObject({ code: 'CLOCK_AHEAD' })
  await load.stop()
  await closeAll([...processes, ahead])
  const logs = await verifyChains(admin) // which compares each entry's time with the one before
  const { acknowledged } = load.check(logs)
  say(`clocks ${clocks.map((ms) => `${ms / 1000} s`).join(', ')} off: ${acknowledged} events in order of time`)
})
