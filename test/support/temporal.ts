import { TestWorkflowEnvironment } from '@temporalio/testing'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Child } from '../../src/embedded/child.js'
import { freePort } from '../../src/embedded/port.js'
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
  const program = process.env['COUNTERSIGN_TEST_TEMPORAL_JAVA'] ?? ''
  const java = program === '' ? undefined : await startJava(program)
  const env = await TestWorkflowEnvironment.createTimeSkipping({
    ...(java && { server: { executable: { type: 'existing-path', path: java.forward } } }),
    client: { dataConverter: dataConverter() },
  }).catch(async (error: unknown) => {
    await java?.stop()
    throw error
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
      await java?.stop()
    },
  }
}

/**
 * Java takes its time on a busy machine, and the SDK gives what it starts 5 seconds: so Java is started here, and what the
 * SDK starts only passes its port on.
 */
async function startJava(program: string): Promise<{ forward: string; stop(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), `countersign-test-${process.pid}-`))
  const port = await freePort()
  const child = new Child({ program, words: [String(port)], logFile: join(folder, 'java.log'), signal: 'TERM' })
  const stop = async () => {
    await child.stop(['SIGTERM', 'SIGKILL'], 10_000)
    await rm(folder, { recursive: true, force: true })
  }
  try {
    while (!(await accepts(port))) {
      if (!child.running) throw new Error(`the time-skipping server did not start: ${child.said()}`)
      await sleep(50)
    }
    const forward = join(folder, 'forward')
    const code = `net=require('net');net.createServer(a=>{const b=net.connect(${port},'127.0.0.1');
      for(const s of [a,b])s.on('error',()=>{a.destroy();b.destroy()});a.pipe(b).pipe(a)}).listen(+process.argv[1],'127.0.0.1')`
    await writeFile(forward, `#!/bin/sh\nexec "${process.execPath}" -e "${code}" "$1"\n`, { mode: 0o755 })
    return { forward, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      done(true)
    })
    socket.once('error', () => done(false))
  })
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
