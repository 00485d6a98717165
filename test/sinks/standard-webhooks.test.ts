import { createPublicKey, createPrivateKey, generateKeyPairSync, verify } from 'node:crypto'
import { expect, test } from 'vitest'
import { webhookHeaders, webhookPublicKey } from '../../src/sinks/standard-webhooks.js'

/** PKCS#8 of an Ed25519 key is this and its 32 bytes (RFC 8410). */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')

test('the signature is the one that the reference implementation of Standard Webhooks tests for', () => {
  const seed = Buffer.from('VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=', 'base64')
  const key = createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: 'der', type: 'pkcs8' })
  const message = {
    id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
    timestampS: 1614265330,
    body: Buffer.from('{"test": 2432232314}'),
  }
  expect(webhookHeaders(message, [key])).toEqual({
    'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
    'webhook-timestamp': '1614265330',
    'webhook-signature': 'v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag==',
  })
})

test('with two keys a receiver that knows either is satisfied, by its whpk_ text alone', () => {
  const [now, before] = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')]
  const body = Buffer.from('{"text":"Łódź"}')
  const headers = webhookHeaders({ id: 'acme-7', timestampS: 1, body }, [now.privateKey, before.privateKey])
  const signatures = (headers['webhook-signature'] ?? '').split(' ').map((each) => each.split(','))
  expect(signatures.map(([version]) => version)).toEqual(['v1a', 'v1a'])
  for (const { publicKey } of [now, before]) {
    const text = webhookPublicKey(Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url'))
    expect(text).toMatch(/^whpk_[A-Za-z0-9+/]{43}=$/)
    const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), Buffer.from(text.slice(5), 'base64')])
    const key = createPublicKey({ key: spki, format: 'der', type: 'spki' })
    const signed = Buffer.from(`acme-7.1.${body.toString()}`)
    const verified = signatures.map(([, signature = '']) => verify(null, signed, key, Buffer.from(signature, 'base64')))
    expect(verified.filter(Boolean)).toHaveLength(1)
  }
})

test.each(['a.b', '', 'a b', 'a\nb'])('%j is no id: what is signed could be read in two ways', (id) => {
  const { privateKey } = generateKeyPairSync('ed25519')
  expect(() => webhookHeaders({ id, timestampS: 1, body: Buffer.alloc(0) }, [privateKey])).toThrow(RangeError)
})
