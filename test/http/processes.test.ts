import { afterAll, beforeAll, expect, test } from 'vitest'
import { testService, type TestService } from '../support/service.js'

let service: TestService

beforeAll(async () => {
  service = await testService()
})

afterAll(() => service.close())

const figures = async (name: string) =>
  (await service.call('GET', '/metrics')).text.split('\n').filter((line) => line.startsWith(name))

test('the metrics tell how far the dispatcher is behind, what is open, and for how long', async () => {
  await service.token(['*/*:*'])
  expect(await figures('countersign_open_processes')).toEqual([])
  expect(await figures('countersign_follower_lag_seconds{consumer="dispatcher"}')).toHaveLength(1)
  // Nobody dispatches here: an entry waits for each of the log's.
  const [lag = ''] = await figures('countersign_follower_lag_entries{consumer="dispatcher"}')
  expect(Number(lag.split(' ').at(-1))).toBeGreaterThan(0)

  const superuser = await service.server.superuser()
  await superuser.query(`insert into open_processes (tenant, stream, kind, seq, since) values
    ('acme', 'change/1', 'changeApproval', 5, now() - interval '1 hour'),
    ('acme', 'change/2', 'changeApproval', 6, now()),
    ('acme', 'dispatch/change/2', 'parked', 7, now())`)
  expect(await figures('countersign_open_processes')).toEqual([
    'countersign_open_processes{kind="changeApproval"} 2',
    'countersign_open_processes{kind="parked"} 1',
  ])
  const [oldest = ''] = await figures('countersign_oldest_open_seconds{kind="changeApproval"}')
  expect(Number(oldest.split(' ').at(-1))).toBeGreaterThanOrEqual(3_600)
})
