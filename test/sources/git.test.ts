import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { EventInput, Json } from '../../src/ledger/event.js'
import { gitEnvironment } from '../../src/sources/git-process.js'
import { gitSource } from '../../src/sources/git.js'
import { TestRepository } from '../support/git.js'
import { eventsOf, groupsOf, inClear } from '../support/source.js'

const env = gitEnvironment()
const ada = { name: 'Ada Lovelace', email: 'ada@example.org' }
const grace = { name: 'Grace Hopper', email: 'grace@example.com' }

let repository: TestRepository
beforeEach(() => {
  repository = new TestRepository()
})
afterEach(() => repository.remove())

async function history(): Promise<EventInput[]> {
  return eventsOf(await gitSource(repository.path, { env }))
}

/** A commit's message, put together again from its groups. */
function wholeMessage(event: EventInput): string {
  const groups = groupsOf(event)
  const message = groups['message'] as { text: string; persons?: { at: number; group: string }[] } | undefined
  if (message === undefined) return ''
  let whole = ''
  let from = 0
  for (const { at, group } of message.persons ?? []) {
    whole += message.text.slice(from, at) + textOf(groups[group])
    from = at
  }
  return whole + message.text.slice(from)
}

function textOf(data: Json | undefined): string {
  return typeof data === 'string' ? data : (data as { text: string }).text
}

describe('a commit as an event', () => {
  test('shows hashes, times and counts, and seals name, address and message each for itself', async () => {
    const sha = repository.commit('Count the bees\n\nAll of them.\n', {
      file: 'bees.txt',
      content: 'one\ntwo\n',
      when: '1688990082 +0530',
    })
    const [event] = await history()
    expect(event).toEqual({
      type: 'git.committed',
      id: sha,
      actor: { kind: 'email', value: 'ada@example.org', type: 'user' },
      occurredAt: '2023-07-10T17:24:42+05:30',
      outcome: 'success',
      targets: [
        { id: `commit:${sha}`, type: 'commit' },
        { id: `git:${sha}`, type: 'repository' },
      ],
      data: {
        tree: repository.tree(),
        parents: [],
        committedAt: '2023-07-10T17:24:42+05:30',
        filesChanged: 1,
        insertions: 2,
        deletions: 0,
      },
      personal: [
        { group: 'author-name', subject: { kind: 'email', value: 'ada@example.org' }, data: 'Ada Lovelace' },
        { group: 'author-email', subject: { kind: 'email', value: 'ada@example.org' }, data: 'ada@example.org' },
        {
          group: 'message',
          subject: { kind: 'email', value: 'ada@example.org' },
          data: { text: 'Count the bees\n\nAll of them.\n' },
        },
      ],
      source: { name: `git:${sha}`, delivery: 'at-least-once', replayable: true },
    })
    expect(inClear(event as EventInput)).not.toMatch(/ada|lovelace|bees/i)
  })

  test('a merge is marked, comes after both of its parents, and counts no lines twice', async () => {
    repository.commit('root', { file: 'a' })
    repository.git(['checkout', '-q', '-b', 'side'])
    const side = repository.commit('on the side', { file: 'b' })
    repository.git(['checkout', '-q', 'main'])
    const main = repository.commit('on main', { file: 'c' })
    repository.git(['merge', '-q', '--no-ff', '-m', 'Merge side', 'side'])
    const events = await history()
    expect(events.map(({ type }) => type)).toEqual(['git.committed', 'git.committed', 'git.committed', 'git.merged'])
    expect(new Set(events.slice(1, 3).map(({ id }) => id))).toEqual(new Set([side, main]))
    expect(events[3]?.data?.['parents']).toEqual([main, side])
    expect(events[3]?.data).not.toHaveProperty('filesChanged')
  })

  test('everybody whom trailers name has groups of their own, cut out of a message that can be put together again', async () => {
    const message = [
      'Pair on the engine',
      '',
      'Reported-by: Charles Babbage <charles@example.net>',
      'See: the notes <not-a-person>',
      '',
      'Co-authored-by: Grace Hopper <grace@example.com>',
      'co-authored-by:   "Hamilton, Margaret" <margaret@example.com>  ',
      'Signed-off-by: Ada Lovelace <ada@example.org>',
      'Reviewed-by: alanb, Grace Hopper',
      'Cc: Grace Hopper <grace@example.com>, katherine@example.com # v2',
      'Change-Id: I0123',
      '',
    ].join('\n')
    repository.commit(message)
    const [event] = await history()
    if (event === undefined) throw new Error('no event')
    const groups = groupsOf(event)
    expect(groups).toMatchObject({
      'author-name': 'Ada Lovelace',
      'reporter-1-name': 'Charles Babbage',
      'reporter-1-email': 'charles@example.net',
      'co-author-1-name': 'Grace Hopper',
      'co-author-1-email': 'grace@example.com',
      'co-author-2-name': '"Hamilton, Margaret"',
      'co-author-2-email': 'margaret@example.com',
      'reviewer-1-name': 'alanb',
      'reviewer-2-name': 'Grace Hopper',
      'copied-1-email': 'katherine@example.com',
    })
    const left = (groups['message'] as { text: string }).text
    expect(left).not.toMatch(/Babbage|Grace|Hamilton|Ada|alanb|katherine|example\./)
    expect(left).toContain('See: the notes <not-a-person>')
    expect(wholeMessage(event)).toBe(message)
    const subjects = event.personal?.map(({ group, subject }) => [group, subject])
    expect(Object.fromEntries(subjects ?? [])).toMatchObject({
      'co-author-1-name': { kind: 'email', value: 'grace@example.com' },
      'reviewer-1-name': { kind: 'name', value: 'alanb' },
      message: { kind: 'email', value: 'ada@example.org' },
    })
    expect(event.data).toMatchObject({ trailers: 6, peopleNamed: 6 })
  })

  test('of more people than a leaf has room for, the rest stays in the sealed message', async () => {
    const lines = Array.from({ length: 200 }, (_, n) => `Cc: Person ${n} <p${n}@example.org>\n`).join('')
    const message = `Tell everybody\n\n${lines}`
    repository.commit(message)
    const [event] = await history()
    expect(event?.data).toMatchObject({ trailers: 200, peopleNamed: 120 })
    expect(wholeMessage(event as EventInput)).toBe(message)
  })

  test('a committer who is another person has groups of their own', async () => {
    repository.commit('Apply', { author: ada, committer: grace })
    repository.commit('Own', { author: ada, committer: ada })
    const [applied, own] = await history()
    expect(groupsOf(applied as EventInput)).toMatchObject({
      'author-email': 'ada@example.org',
      'committer-name': 'Grace Hopper',
      'committer-email': 'grace@example.com',
    })
    expect(Object.keys(groupsOf(own as EventInput))).toEqual(['author-name', 'author-email', 'message'])
  })

  test('an empty message makes no group, an empty commit counts nothing', async () => {
    repository.commit('')
    const [event] = await history()
    expect(groupsOf(event as EventInput)).not.toHaveProperty('message')
    expect(event?.data).toMatchObject({ filesChanged: 0, insertions: 0, deletions: 0 })
  })
})

describe('what old and foreign tools wrote', () => {
  const header = (author: string | Uint8Array, extra = ''): (string | Uint8Array)[] => [
    `tree ${repository.tree()}\nauthor `,
    author,
    `\ncommitter Ada <ada@example.org> 1700000000 +0000\n${extra}\n`,
  ]

  test.each([
    { what: 'UTF-8', message: Buffer.from('Größe 测试 🐝\n'), extra: '', text: 'Größe 测试 🐝\n', data: {} },
    {
      what: 'declared Latin-1',
      message: Buffer.from('Größe\n', 'latin1'),
      extra: 'encoding ISO-8859-1\n',
      text: 'Größe\n',
      data: { encoding: 'ISO-8859-1' },
    },
    {
      what: 'declared Shift_JIS',
      message: Buffer.from([0x83, 0x65, 0x83, 0x58, 0x83, 0x67]),
      extra: 'encoding SHIFT_JIS\n',
      text: 'テスト',
      data: { encoding: 'SHIFT_JIS' },
    },
  ])('a message in $what is read as what it says', async ({ message, extra, text, data }) => {
    repository.commitObject([...header('Jürgen <j@example.org> 1700000000 +0000', extra), message])
    const [event] = await history()
    expect(groupsOf(event as EventInput)['message']).toEqual({ text })
    expect(event?.data).toMatchObject(data)
  })

  test('bytes that are no text in their encoding are kept byte by byte, and say so', async () => {
    const name = Buffer.from('J\xfcrgen <j@example.org> 1700000000 +0000', 'latin1')
    const message = Buffer.from('Gr\xf6\xdfe\n\nCo-authored-by: Andr\xe9 <a@example.org>\n', 'latin1')
    repository.commitObject([...header(name), message])
    const [event] = await history()
    const groups = groupsOf(event as EventInput)
    expect(groups['author-name']).toEqual({ text: 'Jürgen', bytes: 'latin1' })
    expect(groups['co-author-1-name']).toEqual({ text: 'André', bytes: 'latin1' })
    expect(Buffer.from(wholeMessage(event as EventInput), 'latin1')).toEqual(message)
    expect(event?.data).toMatchObject({ undecoded: true })
  })

  test('a NUL, which no JSON text holds, is kept in base64', async () => {
    const message = Buffer.from('before\0after')
    repository.commitObject([...header('A <a@example.org> 1700000000 +0000'), message])
    const [event] = await history()
    expect(groupsOf(event as EventInput)['message']).toEqual({ text: message.toString('base64'), bytes: 'base64' })
  })

  test.each([
    { ident: 'Ada <> 1700000000 +0000', actor: { kind: 'name', value: 'Ada' } },
    { ident: '<ada@example.org> 1700000000 +0000', actor: { kind: 'email', value: 'ada@example.org' } },
    { ident: 'Ada <ada> 1700000000 +0000', actor: { kind: 'username', value: 'ada' } },
    { ident: 'A <a> B <c@example.org> 1700000000 +0000', actor: { kind: 'username', value: 'a> B <c@example.org' } },
    { ident: 'Ada\u0007 <\u0001@x> 1700000000 +0000', actor: { kind: 'git-commit' } },
    { ident: ' <> 1700000000 +0000', actor: { kind: 'git-commit' } },
  ])('$ident has an actor all the same', async ({ ident, actor }) => {
    repository.commitObject([...header(ident), 'x\n'])
    const [event] = await history()
    expect(event?.actor).toMatchObject(actor)
  })

  test.each([
    { when: '1700000000 +0545', occurredAt: '2023-11-15T03:58:20+05:45' },
    { when: '-86400 -0130', occurredAt: '1969-12-30T22:30:00-01:30' },
    { when: '1700000000 +9999', occurredAt: undefined },
    { when: '99999999999999 +0000', occurredAt: undefined },
    { when: '999999999999 +0000', occurredAt: undefined },
  ])('the time $when is kept as written', async ({ when, occurredAt }) => {
    repository.commitObject([...header(`A <a@example.org> ${when}`), 'x\n'])
    const [event] = await history()
    expect(event?.occurredAt).toBe(occurredAt)
    expect(event?.data?.['authoredAt']).toBe(occurredAt === undefined ? when : undefined)
  })

  test('a signature and further headers are named, not copied', async () => {
    const signature =
      'gpgsig -----BEGIN SSH SIGNATURE-----\n U1NIU0lH\n -----END SSH SIGNATURE-----\nmergetag object 1\n'
    repository.commitObject([...header('A <a@example.org> 1700000000 +0000', signature), 'x\n'])
    const [event] = await history()
    expect(event?.data).toMatchObject({ signature: 'ssh', headers: ['mergetag'] })
  })
})

describe('what is no history, or not the whole', () => {
  test('a shallow clone does not claim to be the whole', async () => {
    for (const message of ['a', 'b', 'c']) repository.commit(message, { file: message })
    const clone = new TestRepository()
    clone.git(['fetch', '-q', '--depth', '2', `file://${repository.path}`, 'main'])
    clone.git(['reset', '-q', '--hard', 'FETCH_HEAD'])
    const { items, notes } = await (await gitSource(clone.path, { env })).open(null)
    const events: EventInput[] = []
    for await (const item of items) if ('event' in item) events.push(item.event)
    expect(notes.join()).toMatch(/shallow/)
    expect(events).toHaveLength(2)
    expect(events[0]?.data).toMatchObject({ shallow: true, parents: [expect.any(String)] })
    expect(events[0]?.data).not.toHaveProperty('filesChanged')
    clone.remove()
  })

  test('a repository without a commit', async () => {
    await expect(gitSource(repository.path, { env })).rejects.toMatchObject({ code: 'GIT_NO_COMMITS' })
  })

  test('a folder outside any repository, or within one when it must be its own', async () => {
    await expect(gitSource('/', { env })).rejects.toMatchObject({ code: 'GIT_NOT_A_REPOSITORY' })
    repository.commit('a')
    const inside = join(repository.path, 'inside')
    mkdirSync(inside)
    await expect(gitSource(inside, { env, own: true })).rejects.toMatchObject({ code: 'GIT_NOT_A_REPOSITORY' })
    expect((await gitSource(inside, { env })).name).toBe(`git:${repository.head()}`)
  })

  test('a machine without git', async () => {
    const bare = { ...env, PATH: '/nonexistent' }
    await expect(gitSource(repository.path, { env: bare })).rejects.toMatchObject({ code: 'GIT_NOT_FOUND' })
  })

  test('git sees nothing of the environment but what it needs', () => {
    const passed = gitEnvironment({ PATH: '/bin', HOME: '/root', SECRET: 'x', GIT_DIR: '/elsewhere' })
    expect(passed).toMatchObject({ PATH: '/bin', HOME: '/root' })
    expect(passed).not.toHaveProperty('SECRET')
    expect(passed).not.toHaveProperty('GIT_DIR')
  })
})
