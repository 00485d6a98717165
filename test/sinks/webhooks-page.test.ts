import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { DELIVERY_BACKOFF_MS } from '../../src/approvals/step.js'
import { webhookHeaders, webhookPublicKey } from '../../src/sinks/standard-webhooks.js'
import { fencesOf, readPage } from '../support/markdown.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'countersign-page-'))
})
afterAll(() => rm(folder, { recursive: true }))

const page = readPage('docs/webhooks.md')

test('a webhook is verified as the page says', async () => {
  const text = fencesOf(page).find((fence) => fence.text.includes('isGenuine'))?.text ?? ''
  const path = join(folder, 'verify.mjs')
  await writeFile(path, text)
  const { isGenuine } = (await import(pathToFileURL(path).href)) as {
    isGenuine: (headers: Record<string, string>, body: Buffer, whpk: string, nowMs?: number) => boolean
  }
  const [ours, before] = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')]
  const whpk = ({ publicKey }: typeof ours) =>
    webhookPublicKey(Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url'))
  const body = Buffer.from('{"type":"change.ordered"}')
  const timestampS = Math.floor(Date.now() / 1000)
  const headers = webhookHeaders({ id: 'acme-7', timestampS, body }, [ours.privateKey, before.privateKey])
  expect(isGenuine(headers, body, whpk(ours))).toBe(true)
  expect(isGenuine(headers, body, whpk(before))).toBe(true)
  expect(isGenuine(headers, body, whpk(generateKeyPairSync('ed25519')))).toBe(false)
  expect(isGenuine(headers, Buffer.from('{}'), whpk(ours))).toBe(false)
  expect(isGenuine({ ...headers, 'webhook-id': 'acme-8' }, body, whpk(ours))).toBe(false)
  expect(isGenuine(headers, body, whpk(ours), (timestampS + 301) * 1000)).toBe(false)
})

test('the page tells how long after each failed delivery the next one comes', () => {
  const said = DELIVERY_BACKOFF_MS.map((ms) => {
    if (ms < 60_000) return `${ms / 1000} s`
    return ms < 3_600_000 ? `${ms / 60_000} min` : `${ms / 3_600_000} h`
  })
  expect(page).toContain(`again after ${said.join(', ')}, then`)
})
