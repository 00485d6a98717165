import { bundleWorkflowCode, DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { readConfig } from '../src/config.js'
import type { Routes } from '../src/dispatcher/routes.js'
import { dispatcher } from '../src/dispatcher/run.js'
import { Workflows } from '../src/dispatcher/workflows.js'
import { obtainTemporal, type TemporalProgram } from '../src/embedded/temporal-program.js'
import { startTemporalServer } from '../src/embedded/temporal-server.js'
import { messageOf } from '../src/errors.js'
import { command } from '../src/ledger/append.js'
import { EntriesListener } from '../src/ledger/listen.js'
import { Follower } from '../src/ledger/subscribe.js'
import { openTemporal, type Temporal } from '../src/temporal/connection.js'
import { dataConverter } from '../src/temporal/data-converter.js'
import { DISPATCHING } from '../src/worker.js'
import { alternate, callersTake, percentile, rate, type Measure, type Rounds } from './harness.js'
import { principal, tenantOf, TENANTS, type Store } from './store.js'
import { countRows, fillTo, size } from './verify.js'

export function dispatchMeasures(store: Store): Measure[] {
  return [
    {
      id: 'dispatch-idle',
      what: 'entries dispatched with nothing to start: read, matched, cursors moved durably',
      against: 'COPY to Node in the order of the logs, rows only counted',
      unit: 'entries/s',
      floor: 0.3,
      aim: 0.6,
      run: async ({ rounds, quick }) => {
        await fillTo(store, quick ? 300_000 : 1_000_000)
        const total = await size(store)
        return {
          rounds: await alternate(rounds, {
            ours: () => rate(total, () => dispatchAll(store)),
            against: () => rate(total, () => countRows(store, 'order by tenant, seq')),
          }),
          remark: `${total.toLocaleString('en')} entries`,
        }
      },
    },
    {
      id: 'temporal-starts',
      what: 'workflows started from the log: read, matched, started, cursors moved',
      against: 'the same started by 50 callers without a log, on the same server with a worker',
      unit: 'starts/s',
      floor: 0.7,
      aim: 0.9,
      missing: async () => {
        try {
          await program()
          return undefined
        } catch (error) {
          return messageOf(error)
        }
      },
      run: ({ rounds, quick }) =>
        withTemporal((temporal) => measureStarts(store, temporal, { rounds, count: quick ? 300 : 1_000 })),
    },
  ]
}

let found: Promise<TemporalProgram> | undefined
function program(): Promise<TemporalProgram> {
  const { temporalCacheDir: cacheDir } = readConfig()
  return (found ??= obtainTemporal({ cacheDir, log: (line) => console.error(line) }))
}

const QUEUE = 'bench'
let runs = 0

/** Each time as a consumer that has read nothing yet. */
async function dispatchAll(store: Store): Promise<void> {
  const temporal = openTemporal({ address: '127.0.0.1:1', namespace: 'nobody' })
  await follower(store, workflowsOf(store, temporal), `dispatch-${runs++}`).catchUp()
  await temporal.close()
}

const routes: Routes = {
  'bench/': {
    workflow: { name: 'job', input: (tenant, id) => ({ tenant, id }) },
    types: { 'bench.requested': 'start' },
  },
}

function workflowsOf({ installation }: Store, temporal: Temporal): Workflows {
  return new Workflows(temporal, { installation: installation.id, taskQueue: QUEUE })
}

function follower(store: Store, workflows: Workflows, name: string, listener?: EntriesListener): Follower {
  const { database } = store
  const consumer = dispatcher({ database, workflows, routes, name })
  return new Follower(database, consumer, { ...DISPATCHING, listener })
}

async function withTemporal(work: (temporal: Temporal) => Promise<Rounds>): Promise<Rounds> {
  const folder = await mkdtemp(join(tmpdir(), 'countersign-bench-'))
  const dbFile = join(folder, 'temporal.db')
  Runtime.install({ logger: new DefaultLogger('ERROR', () => undefined), shutdownSignals: [] })
  const server = await startTemporalServer({ program: (await program()).program, dbFile, namespace: QUEUE })
  const { address } = server
  const temporal = openTemporal({ address, namespace: QUEUE })
  try {
    const connection = await NativeConnection.connect({ address })
    const { code } = await bundleWorkflowCode({
      workflowsPath: fileURLToPath(new URL('./workflows.js', import.meta.url)),
      ...dataConverter(),
      logger: new DefaultLogger('ERROR', () => undefined),
    })
    const worker = await Worker.create({
      connection,
      namespace: QUEUE,
      taskQueue: QUEUE,
      workflowBundle: { code },
      dataConverter: dataConverter(),
    })
    const rounds = await worker.runUntil(() => work(temporal))
    await connection.close()
    return rounds
  } finally {
    await temporal.close()
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

let jobs = 0
const streamOf = (n: number): string => `bench/${n}`

async function request(store: Store, n: number): Promise<void> {
  const by = principal(n)
  await command(store.database.command, { by, stream: streamOf(n) }, { initial: 0, evolve: () => 1 }, () => [
    { type: 'bench.requested' },
  ])
}

async function measureStarts(
  store: Store,
  temporal: Temporal,
  { rounds, count }: { rounds: number; count: number },
): Promise<Rounds> {
  const workflows = workflowsOf(store, temporal)
  const ours = follower(store, workflows, 'bench-starts')
  await ours.catchUp()
  const results = await alternate(rounds, {
    ours: async () => {
      await callersTake(8, count, () => request(store, jobs++))
      return rate(count, () => ours.catchUp())
    },
    against: () =>
      rate(count, () =>
        callersTake(50, count, async () => {
          const n = jobs++
          const workflowId = workflows.idOf(tenantOf(n), streamOf(n))
          const args = [{ tenant: tenantOf(n), id: String(n) }]
          await temporal.withDeadline(
            () => temporal.client.workflow.start('job', { workflowId, taskQueue: QUEUE, args }),
            60_000,
          )
        }),
      ),
  })
  const { p50, p99 } = await latency(store, temporal)
  return {
    rounds: results,
    remark: `${TENANTS} logs; from append to started, one at a time: p50 ${p50} ms, p99 ${p99} ms`,
  }
}

/** How long after its append a workflow is started, with nothing else to do. */
async function latency(store: Store, temporal: Temporal): Promise<{ p50: string; p99: string }> {
  const started = new Map<string, () => void>()
  class Watched extends Workflows {
    override async start(...words: Parameters<Workflows['start']>): Promise<'running' | 'over'> {
      const outcome = await super.start(...words)
      started.get(words[1])?.()
      return outcome
    }
  }
  const workflows = new Watched(temporal, { installation: store.installation.id, taskQueue: QUEUE })
  const listener = new EntriesListener(store.database)
  const running = follower(store, workflows, 'bench-starts', listener)
  running.start()
  while (!listener.connected) await sleep(20)
  const tookMs: number[] = []
  for (let turn = 0; turn < 200; turn++) {
    const n = jobs++
    const done = new Promise<void>((resolve) => started.set(streamOf(n), resolve))
    await request(store, n)
    const appendedMs = performance.now()
    await done
    tookMs.push(performance.now() - appendedMs)
    await sleep(20)
  }
  await running.stop()
  await listener.close()
  return { p50: percentile(tookMs, 0.5).toFixed(1), p99: percentile(tookMs, 0.99).toFixed(1) }
}
