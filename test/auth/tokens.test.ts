import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { rolePermissions, foldAccess, NO_ACCESS, type Access } from '../../src/auth/access.js'
import { createToken, mintToken, revokeToken, type CreatedToken, type TokenRequest } from '../../src/auth/commands.js'
import { appendEffects } from '../../src/auth/effects.js'
import { Authenticator } from '../../src/auth/queries.js'
import { tokenDigest, tokenStream, tokenText } from '../../src/auth/token.js'
import { registerTokenHolders } from '../../src/auth/upgrade.js'
import { ENFORCEMENT_STREAM } from '../../src/approvals/governance.js'
import { governed } from '../../src/approvals/governed.js'
import { inTenant } from '../../src/db/database.js'
import { Subjects } from '../../src/keyring/subjects.js'
import { ensureTenant } from '../../src/keyring/tenants.js'
import type { LeafEvent } from '../../src/ledger/event.js'
import { readStreams, type StreamEntry } from '../../src/ledger/streams.js'
import { ulid } from '../../src/ledger/ulid.js'
import { host, type Principal } from '../../src/principal.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { verifyChains } from '../support/verify-chain.js'

let own: TestDatabase
let tenant: string
let tenants = 0

beforeAll(async () => {
  own = await testDatabase()
})
afterAll(async () => {
  await verifyChains(await own.superuser())
  await own.close()
})
beforeEach(async () => {
  tenant = `t-${tenants++}`
  await ensureTenant(own.db, own.installation, tenant)
})

const make = (request: TokenRequest, by: Principal = host(tenant)): Promise<CreatedToken> =>
  createToken(own.db, by, request)

const entries = (): Promise<StreamEntry[]> =>
  inTenant(own.db.reader, tenant, (tx) => readStreams(tx, tenant, ['role/', 'principal/', 'token/']))
const access = async (): Promise<Access> => foldAccess(NO_ACCESS, await entries())
const types = async (from = 0): Promise<string[]> => (await entries()).slice(from).map(({ event }) => event.type)

/** Appends what another part of the service would. */
const write = (stream: string, ...events: LeafEvent[]): Promise<void> =>
  governed({ database: own.db }, { tenant }, (tx, now) => appendEffects(tx, now, host(tenant), [{ stream, events }]))
const enforce = () => write(ENFORCEMENT_STREAM, { type: 'approvals.enforced' })
const grant = (principal: string, role: string) =>
  write(`principal/${principal}`, { type: 'role.granted', data: { principal, role } })
const define = (role: string, permissions: string[]) =>
  write(`role/${role}`, { type: 'role.defined', data: { role, permissions, inherits: [] } })
const person = async () => (await new Subjects(own.db, own.installation).create(tenant)).subject

describe('in setup', () => {
  test('a token registers its principal, with a role of its own that allows what the token may do', async () => {
    await make({ principal: 'service:crm', permissions: ['ledger/events:write'] })
    expect(await types()).toEqual(['principal.registered', 'role.defined', 'role.granted', 'token.created'])
    const log = await entries()
    for (const { event } of log.slice(0, 3)) {
      expect(event.data).toMatchObject({ authority: { setup: true } })
      expect(event.actor).toEqual({ id: 'service:host', type: 'service' })
    }
    expect(log[3]?.event.data).toEqual({ principal: 'service:crm', permissions: ['ledger/events:write'] })
    expect(await access()).toMatchObject({
      roles: { 'own:service:crm': { permissions: ['ledger/events:write'], inherits: [] } },
      principals: { 'service:crm': { kind: 'service', roles: ['own:service:crm'] } },
    })
  })

  test('another token extends that role by what is new, and by nothing where nothing is', async () => {
    await make({ principal: 'service:crm', permissions: ['ledger/events:write', 'ledger/entries:read'] })
    const before = (await entries()).length
    await make({ principal: 'service:crm', permissions: ['ledger/events:write'] })
    expect(await types(before)).toEqual(['token.created'])
    await make({ principal: 'service:crm', permissions: ['ledger/*:read'] })
    expect(await types(before + 1)).toEqual(['role.defined', 'token.created'])
    expect(rolePermissions(await access(), 'service:crm')).toEqual(['ledger/*:read', 'ledger/events:write'])
  })

  test('a role that allows it already is enough', async () => {
    await make({ principal: 'service:crm', permissions: ['ledger/events:write'] })
    await define('reader', ['ledger/*:read'])
    await grant('service:crm', 'reader')
    const before = (await entries()).length
    await make({ principal: 'service:crm', permissions: ['ledger/entries:read'] })
    expect(await types(before)).toEqual(['token.created'])
  })

  test('only a sensitive token says why it may be made', async () => {
    await make({ principal: 'service:admin', permissions: ['access/*:write'] })
    expect((await entries()).at(-1)?.event.data).toMatchObject({ authority: { setup: true } })
  })

  test.each([
    [{ permissions: ['a/b:c'], principal: 'service:host' }, 'PRINCIPAL_RESERVED'],
    [{ permissions: ['a/b:c'], principal: 'service:countersign' }, 'PRINCIPAL_RESERVED'],
    [{ permissions: ['a/b:c'], principal: 'person:01JDDDDDDDDDDDDDDDDDDDDDDD' }, 'SUBJECT_UNKNOWN'],
    [{ permissions: [], principal: 'service:crm' }, 'PERMISSION_INVALID'],
    [{ permissions: ['a/b:c'], principal: 'service:crm', expiresAt: '2001-01-01T00:00:00Z' }, 'TOKEN_EXPIRY_INVALID'],
    [{ permissions: ['a/b:c'], principal: 'service:crm', description: '' }, 'TOKEN_DESCRIPTION_INVALID'],
  ])('%j is refused, and nobody is registered', async (request, code) => {
    await expect(make(request)).rejects.toMatchObject({ code })
    expect(await entries()).toEqual([])
  })

  test('who was disabled gets no token', async () => {
    await make({ principal: 'service:crm', permissions: ['a/b:c'] })
    await write('principal/service:crm', { type: 'principal.disabled', data: { principal: 'service:crm' } })
    await expect(make({ principal: 'service:crm', permissions: ['a/b:c'] })).rejects.toMatchObject({
      code: 'PRINCIPAL_DISABLED',
    })
  })

  test('many at once for one principal leave one registration and a chain that holds', async () => {
    await Promise.all(
      Array.from({ length: 8 }, (_, n) => make({ principal: 'service:crm', permissions: [`area/part-${n}:do`] })),
    )
    const log = await types()
    expect(log.filter((type) => type === 'principal.registered')).toHaveLength(1)
    expect(log.filter((type) => type === 'role.granted')).toHaveLength(1)
    expect(rolePermissions(await access(), 'service:crm')).toHaveLength(8)
  })
})

describe('once approvals are enforced', () => {
  test("a token can do no more than its principal's roles", async () => {
    await make({ principal: 'service:crm', permissions: ['ledger/events:write'] })
    await enforce()
    const before = (await entries()).length
    for (const [principal, permissions] of [
      ['service:crm', ['ledger/events:write', 'ledger/entries:read']],
      ['service:new', ['ledger/events:write']],
    ] as const) {
      await expect(make({ principal, permissions })).rejects.toMatchObject({ code: 'TOKEN_BEYOND_ROLES' })
    }
    await expect(
      make({ principal: 'service:crm', permissions: ['ledger/events:write', 'ledger/*:read'] }),
    ).rejects.toMatchObject({ pointer: '/permissions/1' })
    expect(await entries()).toHaveLength(before)
    await make({ principal: 'service:crm', permissions: ['ledger/events:write'] })
    expect(await types(before)).toEqual(['token.created'])
  })

  test('a sensitive token takes a change, also for the operator on the host', async () => {
    await make({ principal: 'service:admin', permissions: ['*/*:*'] })
    await enforce()
    for (const permissions of [['access/tokens:write'], ['personal/*:reveal'], ['*/*:*']]) {
      const refused = make({ principal: 'service:admin', permissions })
      await expect(refused).rejects.toMatchObject({ code: 'CHANGE_REQUIRED' })
      await expect(refused).rejects.toThrow('token.create')
    }
    await make({ principal: 'service:admin', permissions: ['access/tokens:read', 'ledger/*:*'] })
  })

  test('so does any token for another person who may approve', async () => {
    const [ada, bob, eve, zoe] = await Promise.all([person(), person(), person(), person()])
    const held = new Map<string, Principal>()
    for (const [who, approves] of [
      [ada, true],
      [eve, true],
      [bob, false],
      [zoe, false],
    ] as const) {
      const permissions = ['access/tokens:write', 'ledger/*:read', ...(approves ? ['changes/*:approve'] : [])]
      const { id } = await make({ principal: who, permissions })
      held.set(who, { tenant, id: who, via: `token:${id}`, permissions })
    }
    // Who counts as somebody who may approve.
    await write(`principal/${zoe}`, { type: 'principal.linked', data: { principal: zoe, sameAs: eve } })
    await enforce()
    const token = { permissions: ['ledger/entries:read'] }
    const by = (id: string): Principal => held.get(id) ?? host(tenant)
    for (const principal of [ada, zoe]) {
      await expect(make({ principal, ...token }, by(bob))).rejects.toMatchObject({ code: 'CHANGE_REQUIRED' })
      await expect(make({ principal, ...token })).rejects.toMatchObject({ code: 'CHANGE_REQUIRED' })
    }
    await make({ principal: ada, ...token }, by(ada))
    await make({ principal: zoe, ...token }, by(eve))
    await make({ principal: bob, ...token }, by(ada))
  })

  test('who makes tokens is asked again under the lock: what a process still believes is not enough', async () => {
    const ada = await person()
    const permissions = ['access/tokens:write', 'ledger/*:read']
    const { id } = await make({ principal: ada, permissions })
    const by: Principal = { tenant, id: ada, via: `token:${id}`, permissions }
    await make({ principal: 'service:one', permissions: ['ledger/entries:read'] }, by)
    await revokeToken(own.db, host(tenant), id)
    const late = make({ principal: 'service:two', permissions: ['ledger/entries:read'] }, by)
    await expect(late).rejects.toMatchObject({ code: 'TOKEN_REVOKED' })
    const other = make({ principal: 'service:two', permissions: ['ledger/entries:read'] }, { ...by, id: 'service:one' })
    await expect(other).rejects.toMatchObject({ code: 'TOKEN_REVOKED' })
  })

  test('an approved change mints what a person alone may not, and says so', async () => {
    await make({ principal: 'service:admin', permissions: ['*/*:*'] })
    await enforce()
    const by = host(tenant)
    const made = await governed({ database: own.db }, by, (tx, now) =>
      mintToken(
        tx,
        now,
        { by, authority: { change: '01C' }, cause: 3 },
        {
          principal: 'service:admin',
          permissions: ['access/*:write'],
        },
      ),
    )
    expect((await entries()).at(-1)?.event).toMatchObject({
      type: 'token.created',
      cause: 3,
      data: { authority: { change: '01C' }, permissions: ['access/*:write'] },
    })
    expect(await new Authenticator(own.db).lookUp(made.token)).toMatchObject({ permissions: ['access/*:write'] })
  })

  test('revoking takes nobody else', async () => {
    const { id } = await make({ principal: 'service:admin', permissions: ['*/*:*'] })
    await enforce()
    await revokeToken(own.db, host(tenant), id)
    expect((await types()).at(-1)).toBe('token.revoked')
  })
})

describe('a token may do what its permissions and its roles both allow', () => {
  let clock = 0
  const authenticator = () => new Authenticator(own.db, () => clock)

  test('roles that are given and taken away show within five seconds', async () => {
    const auth = authenticator()
    const { token } = await make({ principal: 'service:crm', permissions: ['ledger/*:read', 'ledger/events:write'] })
    expect(await auth.lookUp(token)).toMatchObject({ permissions: ['ledger/*:read', 'ledger/events:write'] })
    await define('own:service:crm', ['ledger/entries:*'])
    expect(auth.recall(token)).toMatchObject({ permissions: ['ledger/*:read', 'ledger/events:write'] })
    clock += 5_000
    expect(auth.recall(token)).toBe('stale')
    expect(await auth.lookUp(token)).toMatchObject({ permissions: ['ledger/entries:read'] })
    await define('writer', ['ledger/*:write'])
    await grant('service:crm', 'writer')
    // What is missing is asked for anew, however lately the roles were read.
    expect(await auth.lookUp(token)).toMatchObject({ permissions: ['ledger/entries:read', 'ledger/events:write'] })
    expect(auth.recall(token)).toMatchObject({ permissions: ['ledger/entries:read', 'ledger/events:write'] })
  })

  test('roles read for one token serve for others no longer than five seconds in all', async () => {
    const auth = authenticator()
    const first = await make({ principal: 'service:one', permissions: ['a/b:c'] })
    const second = await make({ principal: 'service:two', permissions: ['a/b:c'] })
    await auth.lookUp(first.token)
    await write('principal/service:two', { type: 'principal.disabled', data: { principal: 'service:two' } })
    clock += 900
    expect(await auth.lookUp(second.token)).toMatchObject({ permissions: ['a/b:c'] })
    clock += 4_100
    expect(auth.recall(second.token)).toBe('stale')
    expect(await auth.lookUp(second.token)).toMatchObject({ permissions: [] })
  })

  test('many who come at once to a process that has just started all get what is theirs', async () => {
    const auth = authenticator()
    const made = await Promise.all(
      Array.from({ length: 12 }, (_, n) => make({ principal: `service:s${n}`, permissions: [`a/part-${n}:do`] })),
    )
    const found = await Promise.all(made.map(({ token }) => auth.lookUp(token)))
    expect(found).toMatchObject(made.map(({ principal: id, permissions }) => ({ id, permissions })))
  })

  test('what changed in this process shows at once', async () => {
    const auth = authenticator()
    const { token } = await make({ principal: 'service:crm', permissions: ['a/b:c'] })
    await auth.lookUp(token)
    await write('principal/service:crm', { type: 'principal.disabled', data: { principal: 'service:crm' } })
    auth.forgetRoles(tenant)
    expect(auth.recall(token)).toBeUndefined()
    expect(await auth.lookUp(token)).toMatchObject({ permissions: [] })
  })

  test('a row that somebody put into the table of tokens for an unknown principal may do nothing', async () => {
    const token = tokenText(tenant, randomBytes(32))
    await oldToken({ token, principal: 'service:ghost', permissions: ['*/*:*'] })
    expect(await authenticator().lookUp(token)).toMatchObject({ permissions: [] })
  })
})

describe('a database with tokens from before there were principals', () => {
  test('is upgraded: each has a role of its own with what its live tokens may do; twice changes nothing', async () => {
    const tokens = {
      live: tokenText(tenant, randomBytes(32)),
      more: tokenText(tenant, randomBytes(32)),
    }
    const ada = await person()
    await oldToken({ token: tokens.live, principal: 'service:crm', permissions: ['ledger/events:write'] })
    await oldToken({
      token: tokens.more,
      principal: 'service:crm',
      permissions: ['reports/*:read', 'reports/reports:read'],
    })
    await oldToken({ principal: ada, permissions: ['*/*:*'] })
    await oldToken({ principal: 'service:crm', permissions: ['personal/*:reveal'], revoked: true })
    await oldToken({ principal: 'service:gone', permissions: ['a/b:c'], revoked: true })
    await oldToken({ principal: 'service:past', permissions: ['a/b:c'], expiresAt: '2001-01-01T00:00:00Z' })
    expect(await new Authenticator(own.db).lookUp(tokens.live)).toMatchObject({ permissions: [] })

    const upgraded = await registerTokenHolders(own.db)
    expect(upgraded).toContainEqual({ tenant, principals: 2 })
    const after = await access()
    expect(Object.keys(after.principals).sort()).toEqual([ada, 'service:crm'])
    expect(rolePermissions(after, 'service:crm')).toEqual(['ledger/events:write', 'reports/*:read'])
    expect(rolePermissions(after, ada)).toEqual(['*/*:*'])
    const fresh = new Authenticator(own.db)
    expect(await fresh.lookUp(tokens.live)).toMatchObject({ permissions: ['ledger/events:write'] })
    expect(await fresh.lookUp(tokens.more)).toMatchObject({ permissions: ['reports/*:read', 'reports/reports:read'] })

    const before = (await entries()).length
    expect(await registerTokenHolders(own.db)).not.toContainEqual(expect.objectContaining({ tenant }))
    expect(await entries()).toHaveLength(before)
  })

  test('gives nothing back that was taken away, and nothing once approvals are enforced', async () => {
    await make({ principal: 'service:crm', permissions: ['a/b:c'] })
    await write('principal/service:crm', {
      type: 'role.revoked',
      data: { principal: 'service:crm', role: 'own:service:crm' },
    })
    await enforce()
    await oldToken({ principal: 'service:ghost', permissions: ['*/*:*'] })
    const before = (await entries()).length
    await registerTokenHolders(own.db)
    expect(await entries()).toHaveLength(before)
  })
})

interface OldToken {
  readonly token?: string
  readonly principal: string
  readonly permissions: string[]
  readonly revoked?: boolean
  readonly expiresAt?: string
}

/** A token as it was made before principals were registered: its entry and its row, and nothing else. */
async function oldToken({ token, principal, permissions, revoked, expiresAt }: OldToken): Promise<void> {
  const id = ulid()
  const secret = token ?? tokenText(tenant, randomBytes(32))
  const data = { principal, permissions, ...(expiresAt !== undefined && { expiresAt }) }
  await write(tokenStream(id), { type: 'token.created', data })
  await inTenant(own.db.command, tenant, async (tx) => {
    await tx
      .insertInto('tokens')
      .values({
        tenant,
        id,
        hash: tokenDigest(secret),
        principal,
        permissions,
        description: null,
        created_at: new Date().toISOString(),
        expires_at: expiresAt ?? null,
        revoked_at: revoked ? new Date().toISOString() : null,
      })
      .execute()
  })
}
