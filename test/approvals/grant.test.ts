import { createHmac, generateKeyPairSync } from 'node:crypto'
import { CompactSign, decodeProtectedHeader, importJWK, jwtVerify, SignJWT } from 'jose'
import { describe, expect, test } from 'vitest'
import {
  expectGrantOf,
  GRANT_TTL_MS,
  GRANT_TYP,
  grantClaims,
  issuerOf,
  type GrantClaims,
} from '../../src/approvals/grant.js'
import { signCompact, verifyCompact } from '../../src/approvals/jws.js'

const NOW = Date.parse('2026-11-20T10:00:00.500Z')
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const jwk = publicKey.export({ format: 'jwk' })
const kid = 'k1'
const keys = new Map([[kid, jwk.x ?? '']])

const claims: GrantClaims = grantClaims(
  {
    issuer: 'https://audit.example.org/t/acme',
    tenant: 'acme',
    change: {
      id: '01JD4T9Z6V5Q8W3X2Y1R0K7MNB',
      kind: 'external.billing',
      payloadHash: 'a'.repeat(64),
      requester: 'service:billing',
      applyBy: '2026-11-21T10:00:00.000Z',
    },
    jti: '01JD4TB0000000000000000000',
  },
  NOW,
)
const grant = signCompact({ typ: GRANT_TYP, kid }, claims, privateKey)

test('a grant verifies by code that is not ours, with what a verifier has to ask for', async () => {
  const key = await importJWK({ ...jwk, alg: 'EdDSA' })
  const { payload, protectedHeader } = await jwtVerify(grant, key, {
    issuer: 'https://audit.example.org/t/acme',
    audience: 'billing',
    subject: 'service:billing',
    typ: GRANT_TYP,
    algorithms: ['EdDSA'],
    requiredClaims: ['jti', 'nbf', 'exp', 'change', 'payloadHash'],
    currentDate: new Date(NOW),
  })
  expect(protectedHeader).toEqual({ alg: 'EdDSA', typ: GRANT_TYP, kid })
  expect(payload).toEqual({ ...claims })
  expect((payload.exp ?? 0) * 1000 - NOW).toBeLessThanOrEqual(GRANT_TTL_MS)
  await expect(jwtVerify(grant, key, { currentDate: new Date(NOW + GRANT_TTL_MS + 1) })).rejects.toThrow(/exp/)
})

test('a grant never outlives the time until which the change may be applied', () => {
  const { exp } = grantClaims(
    {
      issuer: 'x',
      tenant: 'acme',
      change: { id: 'c', kind: 'external.x', payloadHash: '', requester: 'r', applyBy: '2026-11-20T10:01:00.000Z' },
      jti: 'j',
    },
    NOW,
  )
  expect(exp).toBe(Date.parse('2026-11-20T10:01:00Z') / 1000)
})

test('the issuer is where the keys are found, or says which installation it was', () => {
  expect(issuerOf('https://audit.example.org', 'f'.repeat(32), 'acme')).toBe('https://audit.example.org/t/acme')
  expect(issuerOf(undefined, 'f'.repeat(32), 'acme')).toBe(`urn:countersign:${'f'.repeat(32)}:acme`)
})

describe('what is read', () => {
  const [header = '', body = '', signature = ''] = grant.split('.')
  const encoded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const read = (text: string) => verifyCompact(text, GRANT_TYP, keys)

  test('is what we sign, and what others sign with the same key in the same form', async () => {
    expect(read(grant)).toEqual({ kid, claims: { ...claims } })
    const theirs = await new SignJWT({ ...claims })
      .setProtectedHeader({ alg: 'EdDSA', typ: GRANT_TYP, kid })
      .sign(privateKey)
    expect(read(theirs)?.claims).toEqual({ ...claims })
  })

  const other = generateKeyPairSync('ed25519')
  test.each<[string, () => string | Promise<string>]>([
    ['is not signed', () => `${encoded({ alg: 'none', typ: GRANT_TYP, kid })}.${body}.`],
    ['has its signature cut off', () => `${header}.${body}.`],
    ['has other claims', () => `${header}.${encoded({ ...claims, sub: 'service:other' })}.${signature}`],
    ['has another header', () => `${encoded({ alg: 'EdDSA', typ: GRANT_TYP, kid, cty: 'x' })}.${body}.${signature}`],
    ['is signed by another key', () => signCompact({ typ: GRANT_TYP, kid }, claims, other.privateKey)],
    ['is signed by a key that is not known', () => signCompact({ typ: GRANT_TYP, kid: 'k2' }, claims, privateKey)],
    ['is of another type', () => signCompact({ typ: 'JWT', kid }, claims, privateKey)],
    [
      'is an HMAC under the public key',
      () => {
        const signed = `${encoded({ alg: 'HS256', typ: GRANT_TYP, kid })}.${body}`
        return `${signed}.${createHmac('sha256', Buffer.from(jwk.x ?? '', 'base64url'))
          .update(signed)
          .digest('base64url')}`
      },
    ],
    [
      'brings its own key',
      () =>
        new CompactSign(Buffer.from(JSON.stringify(claims)))
          .setProtectedHeader({ alg: 'EdDSA', typ: GRANT_TYP, kid, jwk: other.publicKey.export({ format: 'jwk' }) })
          .sign(other.privateKey),
    ],
    [
      'asks for what is not understood',
      () =>
        new CompactSign(Buffer.from(JSON.stringify(claims)))
          .setProtectedHeader({ alg: 'EdDSA', typ: GRANT_TYP, kid, crit: ['b64'], b64: true })
          .sign(privateKey),
    ],
    [
      'signs no object',
      () => {
        const text = signCompact({ typ: GRANT_TYP, kid }, [1] as object, privateKey)
        expect(decodeProtectedHeader(text).kid).toBe(kid)
        return text
      },
    ],
    ['has a fourth part', () => `${grant}.${signature}`],
    ['is padded', () => `${grant}=`],
    ['has a line feed', () => `${grant}\n`],
    ['is nothing', () => ''],
  ])('is nothing that %s', async (_, make) => expect(read(await make())).toBeUndefined())
})

describe('a verified grant', () => {
  const refusal = (code: string) => expect.objectContaining({ code }) as Error

  test('is taken for its own change, while it holds', () => {
    expect(() => expectGrantOf({ ...claims }, claims, NOW)).not.toThrow()
    expect(() => expectGrantOf({ ...claims }, claims, claims.exp * 1000 - 1)).not.toThrow()
  })

  test.each(['iss', 'aud', 'sub', 'tenant', 'change', 'kind', 'payloadHash', 'jti'])(
    'is refused for another %s',
    (name) => {
      expect(() => expectGrantOf({ ...claims, [name]: 'other' }, claims, NOW)).toThrow(refusal('GRANT_INVALID'))
      const { [name as 'iss']: _, ...without } = claims
      expect(() => expectGrantOf(without, claims, NOW)).toThrow(refusal('GRANT_INVALID'))
    },
  )

  test('is refused before and after its time', () => {
    expect(() => expectGrantOf({ ...claims }, claims, claims.nbf * 1000 - 1)).toThrow(refusal('GRANT_INVALID'))
    expect(() => expectGrantOf({ ...claims }, claims, claims.exp * 1000)).toThrow(refusal('GRANT_EXPIRED'))
    expect(() => expectGrantOf({ ...claims, exp: '2999' }, claims, NOW)).toThrow(refusal('GRANT_INVALID'))
  })
})
