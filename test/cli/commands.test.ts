import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { countersign, type Ran, type RunOptions } from '../support/cli.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { TestRepository } from '../support/git.js'
import { root } from '../support/root.js'

let server: TestDatabase
let env: Record<string, string>
/** Outside the home folder. */
let safe: string

const run = (words: string[], options: RunOptions = {}) => countersign(words, { ...options, env })
const file = (name: string, content: string): string => {
  const path = join(server.home, name)
  writeFileSync(path, content)
  return path
}

beforeAll(async () => {
  server = await testDatabase()
  safe = mkdtempSync(join(tmpdir(), 'countersign-safe-'))
  env = { DATABASE_URL: server.url, COUNTERSIGN_HOME: server.home }
  expect((await run(['tenant', 'create', 'acme'])).code).toBe(0)
})

afterAll(async () => {
  await server.close()
  rmSync(safe, { recursive: true })
})

const event = (type: string) => JSON.stringify({ type })

/** The help of a command, or of the commands below it, all at once. */
async function helpOf(group: string): Promise<[string, Ran][]> {
  const help = await run([group, '--help'])
  expect(help.code).toBe(0)
  const commands = [...help.stdout.matchAll(/^ {2}([a-z-]+) \[options\]/gm)].map(([, name]) => name ?? '')
  if (commands.length === 0) return [[group, help]]
  return Promise.all(
    commands.map(async (name) => [`${group} ${name}`, await run([group, name, '--help'])] satisfies [string, Ran]),
  )
}

describe('the frame', () => {
  test('every command shows its help with examples', async () => {
    const { stdout } = await run(['--help'])
    const groups = [...stdout.matchAll(/^ {2}([a-z-]+)(?: \[options\]| )/gm)].map(([, name]) => name ?? '')
    expect(groups).toContain('verify')
    for (const group of groups.filter((name) => name !== 'help')) {
      for (const [words, { code, stdout }] of await helpOf(group)) {
        expect([words, code]).toEqual([words, 0])
        expect(stdout).toContain('--json')
        expect(stdout).toMatch(/Examples:\n {2}\$ countersign /)
      }
    }
  }, 240_000)

  test.each([
    { words: ['no-such-command'] },
    { words: ['tenant', 'crate', 'acme'] },
    { words: ['tenant', 'create'] },
    { words: ['export', '--from', 'x'] },
    { words: ['export', '--from', '9', '--to', '3'] },
    { words: ['migrate', '--no-such-option'] },
    { words: [] },
  ])('$words is a usage error', async ({ words }) => {
    const { code, stdout, stderr } = await run(words)
    expect(code).toBe(2)
    expect(stdout).toBe('')
    expect(stderr).toMatch(words.length === 0 ? /^Usage: countersign/ : /^error USAGE: /)
  })

  test('errors are JSON on standard output when asked for, and said on standard error all the same', async () => {
    const { code, json, stderr } = await run(['tenant', 'create', 'acme', '--json'])
    expect(code).toBe(2)
    expect(json()).toMatchObject({ error: { code: 'TENANT_EXISTS' } })
    expect(stderr).toMatch(/^error TENANT_EXISTS: /)
  })

  test('a database that does not answer could not run', async () => {
    const { code, stderr } = await countersign(['tenant', 'list'], {
      env: { ...env, DATABASE_URL: 'postgres://postgres:secret@127.0.0.1:1/none' },
    })
    expect(code).toBe(3)
    expect(stderr).toMatch(/^error DATABASE_UNREACHABLE: no connection to 127\.0\.0\.1:1\/none/)
    expect(stderr).not.toContain('secret')
  })

  test('a setting that is not accepted could not run', async () => {
    const { code, stderr } = await countersign(['tenant', 'list'], { env: { ...env, COUNTERSIGN_HTTP_PORT: 'x' } })
    expect(code).toBe(3)
    expect(stderr).toMatch(/^error CONFIG_INVALID: COUNTERSIGN_HTTP_PORT/)
  })

  test('nothing is coloured when nobody sees it', async () => {
    const { stdout, stderr } = await run(['tenant', 'list'])
    expect(stdout + stderr).not.toContain('\u001b')
  })
})

describe('migrate and tenants', () => {
  test('a migrated database has nothing to migrate', async () => {
    const { code, json } = await run(['migrate', '--json'])
    expect(code).toBe(0)
    expect(json()).toEqual({
      migrations: [],
      installation: server.installation.id,
      keyFile: server.keyFile,
    })
  })

  test('commands say when the database is not migrated', async () => {
    const elsewhere = { ...env, COUNTERSIGN_HOME: join(server.home, 'elsewhere') }
    const { code, stderr } = await countersign(['tenant', 'list'], { env: elsewhere })
    expect(code).toBe(3)
    expect(stderr).toMatch(/^error DATABASE_NOT_MIGRATED: .* run: countersign migrate/)
  })

  test('commands need no credentials but those of the key file', async () => {
    const address = new URL(server.url)
    address.username = ''
    address.password = ''
    const { code, json } = await countersign(['tenant', 'list', '--json'], {
      env: { ...env, DATABASE_URL: address.href },
    })
    expect(code).toBe(0)
    expect((json()['tenants'] as { id: string }[]).map(({ id }) => id)).toEqual(['acme', 'system'])
  })

  test('a name that cannot be a tenant is refused', async () => {
    const { code, stderr } = await run(['tenant', 'create', 'Not A Name'])
    expect(code).toBe(2)
    expect(stderr).toMatch(/^error TENANT_ID_INVALID: /)
  })
})

describe('append', () => {
  test('an event comes as an argument, in a file or on standard input', async () => {
    const path = file('event.json', event('from.file'))
    for (const [words, input] of [
      [['append', event('from.argument'), '--json'], ''],
      [['append', '--file', path, '--json'], ''],
      [['append', '--json'], event('from.stdin')],
      [['append', '-', '--json'], event('from.stdin')],
    ] as const) {
      const { code, json } = await run([...words], { input })
      expect(code).toBe(0)
      expect(json()).toMatchObject({ tenant: 'acme', entries: [{ seq: expect.any(Number) as number }] })
    }
  })

  test('the same key appends once, and another event under it is refused', async () => {
    const words = ['append', '--idempotency-key', 'once', '--json']
    const first = await run([...words, event('told.once')])
    const again = await run([...words, event('told.once')])
    const other = await run([...words, event('told.otherwise')])
    expect(again.json()).toEqual({ ...first.json(), repeated: true })
    expect(other.code).toBe(2)
    expect(other.json()).toMatchObject({ error: { code: 'IDEMPOTENCY_KEY_REUSED' } })
  })

  test.each([
    { text: '{"type":"a.b",}', code: 'JSON_MALFORMED' },
    { text: '{"type":"a.b","n":1,"n":2}', code: 'JSON_DUPLICATE_KEY' },
    { text: '{"type":"flat"}', code: 'EVENT_TYPE_GRAMMAR', pointer: '/type' },
    { text: '[{"type":"a.b"},{"type":"a.b","colour":1}]', code: 'EVENT_UNKNOWN_MEMBER', pointer: '/1/colour' },
    { text: '[]', code: 'USAGE' },
    {
      text: '{"type":"a.b","actor":{"id":"person:01ARZ3NDEKTSV4RRFFQ69G5FAV"}}',
      code: 'SUBJECT_UNKNOWN',
      pointer: '/actor/id',
    },
    {
      text: '[{"type":"a.b"},{"type":"a.b","actor":{"id":"person:01NO"}}]',
      code: 'SUBJECT_UNKNOWN',
      pointer: '/1/actor/id',
    },
    {
      text: '{"type":"a.b","actor":{"kind":"email","value":" "}}',
      code: 'EVENT_MEMBER_VALUE',
      pointer: '/actor/value',
    },
  ])('$text is refused as $code', async ({ text, code, pointer }) => {
    const ran = await run(['append', text, '--json'])
    expect(ran.code).toBe(2)
    expect(ran.json()['error']).toMatchObject({ code, ...(pointer === undefined ? {} : { pointer }) })
    expect(ran.stderr).toMatch(new RegExp(`^error ${code}: `))
  })

  test('an unknown tenant is refused, and nothing at all is refused too', async () => {
    expect((await run(['append', '--tenant', 'nobody', event('a.b')])).stderr).toMatch(/^error TENANT_UNKNOWN: /)
    const { code } = await run(['append'], { input: '' })
    expect(code).toBe(2)
  })
})

describe('import', () => {
  test('a git history is imported once, also by two at once', async () => {
    const repository = new TestRepository()
    try {
      for (let n = 0; n < 30; n++) repository.commit(`change ${n}`, { file: `file-${n}` })
      expect((await run(['tenant', 'create', 'twice'])).code).toBe(0)
      const words = ['import', 'git', repository.path, '--tenant', 'twice', '--batch-size', '2', '--json']
      const both = await Promise.all([run(words), run(words)])
      expect(both.map(({ code }) => code)).toEqual([0, 0])
      const sources = both.map(({ json }) => (json()['sources'] as { imported: number; already: number }[])[0])
      expect((sources[0]?.imported ?? 0) + (sources[1]?.imported ?? 0)).toBe(30)
      const again = await run(words)
      expect(again.json()).toMatchObject({ sources: [{ imported: 0, already: 30, complete: true }] })
      expect((await run(['verify', '--tenant', 'twice'])).code).toBe(0)
    } finally {
      repository.remove()
    }
  })

  test('a bad line is named with file, line and rule; what comes before it is imported', async () => {
    const path = file(
      'bad.ndjson',
      `${event('line.one')}\n${event('line.two')}\n{"type":"line.three","colour":"red"}\n${event('line.four')}\n`,
    )
    const stopped = await run(['import', 'ndjson', path, '--tenant', 'acme', '--json'])
    expect(stopped.code).toBe(1)
    expect(stopped.json()).toMatchObject({
      sources: [
        {
          imported: 2,
          complete: false,
          refused: [{ where: `${path}:3`, code: 'EVENT_UNKNOWN_MEMBER', pointer: '/colour' }],
        },
      ],
    })
    expect(stopped.stderr).toContain(`refused ${path}:3: EVENT_UNKNOWN_MEMBER: `)
    const skipped = await run(['import', 'ndjson', path, '--tenant', 'acme', '--json', '--skip-refused'])
    expect(skipped.code).toBe(1)
    expect(skipped.json()).toMatchObject({ sources: [{ imported: 1, already: 2, refusedCount: 1, complete: true }] })
  })

  test('CloudTrail records become entries', async () => {
    const { code, json } = await run([
      'import',
      'cloudtrail',
      join(root, 'test/fixtures/cloudtrail.ndjson'),
      '--tenant',
      'acme',
      '--json',
    ])
    expect(code).toBe(0)
    expect(json()).toMatchObject({ sources: [{ refusedCount: 0, complete: true }] })
  })

  test.each([
    { words: ['import', 'git', '/no/such/folder'], code: 'GIT_NOT_FOUND', exit: 3 },
    { words: ['import', 'ndjson', '/no/such/file'], code: 'SOURCE_FILE_UNREADABLE', exit: 2 },
    { words: ['import', 'cloudtrail', '/no/such/file'], code: 'SOURCE_FILE_UNREADABLE', exit: 2 },
  ])('$words ends with $code', async ({ words, code, exit }) => {
    const ran = await run([...words, '--tenant', 'acme', '--json'])
    expect(ran.code).toBe(exit)
    expect(ran.json()).toMatchObject({ error: { code } })
  })
})

describe('export', () => {
  test('an export can be checked with nothing but SHA-256', async () => {
    const path = join(server.home, 'export.ndjson')
    const { code, json } = await run(['export', '--tenant', 'acme', '--out', path, '--json'])
    expect(code).toBe(0)
    expect(json()).toMatchObject({ recordedSeq: (json()['lastSeq'] as number) + 1, file: path })
    const manifest = JSON.parse(readFileSync(`${path}.manifest.json`, 'utf8')) as Record<string, unknown>
    const text = readFileSync(path, 'utf8')
    expect(manifest['lines']).toEqual({ bytes: Buffer.byteLength(text), sha256: sha256(text).toString('hex') })
    let chain = Buffer.alloc(32)
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { seq: number; leaf: string; chainHash: string })
    for (const [index, line] of lines.entries()) {
      const leaf = Buffer.from(line.leaf, 'base64')
      chain = sha256(Buffer.concat([chain, sha256(Buffer.concat([Buffer.of(0), leaf]))]))
      expect(line).toMatchObject({ seq: index, chainHash: chain.toString('hex') })
      const { entry } = JSON.parse(leaf.toString()) as { entry: Record<string, unknown> }
      expect(entry).toMatchObject({ seq: index, tenant: 'acme', log: manifest['log'] })
    }
    expect(manifest).toMatchObject({
      entries: lines.length,
      lastSeq: lines.length - 1,
      lastChainHash: chain.toString('hex'),
      previousChainHash: '0'.repeat(64),
    })
  })

  test('a part continues from the chain hash before it, and no file is overwritten', async () => {
    const path = join(server.home, 'part.ndjson')
    const words = ['export', '--tenant', 'acme', '--from', '3', '--to', '5', '--out', path, '--json']
    const { json } = await run(words)
    const [first] = readFileSync(path, 'utf8').split('\n')
    const { leaf, chainHash } = JSON.parse(first ?? '') as { leaf: string; chainHash: string }
    const leafHash = sha256(Buffer.concat([Buffer.of(0), Buffer.from(leaf, 'base64')]))
    const previous = Buffer.from(json()['previousChainHash'] as string, 'hex')
    expect(sha256(Buffer.concat([previous, leafHash])).toString('hex')).toBe(chainHash)
    const again = await run(words)
    expect(again.code).toBe(2)
    expect(again.json()).toMatchObject({ error: { code: 'OUTPUT_EXISTS' } })
    const beyond = await run(['export', '--tenant', 'acme', '--from', '999999', '--json', '--out', `${path}.2`])
    expect(beyond.json()).toMatchObject({ error: { code: 'RANGE_EMPTY' } })
    expect(existsSync(`${path}.2`)).toBe(false)
  })
})

describe('keys and doctor', () => {
  test('the doctor warns until the key file has been backed up, which is put on record', async () => {
    const before = await run(['doctor', '--json'])
    expect(before.code).toBe(0)
    expect(before.json()).toMatchObject({ ok: true, warnings: expect.any(Number) as number })
    expect(before.stdout).toContain('"key backup","status":"warn"')
    const inside = await run(['keys', 'backup', join(server.home, 'copies/'), '--json'])
    expect([inside.code, inside.json()]).toEqual([
      3,
      { error: expect.objectContaining({ code: 'KEY_BACKUP_INSIDE_HOME' }) as unknown },
    ])
    expect(existsSync(join(server.home, 'copies'))).toBe(false)
    const copy = join(safe, 'copy.json')
    const { code, json } = await run(['keys', 'backup', copy, '--json'])
    expect(code).toBe(0)
    expect(json()).toMatchObject({ file: copy, keyIds: server.installation.keys.map(({ id }) => id) })
    expect(readFileSync(copy)).toEqual(readFileSync(server.keyFile))
    expect(statSync(copy).mode & 0o777).toBe(0o600)
    expect((await run(['keys', 'backup', copy])).stderr).toMatch(/^error OUTPUT_EXISTS: /)
    const folder = join(safe, 'not', 'there', 'yet')
    const made = (await run(['keys', 'backup', `${folder}/`, '--json'])).json()
    expect(made['file']).toMatch(/\/yet\/countersign-[0-9a-f]{8}-keys\.json$/)
    expect(statSync(folder).mode & 0o777).toBe(0o700)
    expect((await run(['doctor', '--json'])).stdout).toContain('"key backup","status":"ok"')
    const admin = await server.superuser()
    const { rows } = await admin.query<{ leaf: Buffer }>(
      `select leaf from entries where tenant = 'system' order by seq desc limit 1`,
    )
    expect(rows[0]?.leaf.toString()).toContain('"type":"key-file.backed-up"')
  })

  test('the doctor ends with 1 when something is missing, and says what to do', async () => {
    const { code, stdout } = await countersign(['doctor'], {
      env: { ...env, DATABASE_URL: 'postgres://postgres@127.0.0.1:1/none' },
    })
    expect(code).toBe(1)
    expect(stdout).toMatch(/^fail {2}database .*\n +start PostgreSQL, or correct DATABASE_URL$/m)
  })
})

function sha256(bytes: Buffer | string): Buffer<ArrayBuffer> {
  return Buffer.from(createHash('sha256').update(bytes).digest())
}
