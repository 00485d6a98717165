import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTenant } from '../../src/keyring/tenants.js'
import { Appender } from '../../src/ledger/appender.js'
import { prepare } from '../../src/ledger/prepare.js'
import type { Principal } from '../../src/principal.js'
import { testDatabase, type TestDatabase } from '../support/database.js'

let server: TestDatabase
let appenders: Appender[]

beforeAll(async () => {
  server = await testDatabase()
  await createTenant(server.db, server.installation, 'acme')
  appenders = [new Appender(server.db), new Appender(server.db)]
})

afterAll(async () => {
  await Promise.all(appenders.map((appender) => appender.close()))
  await server.close()
})

const principal: Principal = { tenant: 'acme', id: 'service:importer', via: 'host', permissions: [] }

async function submit(appender: Appender | undefined, after: string | null, now: string): Promise<boolean> {
  const event = prepare({ type: 'door.opened', source: { name: 'doors' } }, { by: principal }, 0, [])
  try {
    await appender?.submit({
      tenant: 'acme',
      by: principal.id,
      via: 'host',
      events: [event],
      position: { source: 'doors', after, now },
    })
    return true
  } catch (error) {
    expect(error).toMatchObject({ code: 'SOURCE_MOVED' })
    return false
  }
}

test('of several that move a source from the same position, one does, in one process and in two', async () => {
  let after: string | null = null
  for (let round = 0; round < 300; round++) {
    // Each comes a little later than the one before: while that is being looked up, sent, or has just landed.
    const tries = Array.from({ length: 6 }, async (_, n) => {
      await new Promise((resolve) => setTimeout(resolve, n * (round % 4) * 0.4))
      const appender = appenders[round % 3 === 0 ? n % 2 : 0]
      // Who was refused asks again at once, while the one that was faster is still on its way.
      return (await submit(appender, after, `${round}.${n}`)) || submit(appender, after, `${round}.${n}`)
    })
    const moved = await Promise.all(tries)
    expect(moved.filter(Boolean)).toHaveLength(1)
    after = `${round}.${moved.indexOf(true)}`
  }
})
