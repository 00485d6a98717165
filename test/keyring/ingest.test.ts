import { createHmac } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { destroySubject } from '../../src/keyring/destroy.js'
import { ingest, type IngestDeps } from '../../src/keyring/ingest.js'
import { findSubject, reveal } from '../../src/keyring/reveal.js'
import { Subjects } from '../../src/keyring/subjects.js'
import { createTenant } from '../../src/keyring/tenants.js'
import { Appender } from '../../src/ledger/appender.js'
import { groupBytes } from '../../src/keyring/seal.js'
import { readLeaf } from '../../src/ledger/entry.js'
import type { EventInput } from '../../src/ledger/event.js'
import type { Principal } from '../../src/principal.js'
import { testDatabase, type TestDatabase } from '../support/database.js'

let server: TestDatabase
let deps: IngestDeps
const by: Principal = { tenant: 'acme', id: 'service:billing', via: 'token:01TEST', permissions: [] }

beforeAll(async () => {
  server = await testDatabase()
  await createTenant(server.db, server.installation, 'acme')
  deps = {
    database: server.db,
    installation: server.installation,
    appender: new Appender(server.db),
    subjects: new Subjects(server.db, server.installation),
  }
})

afterAll(async () => {
  await deps.appender.close()
  await server.close()
})

const ada = { kind: 'email', value: 'ada@example.org' }

const signedIn = (email: string): EventInput => ({
  type: 'user.signed-in',
  actor: { kind: 'email', value: email },
  personal: [
    { group: 'name', subject: { kind: 'email', value: email }, data: { name: 'Ada Łóź' } },
    { group: 'address', subject: { kind: 'email', value: email }, data: { address: '2001:db8::1' } },
  ],
})

async function leafText(seq: number): Promise<string> {
  const admin = await server.superuser()
  const { rows } = await admin.query<{ leaf: Buffer }>(`select leaf from entries where tenant = 'acme' and seq = $1`, [
    seq,
  ])
  return rows[0]?.leaf.toString() ?? ''
}

test('personal data is sealed and never reaches the leaf', async () => {
  const { entries } = await ingest(deps, by, [signedIn(ada.value)])
  const [entry] = entries
  expect(entry?.actor).toMatch(/^person:[0-9A-Z]{26}$/)
  expect(entry?.subjects).toEqual([entry?.actor, entry?.actor])
  const leaf = await leafText(entry?.seq ?? -1)
  for (const value of ['ada@example.org', 'Łóź', '2001:db8::1']) expect(leaf).not.toContain(value)
  const { event } = readLeaf(Buffer.from(leaf))
  expect(event.source).toEqual({ name: 'service:billing' })
  expect(event.sealed?.map((sealed) => sealed.group)).toEqual(['name', 'address'])
})

test('one person has one pseudonym, however the address is written and however many ask at once', async () => {
  const spellings = ['grace@example.org', ' Grace@Example.ORG ', 'GRACE@EXAMPLE.ORG']
  const answers = await Promise.all(
    spellings.map((email) =>
      ingest({ ...deps, subjects: new Subjects(server.db, server.installation) }, by, [signedIn(email)]),
    ),
  )
  expect(new Set(answers.map(({ entries }) => entries[0]?.actor)).size).toBe(1)
})

test('no table holds an identifier or a sealed value in clear', async () => {
  await ingest(deps, by, [signedIn('margaret@example.org')])
  const admin = await server.superuser()
  const { rows } = await admin.query<{ relname: string }>(
    `select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace`,
  )
  for (const { relname } of rows) {
    const found = await admin.query(`select from ${relname} t where position('margaret' in t::text) > 0`)
    const bytes = await admin.query(`select from ${relname} t where position(encode('margaret', 'hex') in t::text) > 0`)
    expect({ relname, rows: found.rowCount, bytes: bytes.rowCount }).toEqual({ relname, rows: 0, bytes: 0 })
  }
  expect(rows.length).toBeGreaterThan(20)
})

test('a reveal decrypts, proves the commitment, and is on record before it answers', async () => {
  const { entries } = await ingest(deps, by, [signedIn(ada.value)])
  const seq = entries[0]?.seq ?? -1
  const revealed = await reveal(deps, by, { seq, group: 'name', reason: 'ticket 17, asked by ada@example.org' })
  expect(revealed).toMatchObject({ data: { name: 'Ada Łóź' }, subject: entries[0]?.actor, seq })
  const commitment = readLeaf(Buffer.from(await leafText(seq))).event.sealed?.[0]?.commit
  const bytes = groupBytes('name', revealed.subject, revealed.data)
  expect(createHmac('sha256', Buffer.from(revealed.salt, 'base64')).update(bytes).digest('base64')).toBe(commitment)
  const record = await leafText(revealed.recordedSeq)
  expect(readLeaf(Buffer.from(record))).toMatchObject({
    entry: { by: 'service:billing' },
    event: { type: 'personal.revealed', cause: seq, data: { group: 'name', seq } },
  })
  expect(record).not.toContain('ticket')
  expect(record).not.toContain('"source"')
})

test('a search is on record, and what was searched for is not in clear', async () => {
  const known = await findSubject(deps, by, {
    identifier: { kind: 'email', value: 'ADA@example.org' },
    reason: 'art. 15',
  })
  expect(known.subject).toMatch(/^person:/)
  const nobody = await findSubject(deps, by, {
    identifier: { kind: 'email', value: 'nobody@example.org' },
    reason: 'art. 15',
  })
  expect(nobody.subject).toBeUndefined()
  const leaf = await leafText(nobody.recordedSeq)
  expect(leaf).toContain('subject.searched')
  expect(leaf).not.toContain('nobody')
})

test('a pseudonym that nobody has is refused, and nothing is written', async () => {
  const before = await deps.database.operator
    .selectFrom('heads')
    .select('next_seq')
    .where('tenant', '=', 'acme')
    .execute()
  const event: EventInput = { type: 'user.signed-in', actor: { id: 'person:01NOBODY', type: 'user' } }
  await expect(ingest(deps, by, [event])).rejects.toMatchObject({ code: 'SUBJECT_UNKNOWN' })
  const after = await deps.database.operator
    .selectFrom('heads')
    .select('next_seq')
    .where('tenant', '=', 'acme')
    .execute()
  expect(after).toEqual(before)
})

test('what was sealed under a destroyed key cannot be opened, and the person comes back as somebody else', async () => {
  const { entries } = await ingest(deps, by, [signedIn('alan@example.org')])
  const { actor = '', seq } = entries[0] ?? { seq: -1 }
  await destroySubject(server.db, by, actor)
  await expect(reveal(deps, by, { seq, group: 'name', reason: 'x' })).rejects.toMatchObject({ code: 'SUBJECT_ERASED' })
  await expect(
    ingest(deps, by, [{ type: 'user.noted', personal: [{ group: 'note', subject: actor, data: 'x' }] }]),
  ).rejects.toMatchObject({ code: 'SUBJECT_ERASED' })
  const again = await ingest(deps, by, [signedIn('alan@example.org')])
  expect(again.entries[0]?.actor).not.toBe(actor)
})

test('groups in flight while their key is destroyed never land behind it', async () => {
  let landedBehind = 0
  let refused = 0
  for (let round = 0; round < 10; round++) {
    const email = `round-${round}@example.org`
    const first = await ingest(deps, by, [signedIn(email)])
    const subject = first.entries[0]?.actor ?? ''
    const note: EventInput = { type: 'user.noted', personal: [{ group: 'note', subject, data: 'note' }] }
    const flying = Array.from({ length: 40 }, () => ingest(deps, by, [note]))
    const destroyed = destroySubject(server.db, by, subject)
    const outcomes = await Promise.allSettled(flying)
    const boundary = await destroyed
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') {
        expect(outcome.reason).toMatchObject({ code: 'SUBJECT_ERASED' })
        refused++
      } else if ((outcome.value.entries[0]?.seq ?? 0) > boundary) landedBehind++
    }
  }
  expect(landedBehind).toBe(0)
  expect(refused).toBeGreaterThan(0)
})

test('a repeated key gets the first answer, another body is refused', async () => {
  const body = Buffer.from('{"type":"invoice.sent"}')
  const options = { idempotency: { key: 'invoice-1', body } }
  const first = await ingest(deps, by, [signedIn(ada.value)], options)
  const second = await ingest(deps, by, [signedIn(ada.value)], options)
  expect(second).toEqual({ ...first, repeated: true })
  await expect(
    ingest(deps, by, [signedIn(ada.value)], { idempotency: { key: 'invoice-1', body: Buffer.from('{}') } }),
  ).rejects.toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' })
})

test('a reused key is refused before anybody is made', async () => {
  const people = async () => {
    const admin = await server.superuser()
    return (await admin.query(`select from subjects where tenant = 'acme'`)).rowCount
  }
  await ingest(deps, by, [signedIn(ada.value)], { idempotency: { key: 'invoice-2', body: Buffer.from('1') } })
  const before = await people()
  const other = [signedIn('somebody-new@example.org')]
  await expect(
    ingest(deps, by, other, { idempotency: { key: 'invoice-2', body: Buffer.from('2') } }),
  ).rejects.toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' })
  expect(await people()).toBe(before)
})

test('an event told apart by its key is accepted once and answered with its first entry', async () => {
  const events = [signedIn('x@example.org'), signedIn('y@example.org'), signedIn('x@example.org')]
  const first = await ingest(deps, by, events, { eventKeys: ['x', 'y', 'x'] })
  expect(first.entries.map((entry) => entry.duplicate)).toEqual([undefined, undefined, true])
  expect(first.entries[2]?.seq).toBe(first.entries[0]?.seq)
  const again = await ingest(deps, by, events, { eventKeys: ['x', 'y', 'z'] })
  expect(again.entries.map((entry) => entry.duplicate)).toEqual([true, true, undefined])
  expect(again.entries[1]).toEqual({ ...first.entries[1], duplicate: true })
})
