import pg from 'pg'
import { Appender } from '../src/ledger/appender.js'
import { Batch, type Head } from '../src/ledger/batch.js'
import { envelopeParts } from '../src/ledger/envelope.js'
import { GENESIS } from '../src/ledger/hash.js'
import { BinaryArray, elementTypes, timestamptz } from '../src/ledger/wire.js'
import { copyChunks, copyIn, makePlainTable } from './copy.js'
import { alternate, callersTake, median, percentile, rate, type Measure } from './harness.js'
import { preparedOf, principal, TENANTS, tenantOf, type Store } from './store.js'

const SIZES = [100, 250, 500, 1000]

export function appendMeasures(store: Store): Measure[] {
  return [
    {
      id: 'batch-objects',
      what: 'batches of 100 to 1,000 from objects, chained, durable',
      against: 'binary COPY of the same bytes into a table with the same key',
      unit: 'events/s',
      floor: 0.4,
      aim: 0.55,
      run: async ({ rounds, quick }) => {
        const count = quick ? 37_000 : 111_000
        const chunks = copyChunks(count)
        return {
          rounds: await alternate(rounds, {
            ours: () => withAppender(store, (appender) => rate(count, () => batches(appender, count))),
            against: () => copySample(store, chunks, count),
          }),
        }
      },
    },
    {
      id: 'single-256',
      what: '256 callers of single events',
      against: 'binary COPY of the same bytes into a table with the same key',
      unit: 'events/s',
      floor: 0.3,
      aim: 0.45,
      run: async ({ rounds, quick }) => {
        const count = quick ? 30_000 : 80_000
        const chunks = copyChunks(count)
        const p99: number[] = []
        const results = await alternate(rounds, {
          ours: () =>
            withAppender(store, async (appender) => {
              const latencies: number[] = []
              const perSecond = await rate(count, () => singles(appender, 256, count, tenantOf, latencies))
              p99.push(percentile(latencies, 0.99))
              return perSecond
            }),
          against: () => copySample(store, chunks, count),
        })
        return { rounds: results, remark: `p99 ${median(p99).toFixed(1)} ms` }
      },
    },
    {
      id: 'hot-tenant',
      what: 'one hot tenant, 256 callers of single events',
      against: 'a row lock per transaction, 32 connections',
      unit: 'events/s',
      floor: 25,
      aim: 50,
      run: async ({ rounds, quick }) => {
        const count = quick ? 25_000 : 60_000
        const locked = quick ? 1_000 : 3_000
        const lock = await rowLockPerTransaction(store)
        const results = await alternate(rounds, {
          ours: () =>
            withAppender(store, (appender) => rate(count, () => singles(appender, 256, count, () => 'hot', []))),
          against: () => rate(locked, () => lock.append(locked)),
        })
        await lock.close()
        return { rounds: results }
      },
    },
    {
      id: 'chained',
      what: 'chained, batches of 1,000 over 100 tenants, 3 in flight',
      against: 'the same statement without chaining and without heads',
      unit: 'events/s',
      floor: 0.85,
      aim: 0.95,
      run: async ({ rounds, quick }) => {
        const count = quick ? 60_000 : 120_000
        const events = Array.from({ length: 1000 }, (_, n) => preparedOf(n))
        const ours = await chainedSender(store)
        const control = await unchainedSender(store)
        const results = await alternate(rounds, {
          ours: async () => {
            await store.settle()
            return rate(count, () => threeInFlight(count / 1000, () => ours.send(events)))
          },
          against: async () => {
            await store.settle()
            return rate(count, () => threeInFlight(count / 1000, () => control.send(events)))
          },
        })
        await ours.close()
        await control.close()
        return { rounds: results }
      },
    },
  ]
}

async function withAppender<T>(store: Store, work: (appender: Appender) => Promise<T>): Promise<T> {
  await store.settle()
  const appender = new Appender(store.database, {
    onTrouble: (error) => {
      throw error
    },
  })
  try {
    return await work(appender)
  } finally {
    await appender.close()
  }
}

let made = 0

/** Eight callers hand in batches, each of one tenant's events. */
async function batches(appender: Appender, count: number): Promise<void> {
  const turns = (count / SIZES.reduce((sum, size) => sum + size, 0)) * SIZES.length
  await callersTake(8, turns, async (n) => {
    const { tenant, id: by, via } = principal(n)
    const events = Array.from({ length: SIZES[n % SIZES.length] ?? 100 }, () => preparedOf(made++))
    await appender.submit({ tenant, by, via, events })
  })
}

async function singles(
  appender: Appender,
  callers: number,
  count: number,
  tenant: (n: number) => string,
  latencies: number[],
): Promise<void> {
  const { id: by, via } = principal(0)
  await callersTake(callers, count, async (n) => {
    const start = performance.now()
    await appender.submit({ tenant: tenant(n), by, via, events: [preparedOf(made++)] })
    latencies.push(performance.now() - start)
  })
}

async function copySample(store: Store, chunks: readonly Buffer[], count: number): Promise<number> {
  await makePlainTable(store.admin)
  await store.settle()
  return rate(count, () => copyIn(store.admin, chunks))
}

/** What an application does without group commit: begin, lock the head, insert, move the head, commit. */
async function rowLockPerTransaction(store: Store) {
  await store.admin.query('drop table if exists plain_heads')
  await store.admin.query(
    'create table plain_heads (tenant text primary key, next_seq bigint not null, chain_hash bytea not null)',
  )
  await store.admin.query(`insert into plain_heads values ('hot', 0, $1)`, [GENESIS])
  await makePlainTable(store.admin)
  const pool = new pg.Pool({ connectionString: store.url, max: 32 })
  const batch = new Batch()
  const head = {
    tenant: 'hot',
    log: '0'.repeat(32),
    nextSeq: 0,
    chainHash: GENESIS,
    recordedAtMs: Date.now(),
    keyEpoch: 0,
  }
  return {
    append: (count: number) =>
      callersTake(32, count, async (n) => {
        const client = await pool.connect()
        await client.query('begin')
        await client.query({
          name: 'lock',
          text: 'select next_seq, chain_hash from plain_heads where tenant = $1 for update',
          values: ['hot'],
        })
        const event = preparedOf(n)
        batch.reset()
        const seq = head.nextSeq
        const [placed] = batch.extend(
          head,
          [{ by: 'service:billing', via: 'token:01BENCH', events: [event] }],
          Date.now(),
        )
        const hash = placed?.chainHashes[0]
        await client.query({
          name: 'insert',
          text: 'insert into plain (tenant, seq, recorded_at, leaf, chain_hash) values ($1, $2, $3, $4, $5)',
          values: ['hot', seq, placed?.at, event.body, hash],
        })
        await client.query({
          name: 'move',
          text: 'update plain_heads set next_seq = $2, chain_hash = $3 where tenant = $1',
          values: ['hot', head.nextSeq, hash],
        })
        await client.query('commit')
        client.release()
      }),
    close: () => pool.end(),
  }
}

async function threeInFlight(batchCount: number, send: () => Promise<unknown>): Promise<void> {
  await callersTake(3, batchCount, send)
}

interface Sender {
  send(events: ReturnType<typeof preparedOf>[]): Promise<void>
  close(): Promise<void>
}

/** The appender's own batch and statement, fed with a thousand events over a hundred tenants. */
async function chainedSender(store: Store): Promise<Sender> {
  const client = store.database.client('writer', { pipeline: true })
  await client.connect()
  await client.query(`set plan_cache_mode = 'force_generic_plan'`)
  const { rows } = await store.admin.query<{
    tenant: string
    log: string
    next_seq: number
    chain_hash: Buffer
    recorded_at: string
  }>(`select h.*, t.log from heads h join tenants t on t.id = h.tenant where h.tenant like 'bench-%' order by h.tenant`)
  let heads: Head[] | undefined
  const spare = [new Batch(), new Batch(), new Batch()]
  return {
    async send(events) {
      heads ??= rows.map((row) => ({
        tenant: row.tenant,
        log: row.log,
        nextSeq: row.next_seq,
        chainHash: row.chain_hash,
        recordedAtMs: Date.parse(row.recorded_at),
        keyEpoch: 0,
      }))
      const batch = spare.pop() ?? new Batch()
      batch.reset()
      const now = Date.now()
      const each = events.length / heads.length
      heads.forEach((head, n) => {
        batch.extend(
          head,
          [{ by: 'service:billing', via: 'token:01BENCH', events: events.slice(n * each, (n + 1) * each) }],
          now,
        )
      })
      const { rows: answer } = await client.query<{ moved: number[] }>(batch.statement({ notify: true }))
      if (answer[0]?.moved.length !== TENANTS) throw new Error('a head did not move')
      spare.push(batch)
    },
    close: () => client.end(),
  }
}

/** The same leaves by the same kind of statement into a table made like that of the entries, without hashes and heads. */
async function unchainedSender(store: Store): Promise<Sender> {
  await makeUnchainedTable(store.admin)
  const client = store.database.client('writer', { pipeline: true })
  await client.connect()
  await client.query(`set plan_cache_mode = 'force_generic_plan'`)
  const hash = Buffer.alloc(32, 7)
  let seq = 0
  const spare: Record<'head' | 'tenant' | 'seq' | 'at' | 'leaf' | 'hash', BinaryArray>[] = []
  const arrays = () => ({
    head: new BinaryArray(elementTypes.int4),
    tenant: new BinaryArray(elementTypes.text),
    seq: new BinaryArray(elementTypes.int8),
    at: new BinaryArray(elementTypes.timestamptz),
    leaf: new BinaryArray(elementTypes.bytea),
    hash: new BinaryArray(elementTypes.bytea),
  })
  return {
    async send(events) {
      const set = spare.pop() ?? arrays()
      for (const array of Object.values(set)) array.reset()
      const now = Date.now()
      const at = new Date(now).toISOString()
      for (let tenant = 0; tenant < TENANTS; tenant++) {
        set.tenant.text(tenantOf(tenant))
        set.at.int8(timestamptz(now))
        const parts = envelopeParts({
          by: 'service:billing',
          via: 'token:01BENCH',
          log: '0'.repeat(32),
          tenant: tenantOf(tenant),
        })
        for (let n = 0; n < events.length / TENANTS; n++) {
          const event = events[tenant * (events.length / TENANTS) + n]
          if (!event) continue
          set.head.int4(tenant)
          set.seq.int8(seq + n)
          const prefix = parts.open + at + parts.afterAt + String(seq + n) + parts.afterSeq
          const { memory, start } = set.leaf.claim(prefix.length + event.body.length + 1)
          memory.write(prefix, start, 'latin1')
          memory.set(event.body, start + prefix.length)
          const end = start + prefix.length + event.body.length + 1
          memory[end - 1] = 0x7d
          set.leaf.claimed(end)
          set.hash.bytes(hash)
        }
      }
      seq += events.length / TENANTS
      await client.query({
        name: 'unchained',
        text: `with wanted as materialized (
                 select generate_series(0, cardinality($1::text[]) - 1) as n,
                   unnest($1::text[]) as tenant, unnest($2::timestamptz[]) as at)
               insert into unchained (tenant, seq, recorded_at, leaf, chain_hash)
               select w.tenant, e.seq, w.at, e.leaf, e.chain_hash
               from (select unnest($3::int4[]) as n, unnest($4::int8[]) as seq, unnest($5::bytea[]) as leaf,
                 unnest($6::bytea[]) as chain_hash) e join wanted w using (n)`,
        values: [set.tenant, set.at, set.head, set.seq, set.leaf, set.hash].map((array) => array.parameter()),
      })
      spare.push(set)
    },
    close: () => client.end(),
  }
}

async function makeUnchainedTable(admin: pg.Client): Promise<void> {
  await admin.query('drop table if exists unchained')
  await admin.query('create table unchained (like entries including all) partition by hash (tenant)')
  await admin.query(`
    do $$ begin
      for n in 0..15 loop
        execute format('create table unchained_%s partition of unchained for values with (modulus 16, remainder %s)', n, n);
      end loop;
    end $$`)
  await admin.query('grant select, insert on unchained to countersign_writer')
}
