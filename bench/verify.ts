import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import copyStreams from 'pg-copy-streams'
import { Appender } from '../src/ledger/appender.js'
import { ROW_COLUMNS } from '../src/ledger/verify-row.js'
import { verify } from '../src/ledger/verify.js'
import { alternate, callersTake, rate, type Context, type Measure } from './harness.js'
import { preparedOf, principal, type Store } from './store.js'

export function verifyMeasures(store: Store): Measure[] {
  return [
    {
      id: 'verify',
      what: 'full verification, one thread: leaf hash and chain hash of every entry',
      against: 'COPY to Node, rows only counted',
      unit: 'entries/s',
      floor: 0.5,
      aim: 0.65,
      run: async ({ rounds, quick }) => {
        await fillTo(store, quick ? 300_000 : 1_000_000)
        const total = await size(store)
        return {
          rounds: await alternate(rounds, {
            ours: () => rate(total, () => verifyAll(store)),
            against: () => rate(total, () => countRows(store)),
          }),
          remark: `${total.toLocaleString('en')} entries`,
        }
      },
    },
    {
      id: 'verify-memory',
      what: 'memory of a full verification in a fresh process, most at any time',
      against: 'nothing',
      unit: 'MB',
      floor: 128,
      aim: 100,
      smallerIsBetter: true,
      run: async ({ quick }) => {
        await fillTo(store, quick ? 300_000 : LARGE)
        const { peakMiB, entries } = await verifyInFreshProcess(store)
        return {
          rounds: [{ ours: peakMiB, against: 0 }],
          remark: `${entries.toLocaleString('en')} entries${quick ? ' (the long form has 5 million)' : ''}`,
        }
      },
    },
    {
      id: 'growth',
      what: 'append rate at 5 million entries, one after the other',
      against: 'the rate at half a million',
      unit: 'events/s',
      floor: 0.85,
      aim: 0.95,
      run: (context) => growth(store, context),
    },
  ]
}

const SMALL = 500_000
const LARGE = 5_000_000

/** The rate while the log was small is kept from when it was: a log does not shrink. */
let rateWhenSmall: number[] | undefined

export async function measureWhileSmall(store: Store, { quick, rounds }: Context): Promise<void> {
  await fillTo(store, quick ? SMALL / 10 : SMALL)
  rateWhenSmall = await samples(store, quick, rounds)
}

async function growth(store: Store, { quick, rounds }: Context) {
  const before = rateWhenSmall
  if (!before) throw new Error('the rate of a small log was not measured')
  await fillTo(store, quick ? SMALL : LARGE)
  const after = await samples(store, quick, rounds)
  return {
    rounds: after.map((ours, n) => ({ ours, against: before[n] ?? 0 })),
    remark: quick
      ? 'quick: at half a million against 50,000'
      : `at ${(await size(store)).toLocaleString('en')} entries`,
  }
}

async function samples(store: Store, quick: boolean, rounds: number): Promise<number[]> {
  const count = quick ? 30_000 : 100_000
  const rates: number[] = []
  for (let round = 0; round < rounds; round++) {
    await store.settle()
    rates.push(await rate(count, () => append(store, count)))
  }
  return rates
}

async function append(store: Store, count: number): Promise<void> {
  const appender = new Appender(store.database)
  await callersTake(8, count / 500, async (n) => {
    const { tenant, id: by, via } = principal(n)
    const events = Array.from({ length: 500 }, (_, k) => preparedOf(n * 500 + k))
    await appender.submit({ tenant, by, via, events })
  })
  await appender.close()
}

export async function size(store: Store): Promise<number> {
  const { rows } = await store.admin.query<{ size: number }>('select sum(next_seq)::int8 as size from heads')
  return rows[0]?.size ?? 0
}

export async function fillTo(store: Store, entries: number): Promise<void> {
  const missing = entries - (await size(store))
  if (missing > 0) await append(store, Math.ceil(missing / 500) * 500)
}

/** @throws Error when anything is found: a bench of a broken chain measures nothing */
export async function verifyAll(store: Store): Promise<number> {
  const { entries, findingCount, findings } = await verify(store.database)
  if (findingCount > 0) throw new Error(`the chain does not verify: ${JSON.stringify(findings[0])}`)
  return entries
}

async function verifyInFreshProcess(store: Store): Promise<{ entries: number; peakMiB: number }> {
  const child = fork(fileURLToPath(new URL('./verify-child.js', import.meta.url)), [store.url, store.keyFile])
  const [message] = (await once(child, 'message')) as [{ entries: number; findings: number; peakMiB: number }]
  if (message.findings > 0) throw new Error('the chain does not verify')
  return message
}

/** The ceiling: the same rows arrive, and nothing is done with them but telling where each begins. */
export async function countRows(store: Store, order = ''): Promise<void> {
  const client = store.database.client('operator')
  await client.connect()
  await client.query('set synchronize_seqscans = off; set max_parallel_workers_per_gather = 0')
  const stream = client.query(
    copyStreams.to(`copy (select ${ROW_COLUMNS} from entries ${order}) to stdout (format binary)`),
  )
  let rows = 0
  let rest: Buffer = Buffer.alloc(0)
  let at = HEADER_BYTES
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    const buffer = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
    for (;;) {
      const end = endOfRow(buffer, at)
      if (end === undefined) break
      rows++
      at = end
    }
    rest = buffer.subarray(at)
    at = 0
  }
  await client.end()
  if (rows !== (await size(store))) throw new Error(`counted ${rows} rows`)
}

const HEADER_BYTES = 19
const COLUMNS = 5

function endOfRow(buffer: Buffer, start: number): number | undefined {
  let at = start + 2
  for (let column = 0; column < COLUMNS; column++) {
    if (at + 4 > buffer.length) return undefined
    at += 4 + buffer.readInt32BE(at)
  }
  return at > buffer.length ? undefined : at
}
