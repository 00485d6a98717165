import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { countersign, type Ran } from '../support/cli.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { serve, type Served } from '../support/served.js'

let server: TestDatabase
let env: Record<string, string>
let api: Served
const people: { name: string; id: string; file: string }[] = []

const run = (...words: string[]): Promise<Ran> => countersign(words, { env })
const as = (n: number): string[] => ['--token-file', people[n]?.file ?? '', '--api', api.url]

async function ran(...words: string[]): Promise<Record<string, unknown>> {
  const { code, json, stderr } = await run(...words, '--json')
  expect([code, stderr]).toEqual([0, stderr])
  return json()
}

beforeAll(async () => {
  server = await testDatabase()
  env = { DATABASE_URL: server.url, COUNTERSIGN_HOME: server.home }
  await ran('tenant', 'create', 'acme')
  await ran('role', 'define', 'approver', '--permission', 'changes/*:*', '--tenant', 'acme')
  for (const name of ['ada', 'ben', 'cy']) {
    const made = await ran(
      'token',
      'create',
      '-t',
      'acme',
      '-p',
      `email:${name}@example.org`,
      '--permission',
      'changes/*:*',
    )
    const file = join(server.home, `${name}.token`)
    writeFileSync(file, `${String(made['token'])}\n`, { mode: 0o600 })
    people.push({ name, id: String(made['principal']), file })
    await ran('role', 'grant', 'approver', '--principal', String(made['principal']), '--tenant', 'acme')
  }
  api = await serve(env)
}, 120_000)

afterAll(async () => {
  await api.end()
  await server.close()
})

test('the operator asks, people decide with their tokens and the hash of what they read', async () => {
  const asked = await ran(
    'change',
    'request',
    'role.define',
    '{"role":"auditor","permissions":["ledger/*:read"]}',
    '-r',
    'audit',
  )
  const { id, payloadHash } = asked as { id: string; payloadHash: string }
  expect(asked).toMatchObject({ status: 'requested', requester: 'service:host', approvals: 0 })
  const shown = await run('change', 'show', id)
  expect(shown.stdout).toContain(payloadHash)
  expect(shown.stdout).toContain('+   "permissions": [')
  expect(shown.stdout).not.toContain('audit"')

  const waiting = await ran('change', 'list', '--waiting-for-me', ...as(1))
  expect((waiting['changes'] as { id: string }[]).map((change) => change.id)).toEqual([id])

  const first = await ran('change', 'approve', id, '--hash', payloadHash, ...as(1))
  expect(first).toMatchObject({ id, status: 'requested' })
  expect((await ran('change', 'list', '--waiting-for-me', ...as(1)))['changes']).toEqual([])
  const second = await ran('change', 'approve', id, '--hash', payloadHash, '-r', 'looks right', ...as(2))
  expect(second).toMatchObject({ id, status: 'approved' })
  const listed = await run('change', 'list', '--status', 'approved')
  expect(listed.stdout).toContain(id)
})

test('the operator does not vote, and nobody votes on what they did not read', async () => {
  const change = await ran(
    'change',
    'request',
    'policy.set',
    '{"kind":"role.grant","policy":{"coolingOffMs":1000}}',
    ...as(0),
  )
  const ref = String(change['id'])
  const host = await run('change', 'approve', ref, '--hash', String(change['payloadHash']))
  expect([host.code, host.stderr]).toEqual([2, expect.stringContaining('TOKEN_MISSING')])
  const unread = await run('change', 'approve', ref, ...as(1))
  expect([unread.code, unread.stderr]).toEqual([2, expect.stringContaining('--hash')])
  const other = await run('change', 'approve', ref, '--hash', '0'.repeat(64), ...as(1))
  expect([other.code, other.stderr]).toEqual([2, expect.stringContaining('VOTE_HASH_DIFFERS')])
  const own = await run('change', 'approve', ref, '--hash', String(change['payloadHash']), ...as(0))
  expect([own.code, own.stderr]).toEqual([2, expect.stringContaining('VOTE_BY_REQUESTER')])
  const foreign = await run('change', 'withdraw', ref, '--tenant', 'acme')
  expect([foreign.code, foreign.stderr]).toEqual([2, expect.stringContaining('CHANGE_NOT_YOURS')])
  expect(await ran('change', 'withdraw', ref, ...as(0))).toEqual({ id: ref, withdrawn: true })
})

test('a token that others may read is not used, and an API that is not there is named', async () => {
  const open = join(server.home, 'open.token')
  writeFileSync(open, 'cs_acme.x')
  chmodSync(open, 0o644)
  const refused = await run('change', 'list', '--token-file', open)
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('chmod 600')])
  const gone = await run('change', 'list', ...as(0).slice(0, 2), '--api', 'http://127.0.0.1:9')
  expect([gone.code, gone.stderr]).toEqual([3, expect.stringContaining('API_UNREACHABLE')])
})

test('policies are set during setup, then approvals are enforced, and only the override is left', async () => {
  const policy = '{"groups":[{"name":"both","count":2}],"reasonRequired":true}'
  expect((await run('policy', 'set', 'role.grant', policy)).code).toBe(0)
  expect((await run('policy', 'list')).stdout).toMatch(/role\.grant +yes +2 of both, within 72 h, with a reason/)
  expect((await run('policy', 'set', 'role.grant', '{"groups":[]}')).stderr).toContain('POLICY_INVALID')
  expect((await run('approvals', 'status')).stdout).toContain('being set up')
  expect((await run('approvals', 'enforce')).code).toBe(0)
  const refused = await run('policy', 'set', 'role.grant', policy)
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('CHANGE_REQUIRED')])
  const forced = await run('policy', 'remove', 'role.grant', '--override', 'locked out')
  expect(forced.code).toBe(0)
  for (const tenant of ['acme', 'system']) {
    expect((await run('log', 'show', '--tenant', tenant, '--type', 'host.overrode')).stdout).toContain('host.overrode')
  }
  const missing = await run('change', 'request', 'role.nothing', '{}')
  expect([missing.code, missing.stderr]).toEqual([2, expect.stringContaining('CHANGE_KIND_UNKNOWN')])
})
