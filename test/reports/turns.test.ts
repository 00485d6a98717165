import { expect, test } from 'vitest'
import { Turns } from '../../reports/turns.js'

test('no more than so many run at once, the others in order, and beyond a queue nobody', async () => {
  const turns = new Turns(2, 3)
  const begun: number[] = []
  const ends: (() => void)[] = []
  const work = (n: number) =>
    turns.run(async () => {
      begun.push(n)
      await new Promise<void>((resolve) => ends.push(resolve))
      if (n === 1) throw new Error('it failed')
      return n
    })
  const settled = Promise.allSettled([0, 1, 2, 3, 4].map(work))
  await expect(work(5)).rejects.toMatchObject({ code: 'REPORTS_BUSY', retryAfterS: 30 })
  expect(begun).toEqual([0, 1])
  for (let n = 0; n < 5; n++) {
    ends[n]?.()
    await new Promise(setImmediate)
    expect(begun).toEqual([0, 1, 2, 3, 4].slice(0, Math.min(5, n + 3)))
  }
  expect((await settled).map(({ status }) => status)).toEqual([
    'fulfilled',
    'rejected',
    'fulfilled',
    'fulfilled',
    'fulfilled',
  ])
  // Every place is free again.
  const again = [6, 7].map(work)
  await new Promise(setImmediate)
  expect(begun.slice(-2)).toEqual([6, 7])
  for (const end of ends) end()
  expect(await Promise.all(again)).toEqual([6, 7])
})
