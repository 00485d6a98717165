import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { freePort } from '../../src/embedded/port.js'
import { namespaceOf, openTemporal } from '../../src/temporal/connection.js'
import { GRPC, grpcCode } from '../../src/temporal/grpc.js'
import { ownTemporal, testTemporal, timeSkipping } from '../support/temporal.js'

const ID = expect.stringMatching(/^[0-9a-f-]{36}$/)

test('a namespace proves that a Temporal is there, and has an id of its own', async () => {
  const [one, other] = await Promise.all([testTemporal(), testTemporal()])
  try {
    const ids = await Promise.all([namespaceOf(one.temporal), namespaceOf(other.temporal)])
    expect(ids).toEqual([{ id: ID }, { id: ID }])
    expect(ids[0]).not.toEqual(ids[1])
  } finally {
    await one.close()
    await other.close()
  }
})

test('the id of a namespace outlives a crash, and tells of a database that was lost', async () => {
  const own = await ownTemporal()
  try {
    const before = await namespaceOf(own.temporal)
    await own.kill()
    await expect(namespaceOf(own.temporal)).rejects.toSatisfy((error) => grpcCode(error) === GRPC.unavailable)
    await own.start()
    expect(await namespaceOf(own.temporal)).toEqual(before)
    await own.kill()
    await own.deleteData()
    await own.start()
    const after = await namespaceOf(own.temporal)
    expect(after).toEqual({ id: ID })
    expect(after).not.toEqual(before)
  } finally {
    await own.close()
  }
})

test('the time-skipping server tells its time', async () => {
  const skipping = await timeSkipping()
  try {
    const before = await skipping.nowMs()
    await skipping.env.sleep('30 days')
    expect((await skipping.nowMs()) - before).toBeGreaterThanOrEqual(30 * 86_400_000)
  } finally {
    await skipping.close()
  }
})

test('a connection that is closed in the middle of a call, or between two tries, fails the call and nothing else', async () => {
  const address = `127.0.0.1:${await freePort()}`
  const outcomes = await Promise.all(
    Array.from({ length: 40 }, async (_, n) => {
      const temporal = openTemporal({ address, namespace: 'countersign' })
      const call = namespaceOf(temporal).then(
        () => 'answered',
        () => 'failed',
      )
      await sleep(n * 20)
      await temporal.close()
      return call
    }),
  )
  // What a retry on a closed connection throws, nobody could catch: it would fail this run.
  await sleep(1_500)
  expect(new Set(outcomes)).toEqual(new Set(['failed']))
})
