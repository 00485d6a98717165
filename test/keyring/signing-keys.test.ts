import { createPublicKey, sign, verify } from 'node:crypto'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { calculateJwkThumbprint, importJWK } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { backUpKeyFile, keysNotBackedUp } from '../../src/keyring/backup.js'
import { restoreKeys } from '../../src/keyring/restore.js'
import { newSigningKey, readSigningKeys, writeSigningKeys } from '../../src/keyring/signing-key-file.js'
import {
  publicKeysOf,
  rotateSigningKey,
  signerOf,
  SIGNING_STREAM,
  tenantsWithoutKey,
} from '../../src/keyring/signing-keys.js'
import { createTenant } from '../../src/keyring/tenants.js'
import { Appender } from '../../src/ledger/appender.js'
import { readStream } from '../../src/ledger/streams.js'
import { inTenant } from '../../src/db/database.js'
import { host } from '../../src/principal.js'
import { testService, type TestService } from '../support/service.js'

let api: TestService
let folder: string

beforeAll(async () => {
  api = await testService()
  folder = join(api.server.home, 'signing-keys')
  for (const tenant of ['acme', 'many', 'turned', 'torn', 'lost', 'saved', 'turning']) {
    await createTenant(api.server.db, api.server.installation, tenant)
  }
})
afterAll(() => api.close())

const deps = () => ({ database: api.server.db, signingKeysDir: folder })
const refusal = (code: string) => expect.objectContaining({ code }) as Error
const entriesOf = (tenant: string) =>
  inTenant(api.server.db.reader, tenant, (tx) => readStream(tx, tenant, SIGNING_STREAM))
interface Published {
  kid: string
  x: string
  status: string
}
async function published(tenant: string): Promise<Published[]> {
  const { json } = await api.call('GET', `/t/${tenant}/.well-known/jwks.json`)
  return json['keys'] as Published[]
}

test('a key is made when it is first needed: a file that only its owner reads, an entry, a public key', async () => {
  expect(await published('acme')).toEqual([])
  const signer = await signerOf(deps(), 'acme')
  expect(statSync(folder).mode & 0o777).toBe(0o700)
  expect(statSync(join(folder, 'acme.json')).mode & 0o777).toBe(0o600)
  expect(readdirSync(folder)).toEqual(['acme.json'])

  const [entry, ...others] = await entriesOf('acme')
  expect(others).toEqual([])
  const x = (readSigningKeys(folder, 'acme')[0]?.x ?? Buffer.alloc(0)).toString('base64url')
  expect(entry).toMatchObject({
    by: 'service:countersign',
    event: { type: 'signing-key.made', data: { kid: signer.kid, x } },
  })

  const answer = await api.call('GET', '/t/acme/.well-known/jwks.json')
  expect(answer.headers.get('cache-control')).toBe('public, max-age=300')
  expect(answer.headers.get('content-type')).toContain('json')
  const [jwk] = answer.json['keys'] as [Published]
  expect(answer.json['keys']).toHaveLength(1)
  expect(jwk).toMatchObject({
    kid: signer.kid,
    kty: 'OKP',
    crv: 'Ed25519',
    alg: 'EdDSA',
    use: 'sig',
    status: 'current',
  })
  expect(await calculateJwkThumbprint(jwk)).toBe(jwk.kid)
  expect(await importJWK({ ...jwk })).toBeDefined()
  const publicKey = createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x: jwk.x } })
  expect(verify(null, Buffer.from('x'), publicKey, sign(null, Buffer.from('x'), signer.key))).toBe(true)

  expect((await signerOf(deps(), 'acme')).kid).toBe(signer.kid)
  expect(await entriesOf('acme')).toHaveLength(1)
  const secret = readSigningKeys(folder, 'acme')[0]?.d.toString('base64url') ?? 'none'
  expect(api.logLines.join('')).not.toContain(secret)
  expect(answer.text).not.toContain(secret)
})

test('of many who ask at once, one makes it', async () => {
  const signers = await Promise.all(Array.from({ length: 8 }, () => signerOf(deps(), 'many')))
  expect(new Set(signers.map(({ kid }) => kid)).size).toBe(1)
  expect(await entriesOf('many')).toHaveLength(1)
  expect(readSigningKeys(folder, 'many')).toHaveLength(1)
})

test('after a rotation the new key signs, both sign webhooks, and both are published until one is revoked', async () => {
  const { kid: first } = await signerOf(deps(), 'turned')
  const rotation = await rotateSigningKey(deps(), host('turned'))
  expect(rotation.retired).toEqual([first])
  const second = await signerOf(deps(), 'turned')
  expect(second).toMatchObject({ kid: rotation.kid, keys: [second.key, expect.anything()] })
  expect(await published('turned')).toMatchObject([
    { kid: second.kid, status: 'current' },
    { kid: first, status: 'retired' },
  ])

  const third = await rotateSigningKey(deps(), host('turned'), { revoke: true })
  expect((await signerOf(deps(), 'turned')).keys).toHaveLength(1)
  expect((await published('turned')).map(({ kid }) => kid)).toEqual([third.kid, first])
  expect((await publicKeysOf(api.server.db, 'turned'))?.map(({ status }) => status)).toEqual([
    'retired',
    'revoked',
    'current',
  ])
  expect(readSigningKeys(folder, 'turned').map(({ kid }) => kid)).toEqual([third.kid])
  // Whoever signs while keys turn finds one or the other.
  const [signers] = await Promise.all([
    Promise.all(Array.from({ length: 20 }, () => signerOf(deps(), 'turning'))),
    (async () => {
      for (let n = 0; n < 3; n++) await rotateSigningKey(deps(), host('turning'), { revoke: n === 1 })
    })(),
  ])
  expect(signers).toHaveLength(20)
  expect((await entriesOf('turned')).map(({ by, event }) => [by, event.type])).toEqual([
    ['service:countersign', 'signing-key.made'],
    ['service:host', 'signing-key.retired'],
    ['service:host', 'signing-key.made'],
    ['service:host', 'signing-key.retired'],
    ['service:host', 'signing-key.made'],
  ])
})

test('a file whose entry was never written is gone on with', async () => {
  const orphan = newSigningKey()
  writeSigningKeys(folder, 'torn', [orphan])
  expect((await signerOf(deps(), 'torn')).kid).toBe(orphan.kid)
  expect((await entriesOf('torn'))[0]?.event.data).toMatchObject({ kid: orphan.kid })
})

test('without its file nothing is signed, until the key is restored or rotated', async () => {
  const { kid } = await signerOf(deps(), 'lost')
  const path = join(folder, 'lost.json')
  const content = readFileSync(path)
  rmSync(path)
  await expect(signerOf(deps(), 'lost')).rejects.toEqual(refusal('SIGNING_KEY_MISSING'))
  expect(await tenantsWithoutKey(deps())).toEqual(['lost'])
  expect(await entriesOf('lost')).toHaveLength(1)
  writeFileSync(path, content, { mode: 0o600 })
  expect((await signerOf(deps(), 'lost')).kid).toBe(kid)
  expect(await tenantsWithoutKey(deps())).toEqual([])
  rmSync(path)
  const { kid: next } = await rotateSigningKey(deps(), host('lost'))
  expect((await signerOf(deps(), 'lost')).kid).toBe(next)
})

test.each([
  ['others may read it', (path: string) => chmodSync(path, 0o644)],
  ['it is no JSON', (path: string) => writeFileSync(path, '{')],
  [
    "it is another tenant's",
    (path: string) => writeFileSync(path, readFileSync(path, 'utf8').replace('"many"', '"acme"')),
  ],
  [
    'a key has another name',
    (path: string) => writeFileSync(path, readFileSync(path, 'utf8').replace(/"kid": "."?/, '"kid": "_')),
  ],
])('a file is refused where %s', async (_, harm) => {
  const path = join(folder, 'many.json')
  const content = readFileSync(path)
  harm(path)
  await expect(signerOf(deps(), 'many')).rejects.toEqual(refusal('SIGNING_KEY_FILE_INVALID'))
  writeFileSync(path, content)
  chmodSync(path, 0o600)
  await expect(signerOf(deps(), 'many')).resolves.toBeDefined()
})

test.each(['nobody', 'system2', 'Acme', '..%2f..', 'a'])('there are no keys of %s', async (tenant) => {
  expect((await api.call('GET', `/t/${tenant}/.well-known/jwks.json`)).json).toMatchObject({
    status: 404,
    code: 'TENANT_UNKNOWN',
    detail: 'there is no such tenant',
  })
})

test('a backup holds the signing keys too, and restores what is missing and nothing else', async () => {
  await signerOf(deps(), 'saved')
  const safe = mkdtempSync(join(tmpdir(), 'countersign-safe-'))
  const appender = new Appender(api.server.db)
  try {
    const { db: database, installation, keyFile, home } = api.server
    expect((await keysNotBackedUp(database, folder)).signingKeyIds.length).toBeGreaterThan(0)
    const places = { keyFile, signingKeysDir: folder, destination: join(safe, 'backup.json'), home }
    const { file, signingKeyIds } = await backUpKeyFile({ database, appender, installation }, host('system'), places)
    expect(signingKeyIds).toContain((await signerOf(deps(), 'saved')).kid)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(await keysNotBackedUp(database, folder)).toMatchObject({ keyIds: [], signingKeyIds: [] })

    const kept = { keyFile: join(safe, 'new', 'keys.json'), signingKeysDir: join(safe, 'new', 'signing-keys') }
    const tenants = readdirSync(folder).map((name) => join(kept.signingKeysDir, name))
    expect(restoreKeys(file, kept).written.toSorted()).toEqual([kept.keyFile, ...tenants].toSorted())
    expect(JSON.parse(readFileSync(kept.keyFile, 'utf8'))).toEqual(JSON.parse(readFileSync(keyFile, 'utf8')))
    for (const path of [kept.keyFile, ...tenants]) expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readSigningKeys(kept.signingKeysDir, 'saved')).toEqual(readSigningKeys(folder, 'saved'))
    expect(restoreKeys(file, kept).written).toEqual([])
    rmSync(join(kept.signingKeysDir, 'saved.json'))
    expect(restoreKeys(file, kept).written).toEqual([join(kept.signingKeysDir, 'saved.json')])

    writeFileSync(kept.keyFile, readFileSync(keyFile, 'utf8').replace(installation.id, 'f'.repeat(32)))
    expect(() => restoreKeys(file, kept)).toThrow(refusal('KEY_FILE_FOREIGN'))
    expect(() => restoreKeys(join(safe, 'none.json'), kept)).toThrow(refusal('KEY_FILE_MISSING'))
  } finally {
    await appender.close()
    rmSync(safe, { recursive: true })
  }
})
