import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { gitSource } from '../../src/sources/git.js'
import { importSource, type ImportSummary } from '../../src/sources/import.js'
import { testDatabase } from '../support/database.js'
import { TestRepository } from '../support/git.js'
import { ImportStores, type ImportStore } from '../support/import-store.js'

let stores: ImportStores
beforeAll(async () => {
  stores = new ImportStores(await testDatabase())
})
afterAll(() => stores.close())

let repository: TestRepository
beforeEach(() => {
  repository = new TestRepository()
})
afterEach(() => repository.remove())

async function run(store: ImportStore, batchSize = 2, name?: string): Promise<ImportSummary> {
  return importSource(await gitSource(repository.path, { name }), store, { batchSize })
}

test('imports nothing twice, and what is new', async () => {
  const store = await stores.open()
  const first = ['a', 'b', 'c', 'd', 'e'].map((message) => repository.commit(message))
  expect(await run(store)).toMatchObject({ imported: 5, already: 0, complete: true, firstSeq: 1, lastSeq: 5 })
  expect(await run(store)).toMatchObject({ imported: 0, already: 5, complete: true })
  const more = ['f', 'g'].map((message) => repository.commit(message))
  expect(await run(store)).toMatchObject({ imported: 2, already: 5 })
  expect(await store.ids()).toEqual([...first, ...more])
})

test('goes on after any batch, even one that ended on a branch merged since', async () => {
  const root = repository.commit('root', { file: 'root' })
  for (const branch of ['x', 'y']) {
    repository.git(['checkout', '-q', '-b', branch, root])
    for (const n of [1, 2, 3]) repository.commit(`${branch}${n}`, { file: branch })
  }
  repository.git(['checkout', '-q', 'main'])
  repository.git(['merge', '-q', '--no-ff', '-m', 'x', 'x'])
  repository.git(['merge', '-q', '--no-ff', '-m', 'y', 'y'])
  const all = await stores.open()
  await run(all, 100)
  for (let stopAfter = 1; stopAfter < 9; stopAfter++) {
    const store = await stores.open()
    let batches = 0
    const stopping = {
      position: store.position,
      ingest: async (...args: Parameters<ImportStore['ingest']>) => {
        if (batches++ === stopAfter) throw new Error('stopped')
        return store.ingest(...args)
      },
    }
    const source = await gitSource(repository.path)
    await expect(importSource(source, stopping, { batchSize: 1 })).rejects.toThrow('stopped')
    repository.commit(`after ${stopAfter}`)
    await run(store, 3)
    expect((await store.ids()).slice(0, 9)).toEqual(await all.ids())
    expect(new Set(await store.ids()).size).toBe(9 + stopAfter)
  }
})

test('the source is the history, whatever its folder is called', async () => {
  const store = await stores.open()
  repository.commit('a')
  await run(store)
  const clone = new TestRepository()
  clone.git(['pull', '-q', repository.path, 'main'])
  clone.commit('b')
  const source = await gitSource(clone.path)
  expect(await importSource(source, store)).toMatchObject({ imported: 1, already: 1 })
  clone.remove()
})

test('another branch is imported beside the first, and coming back repeats nothing', async () => {
  const store = await stores.open()
  repository.commit('root')
  repository.commit('on main')
  await run(store)
  repository.git(['checkout', '-q', '-b', 'side', 'HEAD~1'])
  repository.commit('on the side')
  const side = await run(store)
  expect(side).toMatchObject({ imported: 1, already: 1 })
  expect(side.notes.join()).toMatch(/does not continue from/)
  repository.git(['checkout', '-q', 'main'])
  repository.commit('further on main')
  expect(await run(store)).toMatchObject({ imported: 1 })
  repository.git(['merge', '-q', '--no-ff', '-m', 'merge', 'side'])
  expect(await run(store)).toMatchObject({ imported: 1 })
  expect(new Set(await store.ids()).size).toBe(5)
  expect([...(await store.positions()).values()]).toEqual([repository.head()])
})

test('where the imported commits are gone, it says so, and another name begins anew', async () => {
  const store = await stores.open()
  repository.commit('root')
  const lost = repository.commit('before', { file: 'a' })
  await run(store)
  repository.git(['reset', '-q', '--hard', 'HEAD~1'])
  const head = repository.commit('rewritten')
  repository.git(['reflog', 'expire', '--expire=now', '--all'])
  repository.git(['gc', '-q', '--prune=now'])
  await expect(run(store)).rejects.toMatchObject({
    code: 'SOURCE_REWRITTEN',
    message: expect.stringMatching(new RegExp(`${lost}.*${head}`, 's')) as unknown,
  })
  expect(await run(store, 2, 'git:anew')).toMatchObject({ imported: 2, source: 'git:anew' })
})
