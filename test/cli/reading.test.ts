import { appendFileSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { countersign, start, type Answer } from '../support/cli.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { eventually } from '../support/processes.js'

let server: TestDatabase
let env: Record<string, string>
let ada: string

const run = (...words: string[]) => countersign(words, { env })
const answer = async (...words: string[]): Promise<Answer> => (await run(...words, '--json')).json()

beforeAll(async () => {
  server = await testDatabase()
  env = { DATABASE_URL: server.url, COUNTERSIGN_HOME: server.home }
  await run('tenant', 'create', 'acme')
  const person = { kind: 'email', value: 'ada@example.org' }
  const granted = {
    type: 'role.granted',
    actor: person,
    targets: [{ id: 'project:9' }],
    occurredAt: '2026-03-01T10:00:00+01:00',
    personal: [{ group: 'name', subject: person, data: { name: 'Ada Lovelace' } }],
  }
  const denied = { type: 'door.opened', outcome: 'denied', reason: 'no-badge' }
  const { entries } = (await answer('append', JSON.stringify([granted, denied, denied]))) as {
    entries: { actor: string }[]
  }
  ada = entries[0]?.actor ?? ''
})

afterAll(() => server.close())

const seqsOf = ({ entries }: Answer) => (entries as { seq: number }[]).map(({ seq }) => seq)

describe('log', () => {
  test('shows entries in order, newest first when asked, and says when there are more', async () => {
    expect(seqsOf(await answer('log', 'show', '--limit', 'all')).slice(0, 4)).toEqual([0, 1, 2, 3])
    const newest = await answer('log', 'show', '--reverse', '--to', '3', '--limit', '2')
    expect([seqsOf(newest), newest['more']]).toEqual([[3, 2], true])
    const { stdout, stderr } = await run('log', 'show', '--limit', '1')
    expect(stdout).toMatch(/^ {5}0 {2}\S+Z {2}log\.created\n$/)
    expect(stderr).toContain('there are more')
  })

  test('filters by what the index knows, without a server that builds it', async () => {
    expect(seqsOf(await answer('log', 'show', '--type', 'door.*'))).toEqual([2, 3])
    expect(seqsOf(await answer('log', 'show', '--outcome', 'denied', '--limit', '1'))).toEqual([2])
    expect(seqsOf(await answer('log', 'show', '--target', 'project:9'))).toEqual([1])
    expect(seqsOf(await answer('log', 'show', '--actor', ada))).toEqual([1])
    expect(seqsOf(await answer('log', 'show', '--since', '2999-01-01T00:00:00Z'))).toEqual([])
  })

  test('a person may be named by e-mail address, which is on record', async () => {
    expect(seqsOf(await answer('log', 'show', '--subject', 'email:Ada@Example.org', '--type', 'role.granted'))).toEqual(
      [1],
    )
    const { entries } = (await answer('log', 'show', '--type', 'subject.searched')) as { entries: Answer[] }
    expect(entries.length).toBeGreaterThan(0)
    expect(JSON.stringify(entries)).not.toMatch(/ada@example/i)
  })

  test('one entry in full has its exact bytes', async () => {
    const { leaf, leafHash, chainHash, event } = await answer('log', 'show', '1')
    const bytes = Buffer.from(leaf as string, 'base64').toString()
    expect(bytes).toMatch(/^\{"entry":\{"at":/)
    expect(bytes).not.toContain('Lovelace')
    expect([leafHash, chainHash]).toEqual([
      expect.stringMatching(/^[0-9a-f]{64}$/),
      expect.stringMatching(/^[0-9a-f]{64}$/),
    ])
    expect(event).toMatchObject({ type: 'role.granted', actor: { id: ada } })
    expect((await run('log', 'show', '1')).stdout).toContain('reported: the log says that they said so')
  })

  test.each([
    { words: ['log', 'show', '999999'], code: 'ENTRY_UNKNOWN' },
    { words: ['log', 'show', 'first'], code: 'USAGE' },
    { words: ['log', 'show', '--type', 'a b'], code: 'FILTER_INVALID' },
    { words: ['log', 'show', '--since', 'yesterday'], code: 'RANGE_INVALID' },
    { words: ['log', 'show', '--actor', 'email:nobody@example.org'], code: 'SUBJECT_UNKNOWN' },
    { words: ['log', 'show', '--actor', 'email: '], code: 'USAGE' },
    { words: ['log', 'show', '--actor', 'person:01ARZ3NDEKTSV4RRFFQ69G5FAV'], code: 'SUBJECT_UNKNOWN' },
    { words: ['log', 'show', '--tenant', 'nobody'], code: 'TENANT_UNKNOWN' },
  ])('$words ends with $code', async ({ words, code }) => {
    const ran = await run(...words, '--json')
    expect(ran.code).toBe(2)
    expect(ran.json()).toMatchObject({ error: { code } })
  })

  test('tail goes on with what is new, and Ctrl-C ends it well', async () => {
    const tail = start(['log', 'tail', '-n', '1', '--json'], { env })
    await eventually(() => tail.output().includes('\n'))
    await run('append', '{"type":"came.later"}')
    await eventually(() => tail.output().includes('came.later'))
    tail.process.kill('SIGINT')
    const { code, stdout } = await tail.ended
    expect(code).toBe(0)
    for (const line of stdout.trimEnd().split('\n')) expect(JSON.parse(line)).toHaveProperty('chainHash')
    expect((await run('log', 'tail', '-n', '2', '--no-follow')).stdout.split('\n')).toHaveLength(3)
  })
})

describe('tokens', () => {
  test('a token is made, listed without its secret, and revoked', async () => {
    const made = await answer(
      'token',
      'create',
      '--principal',
      'service:billing',
      '--permission',
      'ledger/events:write',
    )
    expect(made['token']).toMatch(/^cs_acme\.[A-Za-z0-9_-]{43}$/)
    const listed = await run('token', 'list', '--json')
    expect(listed.stdout).not.toContain(made['token'])
    expect(listed.json()).toMatchObject({ tokens: [{ id: made['id'], principal: 'service:billing' }] })
    expect((await run('token', 'revoke', made['id'] as string)).code).toBe(0)
    expect((await run('token', 'list')).stdout).toMatch(/revoked {2}service:billing/)
  })

  test('a person named by e-mail address becomes the holder by pseudonym, a new one too', async () => {
    const known = await answer(
      'token',
      'create',
      '-p',
      'email:ada@example.org',
      '--role',
      'auditor',
      '--expires',
      '90d',
    )
    expect(known['principal']).toBe(ada)
    expect(Date.parse(known['expiresAt'] as string)).toBeGreaterThan(Date.now() + 89 * 86_400_000)
    const unknown = await answer('token', 'create', '-p', 'email:grace@example.org', '--role', 'admin')
    expect(unknown['principal']).toMatch(/^person:[0-9A-Z]{26}$/)
  })

  test.each([
    { words: ['-p', 'service:host', '--role', 'admin'], code: 'PRINCIPAL_RESERVED' },
    { words: ['-p', 'person:01ARZ3NDEKTSV4RRFFQ69G5FAV', '--role', 'admin'], code: 'SUBJECT_UNKNOWN' },
    { words: ['-p', 'service:x', '--permission', 'everything'], code: 'PERMISSION_INVALID' },
    {
      words: ['-p', 'service:x', '--role', 'admin', '--expires', '2001-01-01T00:00:00Z'],
      code: 'TOKEN_EXPIRY_INVALID',
    },
    { words: ['-p', 'ada', '--role', 'admin'], code: 'USAGE' },
    { words: ['-p', 'email: ', '--role', 'admin'], code: 'USAGE' },
    { words: ['-p', 'service:x', '--role', 'root'], code: 'USAGE' },
    { words: ['-p', 'service:x'], code: 'USAGE' },
  ])('$words is refused as $code', async ({ words, code }) => {
    const ran = await run('token', 'create', ...words, '--json')
    expect(ran.code).toBe(2)
    expect(ran.json()).toMatchObject({ error: { code } })
  })
})

describe('subjects and reveals', () => {
  test('a person is found and a group revealed, both on record', async () => {
    const found = await answer('subject', 'find', 'email:ada@example.org', '--reason', 'access request 17')
    expect(found['subject']).toBe(ada)
    const revealed = await answer('entry', 'reveal', '1', 'name', '--reason', 'access request 17')
    expect(revealed).toMatchObject({ subject: ada, data: { name: 'Ada Lovelace' } })
    expect(await answer('log', 'show', String(revealed['recordedSeq']))).toMatchObject({
      by: 'service:host',
      event: { type: 'personal.revealed' },
    })
  })

  test('nobody found is a finding; no reason, no group and no entry are refused', async () => {
    expect((await run('subject', 'find', 'email:nobody@example.org', '--reason', 'x')).code).toBe(1)
    expect((await run('subject', 'find', 'email:ada@example.org')).code).toBe(2)
    expect((await run('entry', 'reveal', '1', 'address', '--reason', 'x')).stderr).toMatch(/^error GROUP_UNKNOWN/)
    expect((await run('entry', 'reveal', '999999', 'name', '--reason', 'x')).stderr).toMatch(/^error ENTRY_UNKNOWN/)
  })
})

describe('reports', () => {
  test('an audit trail is made, listed, and known again by its bytes', async () => {
    const out = mkdtempSync(join(server.home, 'out-'))
    const words = ['report', 'audit-trail', '--by', 'occurred', '--from', '2026-03-01', '--to', '2026-03-02']
    const made = await answer(...words, '--zone', 'Europe/Berlin', '--out', out)
    expect(made).toMatchObject({ rows: 1, parameters: { timeZone: 'Europe/Berlin', by: 'occurred' } })
    const paths = made['paths'] as Record<string, string>
    expect(readdirSync(out)).toHaveLength(3)
    expect(readFileSync(paths['csv'] ?? '', 'utf8')).toContain('role.granted')
    for (const path of Object.values(paths)) {
      expect(await answer('report', 'check', path)).toMatchObject({ recorded: { report: made['id'] } })
    }
    expect(await answer('report', 'list')).toMatchObject({ reports: [{ id: made['id'] }] })
    appendFileSync(paths['csv'] ?? '', 'one more line\r\n')
    const changed = await run('report', 'check', paths['csv'] ?? '')
    expect(changed.code).toBe(1)
    expect(changed.stdout).toMatch(/^not recorded/)
  })

  test('filters narrow it, people by e-mail address too', async () => {
    const made = await answer('report', 'audit-trail', '--actor', 'email:ada@example.org', '--format', 'csv')
    expect(made).toMatchObject({ parameters: { filter: { actor: ada } } })
    expect(Object.keys(made['paths'] as object)).toEqual(['csv', 'manifest'])
  })

  test.each([
    { words: ['--from', '2026-03-02', '--to', '2026-03-01'], code: 'REPORT_PERIOD_INVALID' },
    { words: ['--zone', 'Mars/Base'], code: 'REPORT_TIME_ZONE_UNKNOWN' },
    { words: ['--by', 'guessed'], code: 'USAGE' },
  ])('$words is refused as $code', async ({ words, code }) => {
    const ran = await run('report', 'audit-trail', ...words, '--json')
    expect(ran.code).toBe(2)
    expect(ran.json()).toMatchObject({ error: { code } })
  })

  test('the index can be dropped and built again', async () => {
    const { code, stdout } = await run('index', 'rebuild', '--tenant', 'acme')
    expect(code).toBe(0)
    expect(stdout).toMatch(/^indexed \d+ entries in /)
    expect(seqsOf(await answer('log', 'show', '--type', 'door.*'))).toEqual([2, 3])
  })
})

// Last, because it leaves the log as no service would.
describe('verify', () => {
  test('a sound log has no findings, by either way, and the kept head fits', async () => {
    const sound = await answer('verify')
    expect(sound).toMatchObject({ ok: true, findingCount: 0 })
    const [acme] = sound['tenants'] as { keep: string }[]
    expect((await run('verify', '--tenant', 'acme', '--expect', acme?.keep ?? '')).code).toBe(0)
    expect((await run('verify', '--in-database')).code).toBe(0)
    expect((await run('verify', '--from', '3')).code).toBe(0)
    const [seq = ''] = acme?.keep.split(':') ?? []
    expect((await run('verify', '--tenant', 'acme', '--from', String(Number(seq) + 1))).code).toBe(0)
    for (const way of [[], ['--in-database'], ['--tenant', 'acme']]) {
      const { code, stdout } = await run('verify', '--from', '99999', '--json', ...way)
      expect(code).toBe(2)
      expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'RANGE_EMPTY' } })
    }
    const opened = await run('verify', '--commitments')
    expect(opened.code).toBe(0)
    expect(opened.stdout).toMatch(/0 findings in \d+ sealed groups?/)
  })

  test('another head than the one kept is a finding', async () => {
    const { code, stdout } = await run('verify', '--tenant', 'acme', '--expect', `2:${'0'.repeat(64)}`)
    expect(code).toBe(1)
    expect(stdout).toMatch(/^finding acme 2 EXPECTED_HEAD: /)
  })

  test('a changed byte is a finding that names tenant, seq and rule', async () => {
    const admin = await server.superuser()
    await admin.query(`set session_replication_role = replica`)
    await admin.query('alter table entries disable trigger user')
    for (const { child } of (
      await admin.query<{ child: string }>(
        `select inhrelid::regclass::text as child from pg_inherits where inhparent = 'entries'::regclass`,
      )
    ).rows) {
      await admin.query(`alter table ${child} disable trigger user`)
    }
    await admin.query(
      `update entries set leaf = convert_to(replace(convert_from(leaf, 'UTF8'), 'no-badge', 'a-badge'), 'UTF8')
       where tenant = 'acme' and seq = 2`,
    )
    await admin.query(
      'update sealed_groups set ciphertext = set_byte(ciphertext, 40, get_byte(ciphertext, 40) # 1) where seq = 1',
    )
    const opened = await run('verify', '--commitments', '--json')
    expect(opened.code).toBe(1)
    expect(opened.json()).toMatchObject({
      ok: false,
      commitments: { findings: [{ tenant: 'acme', seq: 1, code: 'COMMITMENT_MISMATCH' }] },
    })
    for (const words of [['verify'], ['verify', '--in-database']]) {
      const { code, stdout } = await run(...words)
      expect(code).toBe(1)
      expect(stdout).toMatch(/^finding acme 2 [A-Z_]+: /)
      const found = await run(...words, '--json')
      expect(found.json()).toMatchObject({ ok: false, findings: [{ tenant: 'acme', seq: 2 }] })
    }
  })

  test.each([
    ['--expect', '12'],
    ['--from', '-1'],
    ['--in-database', '--expect', `1:${'0'.repeat(64)}`],
  ])('verify %s %s is a usage error', async (...words) => {
    const ran = await run('verify', '--tenant', 'acme', ...words.filter((word) => word !== undefined))
    expect(ran.code).toBe(2)
  })
})

describe('with a second tenant', () => {
  test('a file is known without saying whose it is, however many tenants there are', async () => {
    await run('tenant', 'create', 'globex')
    const made = await answer('report', 'audit-trail', '--tenant', 'globex', '--format', 'csv')
    const path = (made['paths'] as Record<string, string>)['csv'] ?? ''
    expect(await answer('report', 'check', path)).toMatchObject({ tenant: 'globex', recorded: { report: made['id'] } })
    expect((await run('report', 'check', path, '--tenant', 'acme')).code).toBe(1)
    const foreign = await run('report', 'check', join(server.home, 'keys.json'))
    expect([foreign.code, foreign.stdout]).toEqual([
      1,
      expect.stringMatching(/none of the files that the logs of 3 tenants/),
    ])
  })
})
