import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTenant } from '../../src/keyring/tenants.js'
import { appenderProcesses } from '../support/appender-process.js'
import { Load } from '../support/load.js'
import { ownServer, type OwnServer } from '../support/own-server.js'
import { say } from '../support/say.js'
import { verifyChains } from '../support/verify-chain.js'

const ROUNDS = 20

let server: OwnServer

beforeAll(async () => {
  server = await ownServer()
})

afterAll(async () => {
  await server.close()
})

test('whatever was acknowledged survives a killed PostgreSQL, and is there once', { timeout: 300_000 }, async () => {
  const tenants = ['acme', 'globex', 'initech', 'umbrella']
  for (const tenant of tenants) await createTenant(server.db, server.installation, tenant)
  const processes = await appenderProcesses(server, 2, { patienceMs: 3_000 })
  const load = new Load(processes, tenants)
  let killed = 0
  for (let round = 0; round < ROUNDS; round++) {
    await load.progress(100 + 10 * round)
    killed += server.kill()
    await server.start()
  }
  await load.progress(100)
  await load.stop()
  await Promise.all(processes.map((process) => process.close()))
  const admin = await server.admin()
  const { acknowledged, refused, unknown } = load.check(await verifyChains(admin))
  await admin.end()
  expect(acknowledged).toBeGreaterThan(ROUNDS * 100)
  say(
    `PostgreSQL killed ${ROUNDS} times (${killed} processes): ${acknowledged} events acknowledged, all there, none twice; ` +
      `${refused} refused, none there; the outcome of ${unknown} was told to be unknown`,
  )
})
