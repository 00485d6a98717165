import { afterAll, beforeAll, expect, test } from 'vitest'
import { ENFORCEMENT_STREAM } from '../../src/approvals/governance.js'
import { governed } from '../../src/approvals/governed.js'
import { appendEffects } from '../../src/auth/effects.js'
import { tokenDigest, tokenStream } from '../../src/auth/token.js'
import { inTenant } from '../../src/db/database.js'
import { createTenant } from '../../src/keyring/tenants.js'
import type { LeafEvent } from '../../src/ledger/event.js'
import { readLeaf } from '../../src/ledger/entry.js'
import { ulid } from '../../src/ledger/ulid.js'
import { host } from '../../src/principal.js'
import { countersign } from '../support/cli.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { verifyChains } from '../support/verify-chain.js'

let server: TestDatabase

beforeAll(async () => {
  server = await testDatabase()
})
afterAll(async () => {
  await verifyChains(await server.superuser())
  await server.close()
})

const run = (...words: string[]) =>
  countersign(words, { env: { DATABASE_URL: server.url, COUNTERSIGN_HOME: server.home } })
async function answer(...words: string[]): Promise<Record<string, unknown>> {
  const { code, json, stderr } = await run(...words, '--json')
  expect([code, stderr]).toEqual([0, ''])
  return json()
}
async function refusal(...words: string[]): Promise<string> {
  const { code, stderr } = await run(...words)
  expect(code).toBe(2)
  return /^error ([A-Z_]+):/.exec(stderr)?.[1] ?? stderr
}

const newTenant = (tenant: string) => createTenant(server.db, server.installation, tenant)
const write = (tenant: string, stream: string, event: LeafEvent): Promise<void> =>
  governed({ database: server.db }, { tenant }, (tx, now) =>
    appendEffects(tx, now, host(tenant), [{ stream, events: [event] }]),
  )
const sizeOf = async (tenant: string) =>
  (await server.db.operator.selectFrom('heads').select('next_seq').where('tenant', '=', tenant).executeTakeFirst())
    ?.next_seq
async function events(tenant: string) {
  const rows = await server.db.operator
    .selectFrom('entries')
    .select('leaf')
    .where('tenant', '=', tenant)
    .orderBy('seq')
    .execute()
  return rows.map(({ leaf }) => readLeaf(leaf).event)
}

test('people are named by e-mail address, and stand in the log by pseudonym', async () => {
  await newTenant('acme')
  const made = await answer('principal', 'register', 'email:ada@example.org', '-t', 'acme')
  const ada = String(made['principal'])
  expect(made).toMatchObject({ tenant: 'acme', principal: expect.stringMatching(/^person:/) as string, changed: true })
  expect(
    await answer('principal', 'register', 'service:job', '--owner', 'email:ada@example.org', '-t', 'acme'),
  ).toMatchObject({ principal: 'service:job', owner: ada })
  await answer('role', 'define', 'clerk', '-t', 'acme', '--permission', 'ledger/*:read', 'ledger/events:write')
  await answer('role', 'define', 'lead', '-t', 'acme', '--inherits', 'clerk')
  expect(await answer('role', 'grant', 'lead', '-p', 'email:ada@example.org', '-t', 'acme')).toMatchObject({
    principal: ada,
    changed: true,
  })
  expect(await answer('role', 'grant', 'lead', '-p', ada, '-t', 'acme')).toMatchObject({ changed: false })
  expect(await answer('role', 'list', '-t', 'acme')).toMatchObject({
    roles: [
      { role: 'clerk', holders: 1 },
      { role: 'lead', holders: 1, effective: ['ledger/*:read', 'ledger/events:write'] },
    ],
  })
  const { stdout } = await run('principal', 'list', '-t', 'acme')
  expect(stdout).toMatch(new RegExp(`service:job +active +${ada}`))

  const other = await answer('principal', 'register', 'username:ada', '-t', 'acme')
  expect(await answer('principal', 'link', 'username:ada', '--same-as', ada, '-t', 'acme')).toMatchObject({
    principal: other['principal'],
    sameAs: ada,
    changed: true,
  })
  await answer('principal', 'unlink', 'username:ada', '-t', 'acme')
  await answer('role', 'revoke', 'lead', '-p', 'email:ada@example.org', '-t', 'acme')
  await answer('role', 'remove', 'lead', '-t', 'acme')
  await answer('principal', 'disable', 'service:job', '-t', 'acme')
  expect(await answer('principal', 'list', '-t', 'acme')).toMatchObject({
    principals: expect.arrayContaining([
      expect.objectContaining({ principal: 'service:job', disabled: true }),
    ]) as object[],
  })
  expect(JSON.stringify(await events('acme'))).not.toContain('ada@example')
})

test('what cannot be done is refused, and makes nobody', async () => {
  await newTenant('bad')
  const size = await sizeOf('bad')
  expect(await refusal('role', 'define', 'Clerk', '-t', 'bad', '--permission', 'a/b:c')).toBe('ROLE_INVALID')
  expect(await refusal('role', 'define', 'a', '-t', 'bad', '--permission', 'a/b:c', '--inherits', 'a')).toBe(
    'ROLE_CYCLE',
  )
  expect(await refusal('role', 'grant', 'a', '-p', 'service:x', '-t', 'bad')).toBe('PRINCIPAL_UNKNOWN')
  expect(await sizeOf('bad')).toBe(size)
  expect(await refusal('principal', 'disable', 'email:nobody@example.org', '-t', 'bad')).toBe('SUBJECT_UNKNOWN')
  const identifiers = await inTenant(server.db.keyring, 'bad', (tx) =>
    tx.selectFrom('identifiers').select('subject').where('tenant', '=', 'bad').execute(),
  )
  expect(identifiers).toEqual([])
})

test('once approvals are enforced the host may override, on record in two logs', async () => {
  await newTenant('strict')
  await write('strict', ENFORCEMENT_STREAM, { type: 'approvals.enforced' })
  const define = ['role', 'define', 'clerk', '-t', 'strict', '--permission', 'a/b:c']
  expect(await refusal(...define)).toBe('CHANGE_REQUIRED')
  expect(await refusal('token', 'create', '-t', 'strict', '-p', 'service:x', '--permission', 'a/b:c')).toBe(
    'TOKEN_BEYOND_ROLES',
  )
  expect(await answer(...define, '--override', 'everybody left')).toMatchObject({ role: 'clerk', changed: true })
  const log = await events('strict')
  expect(log.slice(-2)).toMatchObject([
    { type: 'host.overrode' },
    { type: 'role.defined', cause: log.length - 2, data: { authority: { override: true } } },
  ])
  expect((await events('system')).at(-1)).toMatchObject({ type: 'host.overrode', data: { tenant: 'strict' } })
  expect(JSON.stringify(log)).not.toContain('everybody left')
})

test('a lost credential is replaced by override, within what its principal may do', async () => {
  await newTenant('lost')
  await answer('token', 'create', '-t', 'lost', '-p', 'service:admin', '--role', 'admin')
  await write('lost', ENFORCEMENT_STREAM, { type: 'approvals.enforced' })
  const create = (...words: string[]) => ['token', 'create', '-t', 'lost', '-p', 'service:admin', ...words]
  expect(await refusal(...create('--role', 'admin'))).toBe('CHANGE_REQUIRED')
  const made = await answer(...create('--role', 'admin', '--override', 'the only token was lost', '--expires', '1d'))
  expect(made).toMatchObject({ principal: 'service:admin', token: expect.stringMatching(/^cs_lost\./) as string })
  const log = await events('lost')
  expect(log.slice(-2)).toMatchObject([
    { type: 'host.overrode', data: { kind: 'token.create' } },
    { type: 'token.created', cause: log.length - 2, data: { authority: { override: true } } },
  ])
  const beyond = ['token', 'create', '-t', 'lost', '-p', 'service:new', '--role', 'admin', '--override', 'why not']
  expect(await refusal(...beyond)).toBe('TOKEN_BEYOND_ROLES')
})

test('migrate registers the principals of tokens from before; twice changes nothing', async () => {
  await newTenant('old')
  const id = ulid()
  const grant = { principal: 'service:crm', permissions: ['ledger/events:write'] }
  await write('old', tokenStream(id), { type: 'token.created', data: grant })
  await inTenant(server.db.command, 'old', (tx) =>
    tx
      .insertInto('tokens')
      .values({
        tenant: 'old',
        id,
        hash: tokenDigest('any'),
        ...grant,
        description: null,
        created_at: new Date().toISOString(),
        expires_at: null,
        revoked_at: null,
      })
      .execute(),
  )
  await answer('migrate')
  expect(await answer('principal', 'list', '-t', 'old')).toMatchObject({
    principals: [{ principal: 'service:crm', roles: ['own:service:crm'], permissions: ['ledger/events:write'] }],
  })
  const size = await sizeOf('old')
  await answer('migrate')
  expect(await sizeOf('old')).toBe(size)
})
