import { createHash } from 'node:crypto'
import { createLocalJWKSet, jwtVerify, type JSONWebKeySet } from 'jose'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { issueGrant, redeemGrant } from '../../src/approvals/commands/grant.js'
import { withdrawChange } from '../../src/approvals/commands/withdraw.js'
import { applyChange } from '../../src/approvals/commands/apply.js'
import type { RequestedChange } from '../../src/approvals/commands/request.js'
import { GRANT_TTL_MS, GRANT_TYP } from '../../src/approvals/grant.js'
import { publicKeysOf, rotateSigningKey, signerOf } from '../../src/keyring/signing-keys.js'
import { signCompact } from '../../src/approvals/jws.js'
import { revokeToken } from '../../src/auth/commands.js'
import { rfc8785 } from '../../src/ledger/jcs.js'
import { Tenant, type Person } from '../support/changes.js'
import { findingsIn } from '../support/verify-changes.js'
import { outsideBench, type OutsideBench } from '../support/outside.js'

let bench: OutsideBench
let acme: Tenant
let ada: Person
let ben: Person
let cy: Person
let billing: Person

beforeAll(async () => {
  bench = await outsideBench()
})
afterAll(() => bench.close())
beforeEach(async () => {
  bench.aheadMs = 0
  acme = await Tenant.create(bench)
  ;[ada, ben, cy] = (await acme.people(3)) as [Person, Person, Person]
  billing = await acme.service('billing')
})

const refusal = (code: string) => expect.objectContaining({ code }) as Error
const content = { refund: { invoice: 'INV-7', cents: 12_300 } }
const asked = (by: Person = ada, more: object = {}): Promise<RequestedChange> =>
  acme.request(by, { kind: 'external.billing', payload: { delivery: 'grant', content }, ...more })
async function approved(by: Person = ada): Promise<RequestedChange> {
  const change = await asked(by)
  for (const voter of [ada, ben, cy].filter(({ id }) => id !== by.id).slice(0, 2)) await acme.vote(voter, change)
  return change
}
const issue = (by: Person, { id }: { id: string }) => issueGrant(bench.deps, by, id)
const redeem = (by: Person, { id }: { id: string }, grant: string) => redeemGrant(bench.deps, by, { id, grant })
const types = ({ id }: { id: string }) => acme.types(`change/${id}`)

async function published(tenant = acme.tenant): Promise<JSONWebKeySet> {
  const keys = (await publicKeysOf(bench.server.db, tenant)) ?? []
  return { keys: keys.map(({ kid, x }) => ({ kty: 'OKP', crv: 'Ed25519', alg: 'EdDSA', kid, x })) }
}

test('a grant is issued to the requester, verified by code that is not ours, and redeemed once', async () => {
  const change = await approved()
  expect(await applyChange(bench.deps, { tenant: acme.tenant, change: change.id })).toBe('waits')
  const issued = await issue(ada, change)

  const { payload } = await jwtVerify(issued.grant, createLocalJWKSet(await published()), {
    issuer: `https://audit.example.org/t/${acme.tenant}`,
    audience: 'billing',
    subject: ada.id,
    typ: GRANT_TYP,
    algorithms: ['EdDSA'],
    requiredClaims: ['jti', 'nbf', 'exp'],
  })
  expect(payload).toMatchObject({ change: change.id, kind: 'external.billing', payloadHash: change.payloadHash })
  // Whoever checks offline hashes what came with it.
  expect(createHash('sha256').update(rfc8785(issued.hashed)).digest('hex')).toBe(payload['payloadHash'])
  expect(issued.hashed.payload).toEqual({ delivery: 'grant', content })

  expect(await redeem(billing, change, issued.grant)).toEqual({
    change: change.id,
    kind: 'external.billing',
    payloadHash: change.payloadHash,
    payload: { delivery: 'grant', content },
    requester: ada.id,
    jti: issued.jti,
  })
  await expect(redeem(billing, change, issued.grant)).rejects.toEqual(refusal('GRANT_REDEEMED'))
  await expect(issue(ada, change)).rejects.toEqual(refusal('GRANT_REDEEMED'))
  const entries = await acme.events(`change/${change.id}`)
  expect(entries.slice(-3).map(({ entry, event }) => [event.type, entry.by, event.data])).toEqual([
    [
      'change.granted',
      ada.id,
      { jti: issued.jti, kid: (await signerOf(bench.deps, acme.tenant)).kid, expiresAt: issued.expiresAt },
    ],
    ['change.redeemed', billing.id, { jti: issued.jti }],
    ['change.applied', 'service:countersign', { payloadHash: change.payloadHash, effects: [] }],
  ])
  expect(await findingsIn(bench.deps, acme.tenant)).toEqual([])
  expect(JSON.stringify(entries)).not.toContain(issued.grant.split('.')[2])
})

test('of two who redeem at once one succeeds, also with two grants of the same change', async () => {
  const change = await approved()
  const grants = [await issue(ada, change), await issue(ada, change)]
  const tries = await Promise.allSettled(
    Array.from({ length: 8 }, (_, n) => redeem(billing, change, grants[n % 2]?.grant ?? '')),
  )
  expect(tries.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  for (const each of tries) if (each.status === 'rejected') expect(each.reason).toEqual(refusal('GRANT_REDEEMED'))
  expect((await types(change)).filter((type) => type === 'change.redeemed')).toHaveLength(1)
  expect((await types(change)).filter((type) => type === 'change.applied')).toHaveLength(1)
})

test('nobody but the requester gets a grant', async () => {
  const change = await approved()
  for (const other of [ben, billing]) await expect(issue(other, change)).rejects.toEqual(refusal('CHANGE_NOT_YOURS'))
  expect(await types(change)).not.toContain('change.granted')
})

test('there is no grant for what is not approved, is withdrawn, is of this service, or goes to a webhook', async () => {
  const waiting = await asked()
  await expect(issue(ada, waiting)).rejects.toEqual(refusal('CHANGE_NOT_READY'))
  await acme.vote(ben, waiting)
  await expect(issue(ada, waiting)).rejects.toEqual(refusal('CHANGE_NOT_READY'))
  await withdrawChange(bench.deps, ada, waiting.id)
  await expect(issue(ada, waiting)).rejects.toEqual(refusal('CHANGE_CLOSED'))
  const note = await acme.request(ada)
  await expect(issue(ada, note)).rejects.toEqual(refusal('CHANGE_NOT_GRANTABLE'))
  await expect(issue(ada, { id: '01JD4T9Z6V5Q8W3X2Y1R0K7MNB' })).rejects.toEqual(refusal('CHANGE_UNKNOWN'))
})

test('cooling off holds for grants too', async () => {
  await acme.directly('policy.set', {
    kind: 'external.billing',
    policy: { groups: [{ name: 'anyone', count: 2 }], coolingOffMs: 3_600_000 },
  })
  const change = await approved()
  await expect(issue(ada, change)).rejects.toMatchObject({
    code: 'CHANGE_NOT_READY',
    retryAfterS: expect.any(Number) as number,
  })
  bench.aheadMs = 3_600_000
  expect(await issue(ada, change)).toBeDefined()
})

test('a grant ends after ten minutes, and another one follows it', async () => {
  const change = await approved()
  const first = await issue(ada, change)
  bench.aheadMs = GRANT_TTL_MS + 1_000
  await expect(redeem(billing, change, first.grant)).rejects.toEqual(refusal('GRANT_EXPIRED'))
  const second = await issue(ada, change)
  expect(second.jti).not.toBe(first.jti)
  expect(await redeem(billing, change, second.grant)).toMatchObject({ jti: second.jti })
  await expect(redeem(billing, change, first.grant)).rejects.toEqual(refusal('GRANT_REDEEMED'))
})

test('a vote whose ground is gone takes the approval with it, for grants given out before too', async () => {
  const change = await approved()
  const { grant } = await issue(ada, change)
  await revokeToken(bench.server.db, acme.host, ben.via.slice('token:'.length))
  await expect(redeem(billing, change, grant)).rejects.toEqual(refusal('CHANGE_NOT_READY'))
  expect((await types(change)).at(-1)).toBe('change.reopened')
  await expect(issue(ada, change)).rejects.toEqual(refusal('CHANGE_NOT_READY'))
})

test('only what the log gave out is redeemed: a signature alone is not enough', async () => {
  const change = await approved()
  const other = await approved(ben)
  const { grant, jti } = await issue(ada, change)
  const { grant: others } = await issue(ben, other)
  const signer = await signerOf(bench.deps, acme.tenant)
  const claims = JSON.parse(Buffer.from(grant.split('.')[1] ?? '', 'base64url').toString()) as Record<string, unknown>
  const signed = (more: object) => signCompact({ typ: GRANT_TYP, kid: signer.kid }, { ...claims, ...more }, signer.key)
  const forged = [
    others,
    signed({ jti: '01JD4T9Z6V5Q8W3X2Y1R0K7MNB' }),
    signed({ jti, payloadHash: 'f'.repeat(64) }),
    signed({ aud: 'payroll' }),
    signed({ exp: 0, nbf: 'x' }),
    signCompact({ typ: 'JWT', kid: signer.kid }, claims, signer.key),
    `${grant.slice(0, -4)}AAAA`,
    'no grant',
    '',
  ]
  for (const text of forged) await expect(redeem(billing, change, text)).rejects.toEqual(refusal('GRANT_INVALID'))
  const elsewhere = await Tenant.create(bench)
  const foreign = await elsewhere.service('billing')
  await expect(redeem(foreign, change, grant)).rejects.toEqual(refusal('GRANT_INVALID'))
  expect(await redeem(billing, change, grant)).toMatchObject({ jti })
})

test('a rotated key still redeems what it signed, a revoked one does not', async () => {
  const [one, two] = [await approved(), await approved()]
  const [first, second] = [await issue(ada, one), await issue(ada, two)]
  await rotateSigningKey(bench.deps, acme.host)
  expect(await redeem(billing, one, first.grant)).toBeDefined()
  const third = await approved()
  const { grant } = await issue(ada, third)
  await rotateSigningKey(bench.deps, acme.host, { revoke: true })
  await expect(redeem(billing, third, grant)).rejects.toEqual(refusal('GRANT_INVALID'))
  // The one before the revoked key was retired in good order.
  expect(await redeem(billing, two, second.grant)).toBeDefined()
  expect(await redeem(billing, third, (await issue(ada, third)).grant)).toBeDefined()
})

test.each([
  [{ delivery: 'grant' }],
  [{ delivery: 'post', content: 1 }],
  [{ delivery: 'grant', webhook: 'ops', content: 1 }],
  [{ delivery: 'webhook', content: 1 }],
  [{ content: 1 }],
])('%j is no payload of an external change', async (payload) => {
  await expect(asked(ada, { payload })).rejects.toEqual(refusal('CHANGE_PAYLOAD_INVALID'))
})
