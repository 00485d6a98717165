import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { withLock } from '../../src/embedded/lock.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'countersign-lock-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

test('one holder at a time, and nothing is left behind', async () => {
  const path = join(folder, 'lock')
  let inside = 0
  let most = 0
  await Promise.all(
    Array.from({ length: 20 }, () =>
      withLock(path, { waitMs: 30_000 }, async () => {
        inside += 1
        most = Math.max(most, inside)
        await sleep(2)
        inside -= 1
      }),
    ),
  )
  expect(most).toBe(1)
  expect(await readdir(folder)).toEqual([])
})

test.each([
  { what: 'a process that has ended', content: '{"pid":2147483000,"started":"1","id":"x"}' },
  { what: 'a later process with the same number', content: `{"pid":${process.pid},"started":"1","id":"x"}` },
])('the lock of $what is taken over', async ({ content }) => {
  const path = join(folder, 'lock')
  await writeFile(path, content)
  expect(await withLock(path, { waitMs: 1_000 }, () => Promise.resolve('done'))).toBe('done')
})

test('a long wait is told, and one that is too long ends in an error that names the holder', async () => {
  const path = join(folder, 'lock')
  const waited: number[] = []
  await withLock(path, { waitMs: 1_000 }, async () => {
    const second = withLock(path, { waitMs: 1_200, onWait: (pid) => waited.push(pid) }, () => Promise.resolve())
    await expect(second).rejects.toMatchObject({ code: 'LOCK_HELD' })
  })
  expect(waited).toEqual([process.pid])
})
