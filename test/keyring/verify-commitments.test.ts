import { afterAll, beforeAll, expect, test } from 'vitest'
import { destroySubject } from '../../src/keyring/destroy.js'
import { ingest, type IngestDeps } from '../../src/keyring/ingest.js'
import { Subjects } from '../../src/keyring/subjects.js'
import { createTenant } from '../../src/keyring/tenants.js'
import { verifyCommitments } from '../../src/keyring/verify-commitments.js'
import { Appender } from '../../src/ledger/appender.js'
import type { EventInput } from '../../src/ledger/event.js'
import { verify } from '../../src/ledger/verify.js'
import { host } from '../../src/principal.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { Tamperer } from '../support/tamper.js'

let own: TestDatabase
let deps: IngestDeps
let attack: Tamperer
let tenants = 0

beforeAll(async () => {
  own = await testDatabase()
  const { db: database, installation } = own
  deps = { database, installation, appender: new Appender(database), subjects: new Subjects(database, installation) }
  attack = new Tamperer(await own.superuser())
  await attack.disarm()
})

afterAll(async () => {
  await deps.appender.close()
  await own.close()
})

const signedIn = (email: string): EventInput => ({
  type: 'user.signed-in',
  actor: { kind: 'email', value: email },
  personal: ['name', 'address'].map((group) => ({
    group,
    subject: { kind: 'email', value: email },
    data: { of: email, group },
  })),
})

/** Entries 1 and 2 about Ada, 3 about Bob, two groups each. */
async function log(): Promise<{ tenant: string; ada: string }> {
  const tenant = `sealed-${++tenants}`
  await createTenant(own.db, own.installation, tenant)
  const { entries } = await ingest(deps, host(tenant), [
    signedIn('ada@example.org'),
    signedIn('ada@example.org'),
    signedIn('bob@example.org'),
  ])
  return { tenant, ada: entries[0]?.actor ?? '' }
}

const check = (tenant: string) => verifyCommitments(own.db, own.installation, { tenant })

test('groups that open to what was committed to are clean, destroyed keys are counted', async () => {
  const { tenant, ada } = await log()
  expect(await check(tenant)).toMatchObject({ groups: 6, erased: 0, findings: [] })
  await destroySubject(own.db, host(tenant), ada)
  expect(await check(tenant)).toMatchObject({ groups: 6, erased: 4, findings: [] })
  expect((await verify(own.db, { tenant })).findings).toEqual([])
})

test('more groups than are read at once are all checked', async () => {
  const { tenant } = await log()
  for (let n = 0; n < 3; n++) {
    await ingest(
      deps,
      host(tenant),
      Array.from({ length: 200 }, () => signedIn('ada@example.org')),
    )
  }
  const progress: number[] = []
  const all = await verifyCommitments(own.db, own.installation, { onProgress: ({ groups }) => progress.push(groups) })
  expect(all).toMatchObject({ groups: 6 + 1206, erased: 4, findings: [] })
  expect(progress.length).toBeGreaterThan(3)
})

const one = `tenant = $1 and seq = 2 and "group" = 'name'`

test.each([
  [
    'a byte of a ciphertext',
    `update sealed_groups set ciphertext = set_byte(ciphertext, 40, get_byte(ciphertext, 40) # 1) where ${one}`,
  ],
  [
    'the ciphertexts of two entries swapped',
    `update sealed_groups g set ciphertext = o.ciphertext from sealed_groups o
     where g.tenant = $1 and o.tenant = $1 and g.seq = 2 and o.seq = 1 and g."group" = 'name' and o."group" = 'name'`,
  ],
  [
    'the subject of a group',
    `update sealed_groups set subject = (select max(subject) from sealed_groups where tenant = $1 and seq = 3) where ${one}`,
  ],
  ['the name of a group', `update sealed_groups set "group" = 'other' where ${one}`],
  ['a group moved to an entry that has none', `update sealed_groups set seq = 0 where ${one}`],
  ['a group moved to an entry that is not there', `update sealed_groups set seq = 77 where ${one}`],
])('finds %s', async (_, text) => {
  const { tenant } = await log()
  await attack.sql(text, [tenant])
  const found = await check(tenant)
  expect(found.findings).toHaveLength(1)
  expect(found.findings[0]).toMatchObject({ tenant, code: 'COMMITMENT_MISMATCH' })
  // The log itself is as it was.
  expect((await verify(own.db, { tenant })).findings).toEqual([])
})

test('a changed key opens none of its groups', async () => {
  const { tenant, ada } = await log()
  await attack.sql(
    'update subject_keys set wrapped = set_byte(wrapped, 30, get_byte(wrapped, 30) # 1) where tenant = $1 and subject = $2',
    [tenant, ada],
  )
  expect(await check(tenant)).toMatchObject({ groups: 6, findingCount: 4 })
})
