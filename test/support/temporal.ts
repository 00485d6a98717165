import { TestWorkflowEnvironment } from '@temporalio/testing'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startTemporalServer, type RunningTemporalServer } from '../../src/embedded/temporal-server.js'
import { openTemporal, type Temporal } from '../../src/temporal/connection.js'
import { dataConverter } from '../../src/temporal/data-converter.js'
import { ensureNamespace } from '../../src/temporal/namespace.js'
import type { TemporalTarget } from '../../src/temporal/target.js'

/** A namespace of a test file's own in the server that all share, with a client in it. */
export interface TestTemporal {
  readonly target: TemporalTarget
  readonly temporal: Temporal
  close(): Promise<void>
}

export async function testTemporal(): Promise<TestTemporal> {
  const target = { address: given('COUNTERSIGN_TEST_TEMPORAL'), namespace: `test-${randomBytes(6).toString('hex')}` }
  const temporal = openTemporal(target)
  await ensureNamespace(temporal)
  await usable(temporal)
  return { target, temporal, close: () => temporal.close() }
}

/** A server of a test file's own, to be killed, started again and robbed of its database, at an address that stays. */
export interface OwnTemporal extends TestTemporal {
  readonly server: RunningTemporalServer
  readonly folder: string
  /** Ends the server at once, as a crash would. */
  kill(): Promise<void>
  /** Starts it again, on the same ports and on what data there is. */
  start(): Promise<void>
  /** Removes the database of a server that does not run. */
  deleteData(): Promise<void>
}

export async function ownTemporal(): Promise<OwnTemporal> {
  const program = given('COUNTERSIGN_TEST_TEMPORAL_PROGRAM')
  const folder = await mkdtemp(join(tmpdir(), `countersign-test-${process.pid}-`))
  const dbFile = join(folder, 'temporal.db')
  const namespace = 'countersign'
  let server = await startTemporalServer({ program, dbFile, namespace })
  const target = { address: server.address, namespace }
  const temporal = openTemporal(target)
  return {
    target,
    temporal,
    folder,
    get server() {
      return server
    },
    async kill() {
      process.kill(server.pid, 'SIGKILL')
      await server.stop()
    },
    async start() {
      const { port, uiPort } = server
      server = await startTemporalServer({ program, dbFile, namespace, ports: { port, uiPort } })
      if (server.port !== port) throw new Error(`port ${port} was taken meanwhile`)
    },
    async deleteData() {
      for (const suffix of ['', '-wal', '-shm', '-journal']) await rm(`${dbFile}${suffix}`, { force: true })
    },
    async close() {
      await temporal.close()
      await server.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** A Temporal whose clock jumps to the next timer while nothing else is to be done; no schedules, no visibility. */
export interface TimeSkipping {
  readonly env: TestWorkflowEnvironment
  readonly temporal: Temporal
  readonly target: TemporalTarget
  /** Temporal's clock, in milliseconds since 1970: inject it where ours is read. */
  nowMs(): Promise<number>
  close(): Promise<void>
}

export async function timeSkipping(): Promise<TimeSkipping> {
  const path = process.env['COUNTERSIGN_TEST_TEMPORAL_JAVA'] ?? ''
  const executable = path === '' ? {} : { server: { executable: { type: 'existing-path' as const, path } } }
  const env = await TestWorkflowEnvironment.createTimeSkipping({
    ...executable,
    client: { dataConverter: dataConverter() },
  })
  const target = { address: env.address, namespace: env.namespace ?? 'default' }
  const temporal = openTemporal(target)
  return {
    env,
    temporal,
    target,
    nowMs: () => env.currentTimeMs(),
    async close() {
      await temporal.close()
      await env.teardown()
    },
  }
}

function given(variable: string): string {
  const value = process.env[variable]
  if (value) return value
  const why = process.env['COUNTERSIGN_TEST_TEMPORAL_PROBLEM'] ?? 'run the tests by npm test'
  throw new Error(`there is no Temporal to test with: ${why}`)
}

/** A namespace that was made a moment ago is not known at once to all parts of the server. */
async function usable(temporal: Temporal): Promise<void> {
  const deadline = Date.now() + 30_000
  for (;;) {
    try {
      await temporal.client.workflow.count()
      return
    } catch (error) {
      if (Date.now() > deadline) throw error
      await sleep(100)
    }
  }
}
