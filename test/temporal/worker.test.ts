import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DomainError } from '../../src/errors.js'
import { failuresByCode } from '../../src/activities/failure.js'
import type { Temporal } from '../../src/temporal/connection.js'
import { namespaceOf, openTemporal } from '../../src/temporal/connection.js'
import { watchWorkflows } from '../../src/temporal/watch.js'
import { keepWorker, type KeptWorker } from '../../src/temporal/worker-connection.js'
import { eventually } from '../support/processes.js'
import { ownTemporal, testTemporal, timeSkipping, type OwnTemporal } from '../support/temporal.js'
import { memoryLog, sampleBundle } from '../support/worker.js'

const TASK_QUEUE = 'test'
const SECRET = 'Ada Lovelace'
let bundle: Awaited<ReturnType<typeof sampleBundle>>
let log: ReturnType<typeof memoryLog>
let workers: KeptWorker[]

beforeAll(async () => {
  bundle = await sampleBundle()
})
afterAll(() => bundle.remove())
beforeEach(() => {
  log = memoryLog()
  workers = []
})
afterEach(async () => {
  for (const worker of workers) await worker.close()
})

function workOn(temporal: Temporal, work: (input: string) => Promise<string>): KeptWorker {
  const worker = keepWorker({
    temporal,
    taskQueue: TASK_QUEUE,
    bundle: bundle.path,
    activities: { work },
    interceptors: { activity: [failuresByCode((error) => log.error({ err: error }, 'an activity failed'))] },
    drainMs: 10_000,
    log,
  })
  workers.push(worker)
  return worker
}

const run = (temporal: Temporal, workflow: string, input: unknown) =>
  temporal.client.workflow.start(workflow, { taskQueue: TASK_QUEUE, workflowId: randomUUID(), args: [input] })

const isReady = (worker: KeptWorker) => eventually(() => worker.state === 'ready', 60_000)

describe('on a server that stays', () => {
  let close: () => Promise<void>
  let temporal: Temporal
  beforeAll(async () => {
    const server = await testTemporal()
    temporal = server.temporal
    close = () => server.close()
  })
  afterAll(() => close())

  test('a refusal of a domain is tried once, and reaches history as a code', async () => {
    let tries = 0
    const worker = workOn(temporal, () => {
      tries += 1
      throw new DomainError('CHANGE_CLOSED', `the change of ${SECRET} is closed`)
    })
    await isReady(worker)
    const handle = await run(temporal, 'refused', 'x')
    expect(await handle.result()).toBe('CHANGE_CLOSED: CHANGE_CLOSED')
    expect(tries).toBe(1)
    const history = JSON.stringify(await handle.fetchHistory())
    expect(history).not.toContain(SECRET)
    // The text and the stack of a failure stand in a payload, where a codec reaches them.
    expect(history).toContain('"message":"Encoded failure"')
  })

  test('an outage is tried again until it is over; only our log says what it was', async () => {
    let tries = 0
    const worker = workOn(temporal, (input) => {
      tries += 1
      if (tries < 3) throw new Error(`no way to ${SECRET}`)
      return Promise.resolve(`did ${input}`)
    })
    await isReady(worker)
    const handle = await run(temporal, 'once', 'it')
    expect(await handle.result()).toBe('did it')
    expect(tries).toBe(3)
    expect(JSON.stringify(await handle.fetchHistory())).not.toContain(SECRET)
    expect(log.lines.filter((line) => line.includes(SECRET))).toHaveLength(2)
  })

  test('told to end, it lets end what runs and takes nothing more', async () => {
    let begun = 0
    let letEnd = () => {}
    const held = new Promise<void>((resolve) => (letEnd = resolve))
    const worker = workOn(temporal, async (input) => {
      begun += 1
      await held
      return input
    })
    await isReady(worker)
    const first = await run(temporal, 'once', 'first')
    await eventually(() => begun === 1)
    const closing = worker.close()
    expect(worker.state).toBe('waiting')
    const second = await run(temporal, 'once', 'second')
    letEnd()
    await closing
    expect(begun).toBe(1)
    // The next worker finds what both have left.
    const next = workOn(temporal, (input) => Promise.resolve(`later ${input}`))
    await isReady(next)
    expect(await first.result()).toBe('first')
    expect(await second.result()).toBe('later second')
  })

  test('whoever has no worker of its own learns from Temporal whether there is one', async () => {
    const queue = TASK_QUEUE
    const unknown = watchWorkflows(() => undefined, queue)
    const watch = watchWorkflows(() => temporal.target, queue)
    const idle = watchWorkflows(() => temporal.target, 'nobody works here')
    try {
      const worker = workOn(temporal, (input) => Promise.resolve(input))
      await isReady(worker)
      await eventually(() => watch.state === 'ready')
      expect([unknown.state, idle.state]).toEqual(['waiting', 'waiting'])
    } finally {
      await Promise.all([unknown.close(), watch.close(), idle.close()])
    }
  })
})

describe('on a server that does not', () => {
  let own: OwnTemporal
  beforeEach(async () => {
    own = await ownTemporal()
  })
  afterEach(() => own.close())

  test('a worker that begins before the server waits for it', async () => {
    await own.kill()
    const worker = workOn(own.temporal, (input) => Promise.resolve(input))
    await eventually(() => log.lines.some((line) => line.startsWith('warn no worker yet')))
    expect(worker.state).toBe('waiting')
    await own.start()
    await isReady(worker)
    expect(await (await run(own.temporal, 'once', 'x')).result()).toBe('x')
  })

  test('a worker says when the server is gone, and goes on when it is back', async () => {
    const worker = workOn(own.temporal, (input) => Promise.resolve(input))
    await isReady(worker)
    await own.kill()
    await eventually(() => worker.state === 'waiting')
    expect(log.lines.some((line) => line.startsWith('warn workflows wait'))).toBe(true)
    await own.start()
    await isReady(worker)
    expect(await (await run(own.temporal, 'once', 'x')).result()).toBe('x')
  })

  test('a worker makes the namespace anew in a database that was lost', async () => {
    const { address } = own.target
    const temporal = openTemporal({ address, namespace: 'another' })
    try {
      const worker = workOn(temporal, (input) => Promise.resolve(input))
      await isReady(worker)
      const before = await namespaceOf(temporal)
      await own.kill()
      await own.deleteData()
      await own.start()
      await eventually(async () => {
        const now = await namespaceOf(temporal).catch(() => undefined)
        return now !== undefined && now.id !== before?.id
      }, 60_000)
      await isReady(worker)
      // Not all parts of the server know of it at once.
      let answer: unknown
      await eventually(async () => {
        answer = await run(temporal, 'once', 'x').then(
          (handle) => handle.result(),
          () => undefined,
        )
        return answer !== undefined
      })
      expect(answer).toBe('x')
    } finally {
      await Promise.all(workers.map((worker) => worker.close()))
      await temporal.close()
    }
  })

  test('a worker that is told to end while it waits ends', async () => {
    await own.kill()
    const worker = workOn(own.temporal, (input) => Promise.resolve(input))
    await eventually(() => log.lines.some((line) => line.startsWith('warn no worker yet')))
    await worker.close()
    expect(worker.state).toBe('waiting')
  })
})

test('a worker on a clock that skips: three months pass at once', async () => {
  const skipping = await timeSkipping()
  const seen: number[] = []
  const temporal = skipping.temporal
  const worker = workOn(temporal, async (input) => {
    seen.push(await skipping.nowMs())
    return input
  })
  try {
    await isReady(worker)
    const began = await skipping.nowMs()
    const client = skipping.env.client.workflow
    const result = await client.execute('monthly', { taskQueue: TASK_QUEUE, workflowId: randomUUID(), args: [3] })
    expect(result).toEqual(['month 1', 'month 2', 'month 3'])
    seen.forEach((at, n) => expect(at - began).toBeGreaterThanOrEqual((n + 1) * 30 * 86_400_000))
  } finally {
    await worker.close()
    await skipping.close()
  }
})
