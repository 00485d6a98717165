import { expect, test } from 'vitest'
import { Denials } from '../../src/http/denials.js'
import type { Submission, Receipt } from '../../src/ledger/appender-lane.js'

// The collapsing alone; that denials land in the log is tested over HTTP.

function recorder(failures = 0) {
  const written: { tenant: string; count: number; route: string }[] = []
  let left = failures
  return {
    written,
    submit({ tenant, events }: Submission): Promise<Receipt> {
      if (left-- > 0) return Promise.reject(new Error('the database is gone'))
      const { data } = JSON.parse(String(events[0]?.body)) as { data: { count: number; route: string } }
      written.push({ tenant, count: data.count, route: data.route })
      return Promise.resolve({ repeated: false, entries: [] })
    },
  }
}

const denial = { route: 'POST /v1/events', code: 'TOKEN_MISSING' }
const total = (written: readonly { count: number }[]) => written.reduce((sum, { count }) => sum + count, 0)

test('repeats within the window are one entry with their count', async () => {
  const log = recorder()
  const denials = new Denials(log, { windowMs: 30 })
  for (let n = 0; n < 5; n++) denials.record(denial)
  await expect.poll(() => log.written.length).toBe(2)
  denials.record(denial)
  await denials.close()
  expect(log.written.map(({ count }) => count)).toEqual([1, 4, 1])
})

test('what could not be written is counted until it can', async () => {
  const log = recorder(2)
  const denials = new Denials(log, { windowMs: 30 })
  for (let n = 0; n < 5; n++) denials.record(denial)
  await expect.poll(() => total(log.written)).toBe(5)
  await denials.close()
  expect(total(log.written)).toBe(5)
})

test('however many kinds there are, memory and log stay bounded', async () => {
  const log = recorder()
  const denials = new Denials(log)
  for (let n = 0; n < 11_000; n++) denials.record({ ...denial, route: `GET /${n}` })
  await denials.close()
  expect(total(log.written)).toBe(11_000)
  expect(log.written.length).toBeLessThanOrEqual(10_002)
})
