import { afterAll, beforeAll, expect, test } from 'vitest'
import { inTenant } from '../../src/db/database.js'
import { createTenant, type Tenant } from '../../src/keyring/tenants.js'
import { append } from '../../src/ledger/append.js'
import { Appender } from '../../src/ledger/appender.js'
import { eventBytes, type LeafEvent } from '../../src/ledger/event.js'
import type { FindingCode } from '../../src/ledger/findings.js'
import { verifyInDatabase } from '../../src/ledger/verify-in-database.js'
import { verify, type Verification } from '../../src/ledger/verify.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { Tamperer } from '../support/tamper.js'

let own: TestDatabase
let attack: Tamperer
let appender: Appender
let tenants = 0
let tamperings = 0

beforeAll(async () => {
  own = await testDatabase()
  appender = new Appender(own.db)
  attack = new Tamperer(await own.superuser())
  await attack.disarm()
  // Rules of the schema that a superuser may drop, too.
  await attack.sql('alter table tenants drop constraint tenants_log_key')
  await attack.sql('alter table entries drop constraint entries_pkey')
  await attack.sql('alter domain ledger_hash drop constraint ledger_hash_check')
  await attack.sql('alter table streams drop constraint streams_pkey')
})

afterAll(async () => {
  await appender.close()
  await own.close()
  process.stdout.write(`${tamperings} tamperings, each found and named\n`)
})

const prepared = (event: LeafEvent) => ({ body: eventBytes(event), sealed: [] })

/** Entries 0 to 11: 0 `log.created`, 1 to 5 and 9 to 11 reported, 6 to 8 versions 1 to 3 of stream `change/1`. */
const SIZE = 12

async function log(): Promise<Tenant> {
  const tenant = await createTenant(own.db, own.installation, `tampered-${++tenants}`)
  const report = (amounts: readonly number[]) =>
    appender.submit({
      tenant: tenant.id,
      by: 'service:billing',
      via: 'token:01JABCDEFGHJKMNPQRSTVWXYZ0',
      events: amounts.map((amount) =>
        prepared({ data: { amount }, source: { name: 'billing' }, type: 'invoice.created' }),
      ),
    })
  await report([1, 2, 3])
  await report([4, 5])
  const by = { tenant: tenant.id, id: 'person:01JABCDEFGHJKMNPQRSTVWXYZ0', via: 'session:1', permissions: [] }
  for (const [expectedVersion, type] of ['change.requested', 'change.approved', 'change.applied'].entries()) {
    await inTenant(own.db.command, tenant.id, (tx) =>
      append(tx, { by, stream: 'change/1', expectedVersion }, [prepared({ type })]),
    )
  }
  await report([9, 10, 11])
  return tenant
}

type Found = readonly [seq: number, code: FindingCode]

const foundIn = ({ findings }: Verification, tenant: string): Found[] =>
  findings
    .map((finding): Found => {
      expect(finding.tenant).toBe(tenant)
      return [finding.seq, finding.code]
    })
    .sort(([a, codeA], [b, codeB]) => a - b || (codeA < codeB ? -1 : 1))

interface Tampering {
  readonly name: string
  readonly tamper: (tenant: string, other: Tenant, log: string) => Promise<void>
  readonly found: readonly Found[]
  /** Where the database's own opinion is worded otherwise. */
  readonly foundInDatabase?: readonly Found[]
}

const entry = (rest: string) => `update entries ${rest} where tenant = $1 and seq = 3`
const set = (what: string) => (tenant: string) => attack.sql(entry(`set ${what}`), [tenant])
const head = (what: string) => (tenant: string) => attack.sql(`update heads set ${what} where tenant = $1`, [tenant])
const sql = (text: string) => (tenant: string) => attack.sql(text, [tenant])

/** Entry 3 with another member, and its own chain hash made to fit. */
const rehashed = (from: string | RegExp, to: string) => async (tenant: string) => {
  await attack.edit(tenant, 3, (leaf) => leaf.replace(from, to))
  await attack.rechain(tenant, 3)
}

/** The same, and every later chain hash and the head made to fit: what the chain itself cannot find. */
const rewritten = (seq: number, from: string | RegExp, to: string) => async (tenant: string) => {
  await attack.edit(tenant, seq, (leaf) => leaf.replace(from, to))
  await attack.rechain(tenant, seq, SIZE - 1)
  await attack.rehead(tenant)
}

const OTHER_LOG = 'f'.repeat(32)

const matrix: readonly Tampering[] = [
  // The leaf, the hash, both.
  {
    name: 'a byte of a leaf',
    tamper: (tenant) => attack.edit(tenant, 3, (leaf) => leaf.replace('"amount":3', '"amount":4')),
    found: [[3, 'LINK_BROKEN']],
  },
  {
    name: 'the last leaf',
    tamper: (tenant) => attack.edit(tenant, 11, (leaf) => leaf.replace('"amount":11', '"amount":12')),
    found: [[11, 'LINK_BROKEN']],
  },
  {
    name: 'the first leaf',
    tamper: (tenant) => attack.edit(tenant, 0, (leaf) => leaf.replace('service:host', 'service:hast')),
    found: [[0, 'LINK_BROKEN']],
  },
  { name: 'a chain hash', tamper: set(`chain_hash = sha256('x')`), found: [[3, 'HASH_CHANGED']] },
  {
    name: 'the first chain hash',
    tamper: sql(`update entries set chain_hash = sha256('x') where tenant = $1 and seq = 0`),
    found: [[0, 'HASH_CHANGED']],
  },
  {
    name: 'the last chain hash',
    tamper: sql(`update entries set chain_hash = sha256('x') where tenant = $1 and seq = 11`),
    found: [[11, 'HASH_CHANGED']],
  },
  {
    name: 'three chain hashes in a row',
    tamper: sql(`update entries set chain_hash = sha256(leaf) where tenant = $1 and seq between 3 and 5`),
    found: [
      [3, 'LINK_BROKEN'],
      [4, 'LINK_BROKEN'],
      [5, 'LINK_BROKEN'],
      [6, 'LINK_BROKEN'],
    ],
  },
  {
    name: 'leaf and chain hash of one entry',
    tamper: rehashed('"amount":3', '"amount":4'),
    found: [[4, 'LINK_BROKEN']],
  },
  {
    name: 'leaf and chain hash of the last entry',
    tamper: async (tenant) => {
      await attack.edit(tenant, 11, (leaf) => leaf.replace('"amount":11', '"amount":12'))
      await attack.rechain(tenant, 11)
    },
    found: [[11, 'HEAD_MISMATCH']],
  },
  {
    name: 'a chain hash cut short',
    tamper: set('chain_hash = substr(chain_hash, 1, 31)'),
    found: [
      [3, 'ROW_MALFORMED'],
      [3, 'SEQ_GAP'],
    ],
    foundInDatabase: [
      [3, 'HASH_CHANGED'],
      [3, 'ROW_MALFORMED'],
    ],
  },
  {
    name: 'by, with the chain hash of this entry made to fit',
    tamper: rehashed('service:billing', 'service:payroll'),
    found: [[4, 'LINK_BROKEN']],
  },
  {
    name: 'via, with the chain hash of this entry made to fit',
    tamper: rehashed('"via":"token:', '"via":"session:'),
    found: [[4, 'LINK_BROKEN']],
  },
  {
    name: 'the tail rewritten from one entry on, with the head left',
    tamper: async (tenant) => {
      await attack.edit(tenant, 3, (leaf) => leaf.replace('"amount":3', '"amount":4'))
      await attack.rechain(tenant, 3, SIZE - 1)
    },
    found: [[11, 'HEAD_MISMATCH']],
  },

  // Rows swapped, deleted, inserted, moved.
  {
    name: 'two rows swapped',
    tamper: sql('update entries set seq = 5 - seq where tenant = $1 and seq in (2, 3)'),
    found: [
      [2, 'ENVELOPE_MISMATCH'],
      [2, 'LINK_BROKEN'],
      [3, 'ENVELOPE_MISMATCH'],
      [3, 'LINK_BROKEN'],
      [4, 'LINK_BROKEN'],
    ],
  },
  {
    name: 'two leaves swapped',
    tamper: sql(
      `update entries e set leaf = o.leaf from entries o
       where e.tenant = $1 and o.tenant = $1 and e.seq in (2, 3) and o.seq = 5 - e.seq`,
    ),
    found: [
      [2, 'ENVELOPE_MISMATCH'],
      [2, 'LINK_BROKEN'],
      [3, 'ENVELOPE_MISMATCH'],
      [3, 'LINK_BROKEN'],
    ],
  },
  {
    name: 'a row deleted in the middle',
    tamper: sql('delete from entries where tenant = $1 and seq = 3'),
    found: [[3, 'SEQ_GAP']],
  },
  {
    name: 'rows deleted in two places',
    tamper: sql('delete from entries where tenant = $1 and seq in (2, 3, 10)'),
    found: [
      [2, 'SEQ_GAP'],
      [10, 'SEQ_GAP'],
    ],
  },
  {
    name: 'the first row deleted',
    tamper: sql('delete from entries where tenant = $1 and seq = 0'),
    found: [[0, 'SEQ_GAP']],
  },
  {
    name: 'a row deleted, and the later ones closed up',
    tamper: async (tenant) => {
      await attack.sql('delete from entries where tenant = $1 and seq = 11', [tenant])
      await attack.sql('delete from entries where tenant = $1 and seq = 9', [tenant])
      await attack.sql('update entries set seq = 9 where tenant = $1 and seq = 10', [tenant])
      await attack.rechain(tenant, 9)
      await attack.rehead(tenant)
    },
    found: [[9, 'ENVELOPE_MISMATCH']],
  },
  {
    name: 'the tail cut, with the head left',
    tamper: sql('delete from entries where tenant = $1 and seq >= 9'),
    found: [[9, 'TAIL_MISSING']],
  },
  {
    name: 'every row deleted, with the head left',
    tamper: async (tenant) => {
      await attack.sql('delete from entries where tenant = $1', [tenant])
      await attack.sql('delete from streams where tenant = $1', [tenant])
    },
    found: [
      [0, 'FIRST_ENTRY'],
      [0, 'TAIL_MISSING'],
    ],
  },
  {
    name: 'a row inserted behind the end',
    tamper: async (tenant) => {
      await attack.sql(
        'insert into entries select tenant, 12, recorded_at, leaf, chain_hash from entries where tenant = $1 and seq = 11',
        [tenant],
      )
      await attack.edit(tenant, 12, (leaf) => leaf.replace('"seq":11', '"seq":12'))
      await attack.rechain(tenant, 12)
    },
    found: [[12, 'HEAD_MISMATCH']],
  },
  {
    name: 'a row inserted twice',
    tamper: sql('insert into entries select * from entries where tenant = $1 and seq = 3'),
    found: [[3, 'SEQ_DUPLICATE']],
  },
  {
    name: 'a row given a place far behind the end',
    tamper: set('seq = 100'),
    found: [
      [3, 'SEQ_GAP'],
      [12, 'HEAD_MISMATCH'],
      [12, 'SEQ_GAP'],
      [100, 'ENVELOPE_MISMATCH'],
    ],
  },
  {
    name: 'a row given a place before the beginning',
    tamper: async (tenant) => {
      await attack.sql('alter domain ledger_count drop constraint if exists ledger_count_check')
      await set('seq = -1')(tenant)
    },
    found: [
      [-1, 'ROW_MALFORMED'],
      [3, 'SEQ_GAP'],
    ],
    foundInDatabase: [[3, 'SEQ_GAP']],
  },
  {
    name: 'a row moved in from another tenant',
    tamper: async (tenant, other) => {
      await attack.sql('delete from entries where tenant = $1 and seq = 3', [tenant])
      await attack.sql('update entries set tenant = $1 where tenant = $2 and seq = 3', [tenant, other.id])
    },
    found: [
      [3, 'ENVELOPE_MISMATCH'],
      [3, 'LINK_BROKEN'],
      [4, 'LINK_BROKEN'],
      [4, 'TIME_BACKWARDS'],
    ],
  },
  {
    name: 'a leaf taken from another log, with the whole chain made to fit',
    tamper: async (tenant, other) => {
      const { leaf } = await attack.row(other.id, 3)
      await attack.sql(
        'update entries set leaf = $2, recorded_at = (select recorded_at from entries where tenant = $3 and seq = 3) where tenant = $1 and seq = 3',
        [tenant, leaf, other.id],
      )
      await attack.rechain(tenant, 3, SIZE - 1)
      await attack.rehead(tenant)
    },
    found: [
      [3, 'ENVELOPE_MISMATCH'],
      [4, 'TIME_BACKWARDS'],
    ],
  },
  {
    name: 'a row moved to a tenant that is not there',
    tamper: async (tenant) => {
      await attack.sql('update tenants set id = $2 where id = $1', [tenant, `${tenant}-renamed`])
    },
    found: [[0, 'TENANT_UNKNOWN']],
  },

  // Columns beside an unchanged leaf.
  {
    name: 'the recorded time of a row',
    tamper: set(`recorded_at = recorded_at - interval '1 day'`),
    found: [[3, 'ENVELOPE_MISMATCH']],
  },
  {
    name: 'a microsecond of a recorded time',
    tamper: set(`recorded_at = recorded_at + interval '1 us'`),
    found: [[3, 'ENVELOPE_MISMATCH']],
  },
  { name: 'a recorded time without end', tamper: set(`recorded_at = 'infinity'`), found: [[3, 'ENVELOPE_MISMATCH']] },

  // The leaf's entry member, with the whole chain and the head made to fit.
  {
    name: 'the place that a leaf attests',
    tamper: rewritten(3, '"seq":3', '"seq":4'),
    found: [[3, 'ENVELOPE_MISMATCH']],
  },
  {
    name: 'the tenant that a leaf attests',
    tamper: rewritten(3, /"tenant":"[^"]*"/, '"tenant":"someone"'),
    found: [[3, 'ENVELOPE_MISMATCH']],
  },
  {
    name: 'the time that a leaf attests',
    tamper: rewritten(3, /"at":"\d{4}/, '"at":"2099'),
    found: [
      [3, 'ENVELOPE_MISMATCH'],
      [4, 'TIME_BACKWARDS'],
    ],
  },
  {
    name: 'the log that a leaf attests',
    tamper: rewritten(3, /"log":"[^"]*"/, `"log":"${OTHER_LOG}"`),
    found: [[3, 'LOG_MISMATCH']],
  },
  { name: "the format's version", tamper: rewritten(3, '"v":1', '"v":2'), found: [[3, 'LEAF_FORMAT']] },
  { name: 'a member of entry renamed', tamper: rewritten(3, '"by":', '"bz":'), found: [[3, 'LEAF_FORMAT']] },
  { name: 'a leaf that is not JSON', tamper: rewritten(3, /^.*$/s, 'no JSON at all'), found: [[3, 'LEAF_FORMAT']] },
  { name: 'bytes behind a leaf', tamper: rewritten(3, /$/, ' '), found: [[3, 'LEAF_FORMAT']] },
  { name: 'a zero byte in a leaf', tamper: rewritten(3, '"seq":3', '"seq":\0'), found: [[3, 'LEAF_FORMAT']] },
  { name: 'a leaf of two bytes', tamper: rewritten(3, /^.*$/s, '{}'), found: [[3, 'LEAF_FORMAT']] },
  {
    name: 'a clock set back, with everything made to fit',
    tamper: async (tenant) => {
      await rewritten(3, /"at":"\d{4}/, '"at":"2001')(tenant)
      await attack.sql(entry(`set recorded_at = (convert_from(substr(leaf, 17, 24), 'LATIN1'))::timestamptz`), [tenant])
    },
    found: [[3, 'TIME_BACKWARDS']],
  },

  // The first entry, the log's identity, the tenant.
  {
    name: 'the first entry made another event',
    tamper: rewritten(0, 'log.created', 'log.createt'),
    found: [[0, 'FIRST_ENTRY']],
  },
  {
    name: 'the first entry naming another log',
    tamper: rewritten(0, /"data":\{"log":"[^"]*"/, `"data":{"log":"${OTHER_LOG}"`),
    found: [[0, 'FIRST_ENTRY']],
  },
  {
    name: "the tenant's log",
    tamper: sql(`update tenants set log = md5('x') where id = $1`),
    found: [
      [0, 'FIRST_ENTRY'],
      [0, 'LOG_MISMATCH'],
    ],
  },
  {
    name: 'the log of another tenant claimed',
    tamper: (tenant, other) => attack.sql('update tenants set log = $2 where id = $1', [tenant, other.log]),
    found: [
      [0, 'FIRST_ENTRY'],
      [0, 'LOG_MISMATCH'],
      [0, 'LOG_SHARED'],
    ],
  },
  { name: 'the tenant deleted', tamper: sql('delete from tenants where id = $1'), found: [[0, 'TENANT_UNKNOWN']] },

  // The head.
  { name: 'the head deleted', tamper: sql('delete from heads where tenant = $1'), found: [[12, 'HEAD_MISSING']] },
  { name: 'the head moved forward', tamper: head('next_seq = next_seq + 1'), found: [[12, 'TAIL_MISSING']] },
  { name: 'the head moved back', tamper: head('next_seq = next_seq - 2'), found: [[10, 'HEAD_MISMATCH']] },
  { name: "the head's chain hash", tamper: head(`chain_hash = sha256('x')`), found: [[11, 'HEAD_MISMATCH']] },
  {
    name: "the head's recorded time",
    tamper: head(`recorded_at = recorded_at + interval '1 ms'`),
    found: [[11, 'HEAD_MISMATCH']],
  },

  // The table of streams.
  {
    name: 'the last row of a stream deleted',
    tamper: sql('delete from streams where tenant = $1 and version = 3'),
    found: [[8, 'STREAM_ROW_MISSING']],
  },
  {
    name: 'a row of a stream deleted in the middle',
    tamper: sql('delete from streams where tenant = $1 and version = 2'),
    found: [
      [7, 'STREAM_ROW_MISSING'],
      [8, 'STREAM_VERSION'],
    ],
  },
  {
    name: 'a row of a stream pointed at another entry',
    tamper: sql('update streams set seq = 4 where tenant = $1 and version = 2'),
    found: [
      [4, 'STREAM_ROW_MISMATCH'],
      [4, 'STREAM_VERSION'],
      [7, 'STREAM_ROW_MISSING'],
    ],
  },
  {
    name: 'two versions of a stream swapped',
    tamper: sql('update streams set version = 5 - version where tenant = $1 and version in (2, 3)'),
    found: [
      [7, 'STREAM_ROW_MISMATCH'],
      [7, 'STREAM_VERSION'],
      [8, 'STREAM_ROW_MISMATCH'],
    ],
  },
  {
    name: 'an entry without a stream added to one',
    tamper: sql(`insert into streams values ($1, 'change/1', 4, 9)`),
    found: [[9, 'STREAM_ROW_MISMATCH']],
  },
  {
    name: 'a stream of entries that are not there',
    tamper: sql(`insert into streams values ($1, 'change/2', 1, 77)`),
    found: [[77, 'STREAM_ROW_MISMATCH']],
  },
  {
    name: 'a stream renamed in its table',
    tamper: sql(`update streams set stream = 'change/2' where tenant = $1 and version = 3`),
    found: [
      [8, 'STREAM_ROW_MISMATCH'],
      [8, 'STREAM_VERSION'],
    ],
  },
  {
    name: 'the stream that a leaf attests, with everything made to fit',
    tamper: rewritten(7, '"stream":"change/1"', '"stream":"change/2"'),
    found: [[7, 'STREAM_ROW_MISMATCH']],
  },
  {
    name: 'the version that a leaf attests, with everything made to fit',
    tamper: rewritten(8, '"version":3', '"version":4'),
    found: [[8, 'STREAM_ROW_MISMATCH']],
  },
]

test.each(matrix)('finds $name', async ({ tamper, found, foundInDatabase = found }) => {
  const [{ id, log: ownLog }, other] = [await log(), await log()]
  expect(foundIn(await verify(own.db, { tenant: id }), id)).toEqual([])
  await tamper(id, other, ownLog)

  const outside = await verify(own.db, { tenant: id })
  expect(foundIn(outside, id)).toEqual(found)
  expect(outside.findings.every((finding) => finding.message.length > 5)).toBe(true)
  expect(outside.findingCount).toBe(found.length)
  expect(foundIn(await verifyInDatabase(own.db, { tenant: id }), id)).toEqual(foundInDatabase)
  tamperings++
})
