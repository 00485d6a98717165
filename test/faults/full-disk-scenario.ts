import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createToken } from '../../src/auth/commands.js'
import { readConfig } from '../../src/config.js'
import { createTenant } from '../../src/keyring/tenants.js'
import { startService } from '../../src/main.js'
import { host } from '../../src/principal.js'
import { ownServer, type OwnServer } from '../support/own-server.js'
import { verifyChains } from '../support/verify-chain.js'

// Runs by itself, in a folder with little room: see full-disk.test.ts. Prints what it counted as JSON.

export interface FullDiskCounts {
  /** Requests answered 201, and 503 while there was no room. */
  readonly accepted: number
  readonly refused: number
  /** Of those, how many said when to come back. */
  readonly retryAfter: number
  readonly acceptedAgain: number
  /** Whether PostgreSQL gave up and had to be started again. */
  readonly restarted: boolean
}

const TENANT = 'acme'
const REFUSALS = 25
const folder = process.argv[2] ?? ''

/** Takes all the room there is. */
function inflate(balloon: string): void {
  const file = openSync(balloon, 'w')
  for (let size = 1024 * 1024; size >= 4096;) {
    try {
      writeSync(file, Buffer.alloc(size))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
      size /= 2
    }
  }
  closeSync(file)
}

async function main(): Promise<FullDiskCounts> {
  const server = await ownServer({
    folder,
    settings: { min_wal_size: '32MB', max_wal_size: '48MB', max_connections: '60' },
  })
  const service = await startService(
    readConfig({ COUNTERSIGN_HOME: folder, COUNTERSIGN_HTTP_PORT: '0', COUNTERSIGN_APPEND_TIMEOUT_MS: '2000' }),
    { databaseUrl: server.url, installation: server.installation, logStream: { write: () => undefined } },
  )
  try {
    await createTenant(server.db, server.installation, TENANT)
    const { token } = await createToken(server.db, host(TENANT), {
      principal: 'service:billing',
      permissions: ['*/*:*'],
    })
    return await fill(server, `${service.url}/v1/events`, token)
  } finally {
    await service.close()
    await server.close()
  }
}

async function fill(server: OwnServer, url: string, token: string): Promise<FullDiskCounts> {
  const told = new Map<string, 'accepted' | 'refused'>()
  let sent = 0
  let retryAfter = 0
  const send = async (): Promise<'accepted' | 'refused'> => {
    const id = `event-${sent++}`
    const response = await fetch(url, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ type: 'thing.happened', id, data: { text: 'x'.repeat(30_000) } }),
    })
    const answer = await response.text()
    if (response.status === 201) told.set(id, 'accepted')
    else if (response.status === 503) {
      // Where the connection was lost nobody can say; everything else says that nothing was written.
      if (!answer.includes('OUTCOME_UNKNOWN')) told.set(id, 'refused')
      if (response.headers.has('retry-after')) retryAfter++
    } else throw new Error(`${response.status} ${answer}`)
    return response.status === 201 ? 'accepted' : 'refused'
  }
  const count = (what: string) => [...told.values()].filter((one) => one === what).length

  for (let n = 0; n < 50; n++) await send()
  const balloon = join(folder, 'balloon')
  inflate(balloon)
  let refused = 0
  while (refused < REFUSALS) {
    for (const outcome of await Promise.all([send(), send(), send(), send()])) if (outcome === 'refused') refused++
  }
  const accepted = count('accepted')
  rmSync(balloon)
  const restarted = !(await answers(server))
  if (restarted) await server.start()
  let acceptedAgain = 0
  while (acceptedAgain < 50) {
    if ((await send()) === 'accepted') acceptedAgain++
    else await sleep(50)
  }

  const admin = await server.admin()
  const found = new Map<unknown, number>()
  for (const { event } of (await verifyChains(admin)).get(TENANT) ?? []) {
    found.set(event['id'], (found.get(event['id']) ?? 0) + 1)
  }
  await admin.end()
  for (const [id, outcome] of told) {
    const times = found.get(id) ?? 0
    if (times !== (outcome === 'accepted' ? 1 : 0)) throw new Error(`${id} was ${outcome}, and is there ${times} times`)
  }
  return { accepted, refused, retryAfter, acceptedAgain, restarted }
}

async function answers(server: OwnServer): Promise<boolean> {
  try {
    const admin = await server.admin()
    await admin.end()
    return true
  } catch {
    return false
  }
}

process.stdout.write(`${JSON.stringify(await main())}\n`)
