import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { write, numbered } from '../../src/approvals/commands/writing.js'
import { governed, readGoverned, type ApprovalDeps } from '../../src/approvals/governed.js'
import {
  GOVERNANCE_PREFIXES,
  evolveGovernance,
  NO_GOVERNANCE,
  type Governance,
} from '../../src/approvals/governance.js'
import { inTenant } from '../../src/db/database.js'
import { DomainError } from '../../src/errors.js'
import { openAsInstallation } from '../../src/keyring/set-up.js'
import { readStreams } from '../../src/ledger/streams.js'
import { changesBench, Tenant, type ChangesBench } from '../support/changes.js'
import { Tamperer } from '../support/tamper.js'

let bench: ChangesBench
let acme: Tenant

beforeAll(async () => {
  bench = await changesBench()
})
beforeEach(async () => {
  acme = await Tenant.create(bench)
})
afterAll(() => bench.close())

/** What this process holds a tenant's governance to be, under the lock. */
const held = (deps: Pick<ApprovalDeps, 'database'> = bench.deps): Promise<Governance> =>
  governed(deps, acme.host, (_, { governance }) => Promise.resolve(governance))

/** The same from nothing, entry by entry. */
const folded = (): Promise<Governance> =>
  inTenant(bench.server.db.command, acme.tenant, async (tx) =>
    (await readStreams(tx, acme.tenant, GOVERNANCE_PREFIXES)).reduce(evolveGovernance, NO_GOVERNANCE),
  )

const note = (text: string) => ({
  stream: 'setting/note',
  events: [{ type: 'setting.set', data: { value: { text }, authority: { setup: true } } }],
})

describe('what decisions rest on', () => {
  test('is what all entries say, however much of it was known before', async () => {
    for (let round = 0; round < 4; round++) {
      await acme.person()
      await acme.directly('policy.set', { kind: 'setting.note', policy: { coolingOffMs: round } })
      if (round % 2 === 0) await acme.directly('policy.remove', { kind: 'setting.note' })
      expect(await held()).toEqual(await folded())
    }
  })

  test('is the same in a process that knew nothing, and in one that another has left behind', async () => {
    const other = openAsInstallation(bench.server.url, bench.server.installation)
    try {
      await held({ database: other })
      await acme.person()
      await held()
      expect(await held({ database: other })).toEqual(await held())
      await acme.disable(Object.keys((await held()).access.principals)[0] ?? '')
      expect(await held({ database: other })).toEqual(await held())
    } finally {
      await other.close()
    }
  })

  test('never holds what was rolled back', async () => {
    const failing = governed(bench.deps, acme.host, async (tx, now) => {
      await write(tx, now, await numbered(tx, acme.host, [note('never')]))
      throw new DomainError('POLICY_INVALID', 'no')
    })
    await expect(failing).rejects.toMatchObject({ code: 'POLICY_INVALID' })
    expect((await held()).settings.get('note')).toBeUndefined()
    await governed(bench.deps, acme.host, async (tx, now) => {
      await write(tx, now, await numbered(tx, acme.host, [note('kept')]))
    })
    expect((await held()).settings.get('note')?.value).toEqual({ text: 'kept' })
    expect(await held()).toEqual(await folded())
  })

  test('is read anew where a restored log has gone on otherwise', async () => {
    const tamperer = new Tamperer(await bench.server.superuser())
    await tamperer.disarm()
    const backup = (await acme.events()).length
    const restore = async () => {
      for (const table of ['entries', 'streams']) {
        await tamperer.sql(`delete from ${table} where tenant = $1 and seq >= $2`, [acme.tenant, backup])
      }
      await tamperer.rehead(acme.tenant)
    }
    const elsewhere = openAsInstallation(bench.server.url, bench.server.installation)
    try {
      for (const more of [0, 1]) {
        await acme.directly('setting.note', { text: 'lost' })
        expect(await held()).toEqual(await folded())
        await restore()
        for (let n = 0; n <= more; n++) {
          await governed({ database: elsewhere }, acme.host, async (tx, now) => {
            const role = { permissions: ['ledger/*:read'], inherits: [], authority: { setup: true } }
            const events = [{ type: 'role.defined', data: { role: `clerk-${n}`, ...role } }]
            await write(tx, now, await numbered(tx, acme.host, [{ stream: `role/clerk-${n}`, events }]))
          })
        }
        expect(await held()).toEqual(await folded())
        await restore()
      }
    } finally {
      await elsewhere.close()
    }
  })

  test('does not change while somebody decides', async () => {
    let others: Promise<unknown> | undefined
    const [before, after] = await governed(bench.deps, acme.host, async (tx, { governance }) => {
      others = acme.directly('setting.note', { text: 'from elsewhere' })
      await new Promise((done) => setTimeout(done, 100))
      const entries = await readStreams(tx, acme.tenant, GOVERNANCE_PREFIXES)
      return [governance, entries.reduce(evolveGovernance, NO_GOVERNANCE)]
    })
    expect(after).toEqual(before)
    await others
    expect((await held()).settings.get('note')?.value).toEqual({ text: 'from elsewhere' })
  })
})

describe('a command', () => {
  test('is tried again where PostgreSQL broke a deadlock, and nowhere else', async () => {
    let [deadlocks, bugs] = [0, 0]
    const answer = await governed(bench.deps, acme.host, () => {
      if (deadlocks++ < 2) return Promise.reject(Object.assign(new Error('deadlock detected'), { code: '40P01' }))
      return Promise.resolve('done')
    })
    expect([answer, deadlocks]).toEqual(['done', 3])
    const failing = governed(bench.deps, acme.host, () => {
      bugs++
      return Promise.reject(new Error('a bug'))
    })
    await expect(failing).rejects.toThrow('a bug')
    expect(bugs).toBe(1)
  })

  test('knows the time of the database, never earlier than the last entry', async () => {
    bench.aheadMs = 3_600_000
    await acme.append('setting/note', { type: 'setting.set', data: { value: 1 } })
    bench.aheadMs = 0
    const last = (await acme.events()).at(-1)?.entry.at ?? ''
    expect(await governed(bench.deps, acme.host, (_, { nowMs }) => Promise.resolve(nowMs))).toBe(Date.parse(last))
  })

  test('of a tenant that is not there is refused, and so is reading one', async () => {
    const nobody = { tenant: 'nobody' }
    await expect(governed(bench.deps, nobody, () => Promise.resolve(1))).rejects.toMatchObject({
      code: 'TENANT_UNKNOWN',
    })
    const reading = readGoverned(bench.deps, nobody.tenant, () => Promise.resolve(1))
    await expect(reading).rejects.toMatchObject({ code: 'TENANT_UNKNOWN' })
  })
})
