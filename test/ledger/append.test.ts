import type pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { inTenant } from '../../src/db/database.js'
import { destroySubject } from '../../src/keyring/destroy.js'
import { Subjects } from '../../src/keyring/subjects.js'
import { seal } from '../../src/keyring/seal.js'
import { openAsInstallation } from '../../src/keyring/set-up.js'
import { createTenant } from '../../src/keyring/tenants.js'
import { append, command, foldStream, type AppendTarget, type Fold } from '../../src/ledger/append.js'
import type { LeafEvent } from '../../src/ledger/event.js'
import { prepare } from '../../src/ledger/prepare.js'
import type { Principal } from '../../src/principal.js'
import { appenderProcesses } from '../support/appender-process.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { Proxy } from '../support/proxy.js'
import { verifyChains, type FoundEntry } from '../support/verify-chain.js'

let server: TestDatabase
let admin: pg.Client
let by: Principal
let tenants = 0

beforeAll(async () => {
  server = await testDatabase()
  admin = await server.superuser()
})

beforeEach(async () => {
  by = { tenant: `tenant-${++tenants}`, id: 'service:approvals', via: 'token:01TEST', permissions: [] }
  await createTenant(server.db, server.installation, by.tenant)
})

afterEach(async () => {
  vi.restoreAllMocks()
  await verifyChains(admin)
})

afterAll(async () => {
  await server.close()
})

async function entries(): Promise<FoundEntry[]> {
  return (await verifyChains(admin)).get(by.tenant)?.slice(1) ?? []
}

const requested: LeafEvent = { type: 'change.requested', data: { to: 1 } }
const approved: LeafEvent = { type: 'change.approved' }

/** One append in a transaction of its own. */
function appendOnce(expectedVersion: number, events: readonly LeafEvent[] = [requested], stream = 'change/1') {
  return inTenant(server.db.command, by.tenant, (tx) =>
    append(
      tx,
      { by, stream, expectedVersion },
      events.map((event, index) => prepare(event, { by, stream }, index)),
    ),
  )
}

describe('append', () => {
  test('extends its stream and the log, and says where', async () => {
    const placed = await appendOnce(0, [requested, approved])
    expect(placed).toMatchObject({ seq: 1, version: 2 })
    expect(await appendOnce(2)).toMatchObject({ seq: 3, version: 3 })
    expect(await appendOnce(0, [requested], 'change/2')).toMatchObject({ seq: 4, version: 1 })
    const found = await entries()
    expect(found.map(({ entry }) => [entry.stream, entry.version, entry.by])).toEqual([
      ['change/1', 1, by.id],
      ['change/1', 2, by.id],
      ['change/1', 3, by.id],
      ['change/2', 1, by.id],
    ])
    expect(found[0]?.at).toBe(placed.at)
    expect(found.some(({ event }) => 'source' in event)).toBe(false)
  })

  test.each([0, 1, 3, 100])('refuses version %i of a stream that has two, and writes nothing', async (expected) => {
    await appendOnce(0, [requested, approved])
    await expect(appendOnce(expected)).rejects.toMatchObject({ code: 'LEDGER_STREAM_VERSION_CONFLICT' })
    expect(await entries()).toHaveLength(2)
  })

  test('a transaction that is rolled back leaves nothing, and the log goes on without a gap', async () => {
    const gone = inTenant(server.db.command, by.tenant, async (tx) => {
      const target: AppendTarget = { by, stream: 'change/1', expectedVersion: 0 }
      await append(tx, target, [prepare(requested, target, 0)])
      throw new Error('thought better of it')
    })
    await expect(gone).rejects.toThrow('thought better of it')
    expect(await appendOnce(0)).toMatchObject({ seq: 1 })
  })

  test('a connection that is lost halfway leaves nothing', async () => {
    const lost = inTenant(server.db.command, by.tenant, async (tx) => {
      const target: AppendTarget = { by, stream: 'change/1', expectedVersion: 0 }
      await append(tx, target, [prepare(requested, target, 0)])
      await admin.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and state = 'idle in transaction'`,
      )
      await append(tx, { ...target, expectedVersion: 1 }, [prepare(approved, target, 0)])
    })
    await expect(lost).rejects.toThrow()
    expect(await appendOnce(0)).toMatchObject({ seq: 1 })
  })

  test('a tenant that is not there', async () => {
    by = { ...by, tenant: 'nobody' }
    await expect(appendOnce(0)).rejects.toMatchObject({ code: 'TENANT_UNKNOWN' })
  })

  test('one transaction sees and writes one tenant only', async () => {
    const other = by
    by = { ...by, tenant: `${by.tenant}-b` }
    await createTenant(server.db, server.installation, by.tenant)
    const across = inTenant(server.db.command, by.tenant, (tx) =>
      append(tx, { by: other, stream: 'change/1', expectedVersion: 0 }, [prepare(requested, { by: other }, 0)]),
    )
    await expect(across).rejects.toMatchObject({ code: 'TENANT_UNKNOWN' })
  })

  test('groups sealed before their key was destroyed are refused', async () => {
    const subjects = new Subjects(server.db, server.installation)
    const key = await subjects.create(by.tenant)
    const { epoch } = await subjects.resolve(by.tenant, [key.subject])
    const { commitment, group } = seal(by.tenant, key, 'reason', 'because')
    const event = { ...requested, sealed: [commitment] }
    const appendSealed = (expectedVersion: number, target: Partial<AppendTarget>) =>
      inTenant(server.db.command, by.tenant, (tx) =>
        append(tx, { by, stream: 'change/1', expectedVersion, ...target }, [prepare(event, { by }, 0, [group])]),
      )
    await appendSealed(0, { epoch })
    await expect(appendSealed(1, {})).rejects.toMatchObject({ code: 'KEY_EPOCH_MOVED' })
    await destroySubject(server.db, by, key.subject)
    await expect(appendSealed(1, { epoch })).rejects.toMatchObject({ code: 'KEY_EPOCH_MOVED' })
    expect(await appendOnce(1)).toMatchObject({ version: 2 })
  })

  test("a process's clock neither turns time back nor runs ahead of the database's", async () => {
    const now = Date.now()
    const clock = vi.spyOn(Date, 'now').mockReturnValue(now)
    await appendOnce(0)
    clock.mockReturnValue(now - 3_600_000)
    await appendOnce(1)
    clock.mockReturnValue(now + 60_000)
    await expect(appendOnce(2)).rejects.toMatchObject({ code: 'CLOCK_AHEAD' })
    clock.mockRestore()
    await appendOnce(2)
    const times = (await entries()).map(({ at }) => at)
    expect(times).toHaveLength(3)
    expect(times[1]).toBe(times[0])
  })
})

interface Change {
  readonly status: 'none' | 'requested' | 'approved'
  readonly events: number
}

const changeFold: Fold<Change> = {
  initial: { status: 'none', events: 0 },
  evolve: ({ events }, { type }) => ({
    status: type === 'change.approved' ? 'approved' : 'requested',
    events: events + 1,
  }),
}

const approve = ({ status }: Change): LeafEvent[] => (status === 'approved' ? [] : [approved])

describe('command', () => {
  test('folds, decides and appends; deciding on nothing writes nothing', async () => {
    await appendOnce(0)
    const run = () => command(server.db.command, { by, stream: 'change/1' }, changeFold, approve)
    expect(await run()).toEqual({ status: 'approved', events: 2 })
    expect(await run()).toEqual({ status: 'approved', events: 2 })
    expect(await entries()).toHaveLength(2)
  })

  test('of many at once one decides, and the others see it', async () => {
    await Promise.all(
      Array.from({ length: 30 }, (_, n) =>
        command(server.db.command, { by, stream: `change/${n % 3}` }, changeFold, approve),
      ),
    )
    expect(await entries()).toHaveLength(3)
  })

  test('what is written beside the log lands with it or not at all', async () => {
    const failing = command(
      server.db.command,
      { by, stream: 'change/1' },
      changeFold,
      () => [requested],
      () => Promise.reject(new Error('no')),
    )
    await expect(failing).rejects.toThrow('no')
    expect(await entries()).toEqual([])
  })

  test('a command whose commit was not answered says so, and is there', async () => {
    const proxy = await Proxy.to(server.url)
    const database = openAsInstallation(proxy.url, server.installation, { poolSize: 1 })
    const run = () => command(database.command, { by, stream: 'change/1' }, changeFold, () => [requested])
    await run()
    proxy.loseAnswers('commit')
    await expect(run()).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' })
    expect(await entries()).toHaveLength(2)
    expect(await run()).toMatchObject({ events: 3 })
    await database.close()
    await proxy.close()
  })

  test('a reported event moves no fold', async () => {
    const processes = await appenderProcesses(server, 1)
    await appendOnce(0)
    await processes[0]?.run('submit', { tenant: by.tenant, events: [{ type: 'change.approved', id: 'change/1' }] })
    await processes[0]?.close()
    const state = await inTenant(server.db.reader, by.tenant, (tx) => foldStream(tx, by.tenant, 'change/1', changeFold))
    expect(state).toEqual({ status: 'requested', events: 1 })
  })

  test('several processes run commands on the same stream: none is lost, its versions are dense', async () => {
    const processes = await appenderProcesses(server, 4)
    const versions = await Promise.all(
      processes.flatMap((process) =>
        Array.from({ length: 25 }, () =>
          process.run('command', { tenant: by.tenant, stream: 'change/1', events: [requested] }),
        ),
      ),
    )
    await Promise.all(processes.map((process) => process.close()))
    expect(versions.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, n) => n + 1))
  })
})
