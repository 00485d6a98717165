import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createToken, revokeToken } from '../../src/auth/commands.js'
import { Subjects } from '../../src/keyring/subjects.js'
import { createTenant } from '../../src/keyring/tenants.js'
import { host } from '../../src/principal.js'
import { countersign } from '../support/cli.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { serve, type Served } from '../support/served.js'

let server: TestDatabase
let env: Record<string, string>
let api: Served
const people: { id: string; file: string }[] = []
let billing: string

const run = (...words: string[]) => countersign(words, { env })
const as = (n: number): string[] => ['--token-file', people[n]?.file ?? '', '--api', api.url]

async function ran(...words: string[]): Promise<Record<string, unknown>> {
  const { code, json, stderr } = await run(...words, '--json')
  expect([words, code, stderr]).toEqual([words, 0, stderr])
  return json()
}

/** Somebody with a token in a file: only the commands that are tested here are run as commands. */
async function tokenFile(name: string, principal: string, permission: string): Promise<{ id: string; file: string }> {
  const { token } = await createToken(server.db, host('acme'), { principal, permissions: [permission] })
  const file = join(server.home, `${name}.token`)
  writeFileSync(file, `${token}\n`, { mode: 0o600 })
  return { id: principal, file }
}

async function person(name: string): Promise<{ id: string; file: string }> {
  const { subject } = await new Subjects(server.db, server.installation).create('acme')
  return tokenFile(name, subject, 'changes/*:*')
}

async function ask(n: number, path: string, body: object): Promise<Record<string, unknown>> {
  const token = readFileSync(people[n]?.file ?? '', 'utf8').trim()
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const response = await fetch(`${api.url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
  expect(response.ok).toBe(true)
  return (await response.json()) as Record<string, unknown>
}

beforeAll(async () => {
  server = await testDatabase()
  env = { DATABASE_URL: server.url, COUNTERSIGN_HOME: server.home }
  await createTenant(server.db, server.installation, 'acme')
  for (const name of ['ada', 'ben', 'cy']) people.push(await person(name))
  billing = (await tokenFile('billing', 'service:billing', 'grants/grants:redeem')).file
  api = await serve(env)
}, 120_000)

afterAll(async () => {
  await api.end()
  await server.close()
})

async function approved(kind: string, payload: object): Promise<string> {
  const { id, payloadHash } = (await ask(0, '/v1/changes', { kind, payload })) as { id: string; payloadHash: string }
  for (const n of [1, 2]) await ask(n, `/v1/changes/${id}/votes`, { decision: 'approve', payloadHash })
  return id
}

test('a grant is printed for who asked, and redeemed once by the other system', async () => {
  const id = await approved('external.billing', { delivery: 'grant', content: { refund: 'INV-7' } })
  const granted = await run('change', 'grant', id, ...as(0))
  expect([granted.code, granted.stdout]).toEqual([0, expect.stringMatching(/^ey[\w-]+\.[\w-]+\.[\w-]{86}\n$/)])
  const file = join(server.home, 'grant.jws')
  writeFileSync(file, granted.stdout)
  const redeem = () => run('change', 'redeem', id, file, '--token-file', billing, '--api', api.url)
  const redeemed = await redeem()
  expect([redeemed.code, JSON.parse(redeemed.stdout)]).toEqual([0, { delivery: 'grant', content: { refund: 'INV-7' } }])
  expect((await redeem()).stderr).toMatch(/^error GRANT_REDEEMED: /)
  expect((await run('change', 'redeem', id, file)).stderr).toMatch(/^error USAGE: /)
  expect((await run('change', 'redeem', id, 'not-there', '--token-file', billing, '--api', api.url)).code).toBe(3)
}, 120_000)

test('a token is claimed by whom it is for, or by the operator for who has none, with a reason', async () => {
  const { id: dan, file } = await person('dan')
  const change = await approved('token.create', { principal: dan, permissions: ['changes/*:approve'] })
  expect((await run('token', 'claim', change, ...as(1))).stderr).toMatch(/^error CLAIM_NOT_YOURS: /)
  const alone = await run('token', 'claim', change, '--tenant', 'acme', '--override', 'because')
  expect(alone.stderr).toMatch(/^error CLAIM_HAS_CREDENTIAL: /)
  const made = await ran('token', 'claim', change, '--token-file', file, '--api', api.url)
  expect(made).toMatchObject({ principal: dan, permissions: ['changes/*:approve'] })

  const spare = await createToken(server.db, host('acme'), {
    principal: 'service:new',
    permissions: ['changes/*:approve'],
  })
  await revokeToken(server.db, host('acme'), spare.id)
  const second = await approved('token.create', { principal: 'service:new', permissions: ['changes/*:approve'] })
  expect((await run('token', 'claim', second, '--tenant', 'acme')).stderr).toMatch(/^error CHANGE_REASON_MISSING: /)
  const claimed = await ran('token', 'claim', second, '--tenant', 'acme', '--override', 'its first token')
  expect(claimed).toMatchObject({ principal: 'service:new', token: expect.stringMatching(/^cs_acme\./) as string })
}, 120_000)
