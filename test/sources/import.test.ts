import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DomainError } from '../../src/errors.js'
import { importSource, type ImportOptions, type ImportSummary } from '../../src/sources/import.js'
import { cloudtrailFiles, cloudtrailSource } from '../../src/sources/cloudtrail-file.js'
import { ndjsonSource } from '../../src/sources/ndjson.js'
import { testDatabase } from '../support/database.js'
import { ImportStores, type ImportStore } from '../support/import-store.js'
import { eventsOf } from '../support/source.js'

const folder = mkdtempSync(join(tmpdir(), 'countersign-test-import-'))
let stores: ImportStores
beforeAll(async () => {
  stores = new ImportStores(await testDatabase())
})
afterAll(async () => {
  rmSync(folder, { recursive: true })
  await stores.close()
})

const fingerprintKey = Buffer.alloc(32, 7)

function line(n: number | string, more: object = {}): string {
  return JSON.stringify({ type: 'door.opened', id: `e${n}`, ...more })
}

function lines(from: number, to: number): string {
  return Array.from({ length: to - from + 1 }, (_, n) => `${line(from + n)}\n`).join('')
}

/** The store's side of a test: one store, files that come and go. */
async function scene(): Promise<{
  store: ImportStore
  run: (content: string | Buffer, options?: ImportOptions & { file?: string; name?: string }) => Promise<ImportSummary>
  ids: ImportStore['ids']
}> {
  const store = await stores.open()
  return {
    store,
    async run(content, { file = 'events.ndjson', name, ...options } = {}) {
      const path = join(folder, file)
      writeFileSync(path, content)
      return importSource(await ndjsonSource({ path, fingerprintKey, name }), store, { batchSize: 3, ...options })
    },
    ids: store.ids,
  }
}

/** From here on the store's refusals do not say which event they mean. */
function namingNone(store: ImportStore): void {
  const { ingest } = store
  store.ingest = async (...batch) => {
    try {
      return await ingest(...batch)
    } catch (error) {
      throw error instanceof DomainError && error.index !== undefined
        ? new DomainError(error.code, error.message)
        : error
    }
  }
}

const numbered = (count: number): string[] => Array.from({ length: count }, (_, n) => `e${n + 1}`)

describe('importing a file again', () => {
  test('the same file brings nothing, a longer one what is new', async () => {
    const { run, ids } = await scene()
    expect(await run(lines(1, 7))).toMatchObject({ imported: 7, already: 0, complete: true, firstSeq: 1, lastSeq: 7 })
    expect(await run(lines(1, 7))).toMatchObject({ imported: 0, already: 7, complete: true })
    expect(await run(lines(1, 9))).toMatchObject({ imported: 2, already: 7 })
    expect(await ids()).toEqual(numbered(9))
  })

  test('a copy under another name is the same file, another file under the same name is another', async () => {
    const { run, ids, store } = await scene()
    await run(lines(1, 3))
    expect(await run(lines(1, 4), { file: 'copy.ndjson' })).toMatchObject({ imported: 1 })
    expect(await run(lines(5, 6))).toMatchObject({ imported: 2, already: 0 })
    expect(await ids()).toEqual(numbered(6))
    expect((await store.positions()).size).toBe(2)
  })

  test('a last line without a line feed is a line, and stays the same line once the file goes on', async () => {
    const { run, ids } = await scene()
    expect(await run(lines(1, 2).trimEnd())).toMatchObject({ imported: 2 })
    expect(await run(lines(1, 3))).toMatchObject({ imported: 1 })
    expect(await ids()).toEqual(numbered(3))
  })

  test('a changed or shortened beginning is noticed, and another name begins anew', async () => {
    const { run, ids } = await scene()
    await run(lines(1, 5))
    const changed = lines(1, 6).replace('e3', 'E3')
    await expect(run(changed)).rejects.toMatchObject({ code: 'SOURCE_REWRITTEN' })
    await expect(run(lines(1, 4))).rejects.toMatchObject({ code: 'SOURCE_REWRITTEN' })
    expect(await ids()).toHaveLength(5)
    expect(await run(changed, { name: 'doors' })).toMatchObject({ imported: 6, source: 'doors' })
  })

  test('gzipped it is the same source', async () => {
    const { run, ids } = await scene()
    await run(lines(1, 3))
    expect(await run(gzipSync(lines(1, 5)), { file: 'events.ndjson.gz' })).toMatchObject({ imported: 2, already: 3 })
    expect(await ids()).toEqual(numbered(5))
  })

  test('neither name nor position of a source gives away its first line', async () => {
    const { run, store } = await scene()
    const path = join(folder, 'other.ndjson')
    await run(lines(1, 1))
    writeFileSync(path, lines(1, 1))
    const elsewhere = await ndjsonSource({ path, fingerprintKey: Buffer.alloc(32, 8) })
    expect([...(await store.positions()).keys()]).not.toContain(elsewhere.name)
  })
})

describe('what is refused', () => {
  const bad = `${lines(1, 4)}{"type":"door.opened","id":"e5"\n${lines(6, 7)}`

  test('stops there by default, everything before it imported, and goes on once it is mended', async () => {
    const { run, ids } = await scene()
    const summary = await run(bad)
    expect(summary).toMatchObject({ imported: 4, complete: false, refusedCount: 1 })
    expect(summary.refused).toEqual([
      {
        where: `${join(folder, 'events.ndjson')}:5`,
        code: 'JSON_MALFORMED',
        message: expect.any(String) as string,
        pointer: '/id',
      },
    ])
    expect(await run(lines(1, 7))).toMatchObject({ imported: 3, already: 4, complete: true })
    expect(await ids()).toEqual(numbered(7))
  })

  test('is listed and passed over when that was asked for', async () => {
    const { run, ids } = await scene()
    const mixed = `${line(1)}\n\n${line(2, { unknown: 1 })}\n  \r\n{"type":1}\n${line(3)}\r\nnull\n`
    const summary = await run(mixed, { skipRefused: true })
    expect(summary).toMatchObject({ imported: 2, refusedCount: 3, complete: true })
    expect(summary.refused.map(({ where, code, pointer }) => [where.split(':').at(-1), code, pointer])).toEqual([
      ['3', 'EVENT_UNKNOWN_MEMBER', '/unknown'],
      ['5', 'EVENT_MEMBER_TYPE', '/type'],
      ['7', 'EVENT_MEMBER_TYPE', undefined],
    ])
    expect(await ids()).toEqual(['e1', 'e3'])
  })

  test('a line beyond any event is read past in bounded memory', async () => {
    const { run, ids } = await scene()
    const long = `${line(1)}\n{"type":"${'x'.repeat(17_000_000)}"}\n${line(2)}\n`
    const summary = await run(long, { skipRefused: true })
    expect(summary.refused.map(({ code, where }) => [code, where.split(':').at(-1)])).toEqual([
      ['SOURCE_LINE_TOO_LONG', '2'],
    ])
    expect(await ids()).toEqual(['e1', 'e2'])
  })

  test('what only the store finds too large is named by its line too', async () => {
    const content = `${line(1)}\n${line(2)}\n${line(3, { data: { much: 'x'.repeat(70_000) } })}\n${line(4)}\n`
    const stopped = await scene()
    const summary = await stopped.run(content, { batchSize: 10 })
    expect(summary).toMatchObject({ imported: 2, complete: false })
    expect(summary.refused).toMatchObject([{ code: 'EVENT_TOO_LARGE', where: expect.stringMatching(/:3$/) as string }])
    const skipped = await scene()
    expect(await skipped.run(content, { batchSize: 10, skipRefused: true })).toMatchObject({
      imported: 3,
      complete: true,
    })
    expect(await skipped.ids()).toEqual(['e1', 'e2', 'e4'])
  })

  test('a line whose person has a blank name is named by its line, and passed over like any other', async () => {
    const blank = line(2, { actor: { kind: 'email', value: ' ' } })
    const { run, ids } = await scene()
    expect(await run(`${line(1)}\n${blank}\n${line(3)}\n`, { skipRefused: true })).toMatchObject({
      imported: 2,
      refused: [{ code: 'EVENT_MEMBER_VALUE', pointer: '/actor/value', where: expect.stringMatching(/:2$/) as string }],
    })
    expect(await ids()).toEqual(['e1', 'e3'])
  })

  test('what the store refuses without saying which is found all the same, and nothing is imported twice', async () => {
    const nobody = [3, 8, 9].map((n) => `${line(n)}\n`)
    const content = nobody.reduce(
      (text, bad) => text.replace(bad, bad.replace('{', '{"actor":{"id":"person:nobody"},')),
      lines(1, 10),
    )
    const skipped = await scene()
    namingNone(skipped.store)
    expect(await skipped.run(content, { batchSize: 10, skipRefused: true })).toMatchObject({
      imported: 7,
      refused: [3, 8, 9].map((n) => ({ code: 'SUBJECT_UNKNOWN', where: expect.stringMatching(`:${n}$`) as string })),
    })
    expect(await skipped.ids()).toEqual(['e1', 'e2', 'e4', 'e5', 'e6', 'e7', 'e10'])
    const stopped = await scene()
    namingNone(stopped.store)
    expect(await stopped.run(content, { batchSize: 10 })).toMatchObject({
      imported: 2,
      refusedCount: 1,
      complete: false,
    })
    expect(await stopped.ids()).toEqual(['e1', 'e2'])
  })

  test.each([
    ['a folder', folder],
    ['a missing file', join(folder, 'missing')],
  ])('%s', async (_, path) => {
    await expect(ndjsonSource({ path, fingerprintKey })).rejects.toMatchObject({ code: 'SOURCE_FILE_UNREADABLE' })
  })

  test('an empty file holds nothing', async () => {
    const { run } = await scene()
    expect(await run('')).toMatchObject({ imported: 0, complete: true })
    expect(await run('\n\n')).toMatchObject({ imported: 0, complete: true })
  })

  test('a damaged archive', async () => {
    const { run } = await scene()
    const damaged = gzipSync(lines(1, 500)).subarray(0, 100)
    await expect(run(damaged)).rejects.toMatchObject({ code: 'SOURCE_FILE_UNREADABLE' })
  })
})

describe('two at once', () => {
  const path = join(folder, 'twice.ndjson')
  const importIt = async (store: ImportStore, batchSize: number): Promise<ImportSummary> =>
    importSource(await ndjsonSource({ path, fingerprintKey }), store, { batchSize })

  test.each([
    [3, 3],
    [3, 4],
    [5, 2],
    [1, 100],
    [100, 7],
  ])('batches of %d and %d import everything once', async (one, other) => {
    writeFileSync(path, lines(1, 50))
    const store = await stores.open()
    const both = await Promise.all([importIt(store, one), importIt(store, other)])
    expect(await store.ids()).toEqual(numbered(50))
    expect(both.reduce((sum, { imported }) => sum + imported, 0)).toBe(50)
    for (const { imported, already, complete } of both) expect([imported + already, complete]).toEqual([50, true])
  })

  test('one that the other has overtaken in a file that grew meanwhile repeats nothing', async () => {
    writeFileSync(path, lines(1, 10))
    const store = await stores.open()
    store.before = async () => {
      writeFileSync(path, lines(1, 20))
      await importIt(store, 20)
    }
    expect(await importIt(store, 10)).toMatchObject({ imported: 0, already: 20, complete: true })
    expect(await store.ids()).toEqual(numbered(20))
  })
})

test('progress counts up to the total, and a signal stops between batches', async () => {
  const { run, store } = await scene()
  const seen: (number | undefined)[][] = []
  await run(lines(1, 7), { onProgress: ({ done, total }) => seen.push([done, total]) })
  expect(seen).toEqual([
    [0, 7],
    [3, 7],
    [6, 7],
    [7, 7],
  ])
  const controller = new AbortController()
  store.before = async () => controller.abort()
  expect(await run(lines(11, 20), { signal: controller.signal })).toMatchObject({ imported: 3, complete: false })
})

describe('CloudTrail files', () => {
  const record = (n: number): object => ({
    eventSource: 's3.amazonaws.com',
    eventName: 'GetObject',
    eventTime: '2026-03-02T09:00:00Z',
    eventID: `e${n}`,
  })
  const write = (name: string, content: string | Buffer): string => {
    const path = join(folder, name)
    writeFileSync(path, content)
    return path
  }

  test.each([
    ['one record a line', `${JSON.stringify(record(1))}\n${JSON.stringify(record(2))}\n`],
    ['as delivered', JSON.stringify({ Records: [record(1), record(2)] })],
    ['as delivered, gzipped', gzipSync(JSON.stringify({ Records: [record(1), record(2)] }))],
    ['laid out for reading', JSON.stringify({ Records: [record(1), record(2)] }, null, 2)],
  ])('%s', async (_, content) => {
    const events = await eventsOf(await cloudtrailSource({ path: write('trail.json', content), fingerprintKey }))
    expect(events.map(({ id, type, source }) => [id, type, source?.position])).toEqual([
      ['e1', 'aws.s3.GetObject', '1'],
      ['e2', 'aws.s3.GetObject', '2'],
    ])
  })

  test('a record that is none is named by its place in the document', async () => {
    const path = write('trail.json', JSON.stringify({ Records: [record(1), { eventName: 'X' }] }))
    const summary = await importSource(await cloudtrailSource({ path, fingerprintKey }), await stores.open())
    expect(summary).toMatchObject({
      imported: 1,
      refused: [{ where: `${path}: record 2`, code: 'CLOUDTRAIL_NOT_A_RECORD', pointer: '/Records/1/eventSource' }],
    })
  })

  test.each(['{"Records": {}}', '{"Records": [], "more": 1}'])('%s is no CloudTrail file', async (content) => {
    const path = write('trail.json', content)
    await expect(cloudtrailSource({ path, fingerprintKey })).rejects.toMatchObject({ code: 'CLOUDTRAIL_NOT_A_RECORD' })
  })

  test('a folder is its files, in the order of their names', async () => {
    const found = await cloudtrailFiles(folder)
    expect(found).toContain(join(folder, 'trail.json'))
    expect(found).toEqual([...found].sort())
    expect(await cloudtrailFiles(join(folder, 'trail.json'))).toEqual([join(folder, 'trail.json')])
  })
})
