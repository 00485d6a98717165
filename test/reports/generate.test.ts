import { chmod, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkReportFile, downloadReport, generateReport, type ReportDeps } from '../../reports/generate.js'
import { listReports } from '../../reports/recorded.js'
import { ReportFiles } from '../../src/blobs/files.js'
import { inTenant } from '../../src/db/database.js'
import { entryIndex } from '../../src/followers/entry-index.js'
import { reportsIndex } from '../../src/followers/reports.js'
import { Appender } from '../../src/ledger/appender.js'
import { command } from '../../src/ledger/append.js'
import { readLeaf } from '../../src/ledger/entry.js'
import { EntriesListener } from '../../src/ledger/listen.js'
import { Follower } from '../../src/ledger/subscribe.js'
import { host, type Principal } from '../../src/principal.js'
import { testDatabase, type TestDatabase } from '../support/database.js'
import { createTenants, report } from '../support/log.js'
import { readPdf } from '../support/pdf.js'

let database: TestDatabase
let appender: Appender
let deps: ReportDeps
let stop: () => Promise<void>
const auditor = (tenant: string): Principal => ({ tenant, id: 'person:01AUDITOR', via: 'token:01T', permissions: [] })

beforeAll(async () => {
  database = await testDatabase()
  appender = new Appender(database.db)
  const files = new ReportFiles(join(database.home, 'reports'))
  deps = { database: database.db, appender, files, waitMs: 10_000 }
  const listener = new EntriesListener(database.db)
  const followers = [entryIndex(), reportsIndex()].map((consumer) => new Follower(database.db, consumer, { listener }))
  for (const follower of followers) follower.start()
  stop = async () => {
    await Promise.all(followers.map((follower) => follower.stop()))
    await listener.close()
  }
})

afterAll(async () => {
  await stop()
  await appender.close()
  await database.close()
})

const entriesOf = async (tenant: string, type: string) => {
  const rows = await inTenant(database.db.reader, tenant, (tx) =>
    tx
      .selectFrom('entries')
      .select(['seq', 'leaf', 'chain_hash'])
      .where('tenant', '=', tenant)
      .orderBy('seq')
      .execute(),
  )
  return rows
    .map(({ seq, leaf, chain_hash: hash }) => ({ seq, hash, ...readLeaf(leaf) }))
    .filter(({ event }) => event.type === type)
}

async function csvOf(tenant: string, id: string): Promise<string[][]> {
  const text = await readFile(deps.files.path(tenant, id, 'csv'), 'utf8')
  // No field of these tests holds a line break.
  return text
    .trimEnd()
    .split('\r\n')
    .map((line) =>
      line.split(/,(?=(?:[^"]*"[^"]*")*[^"]*$)/).map((cell) => cell.replace(/^"|"$/g, '').replaceAll('""', '"')),
    )
}

const column = (records: string[][], name: string) =>
  records.slice(1).map((record) => record[records[0]?.indexOf(name) ?? -1])

test('a report lists what the log holds, and is recorded with what fixes it', async () => {
  const [tenant = ''] = await createTenants(database, 'recorded', 1)
  const by = auditor(tenant)
  await report(appender, tenant, [
    {
      type: 'role.granted',
      actor: { id: 'person:01A', type: 'user' },
      targets: [{ id: 'project:9', type: 'project' }, { id: 'person:01B' }],
      sealed: [
        { group: 'actor', subject: 'person:01A', commit: 'A' },
        { group: 'note', subject: 'person:01A', commit: 'B' },
      ],
      outcome: 'denied',
      reason: 'POLICY',
      id: 'evt-1',
      data: { b: 1, a: ['x'] },
    },
  ])
  const made = await generateReport(deps, by, 'audit-trail', { timeZone: 'Europe/Berlin' })

  expect(made.parameters).toMatchObject({
    tenant,
    by: 'recorded',
    timeZone: 'Europe/Berlin',
    filter: {},
    completeTo: 1,
    level: 'chained',
  })
  const [generated] = await entriesOf(tenant, 'report.generated')
  expect(generated?.entry).toMatchObject({ by: by.id, via: by.via, seq: made.seq })
  expect(generated?.entry.stream).toBeUndefined()
  expect(generated?.event).toMatchObject({
    actor: { id: by.id },
    targets: [{ id: made.id, type: 'report' }],
    data: { id: made.id, kind: 'audit-trail', parameters: made.parameters, rows: 2, files: made.files },
  })
  expect(generated?.event.source).toBeUndefined()

  const records = await csvOf(tenant, made.id)
  expect(column(records, 'seq')).toEqual(['0', '1'])
  expect(column(records, 'type')).toEqual(['log.created', 'role.granted'])
  expect(column(records, 'targets')[1]).toBe('project:9 (project); person:01B')
  expect(column(records, 'sealed')[1]).toBe('person:01A [actor, note]')
  expect(column(records, 'data')[1]).toBe('{"a":["x"],"b":1}')
  expect(column(records, 'event_id')[1]).toBe('evt-1')
  expect(column(records, 'reported')).toEqual(['false', 'true'])
  const rows = await inTenant(database.db.reader, tenant, (tx) =>
    tx.selectFrom('entries').select('chain_hash').orderBy('seq').execute(),
  )
  expect(column(records, 'chain_hash')).toEqual(rows.slice(0, 2).map((row) => row.chain_hash.toString('hex')))
  expect(made.parameters.range).toMatchObject({
    firstSeq: 0,
    lastSeq: 1,
    lastChainHash: rows[1]?.chain_hash.toString('hex'),
  })

  const pdf = readPdf(await readFile(deps.files.path(tenant, made.id, 'pdf')))
  expect(pdf.pages.join('\n')).toContain('role.granted')
  expect((await stat(deps.files.path(tenant, made.id, 'pdf'))).mode & 0o777).toBe(0o600)
})

test('a period of recorded time is a fixed range of the log', async () => {
  const [tenant = ''] = await createTenants(database, 'period', 1)
  const times: string[] = []
  for (let index = 0; index < 4; index++) {
    const seq = await report(appender, tenant, [{ type: `step.n${index}` }])
    const [entry] = (await entriesOf(tenant, `step.n${index}`)).filter((each) => each.seq === seq)
    times.push(entry?.entry.at ?? '')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const [, second = '', , fourth = ''] = times
  const made = await generateReport(deps, auditor(tenant), 'audit-trail', {
    from: second,
    to: fourth,
    formats: ['csv'],
  })
  expect(made.parameters.range).toMatchObject({ firstSeq: 2, lastSeq: 3 })
  expect(column(await csvOf(tenant, made.id), 'type')).toEqual(['step.n1', 'step.n2'])
  const none = await generateReport(deps, auditor(tenant), 'audit-trail', {
    from: '2001-01-01',
    to: '2001-02-01',
    formats: ['csv'],
  })
  expect(none.parameters).toMatchObject({ range: null, from: '2001-01-01T00:00:00.000Z' })
  expect(await csvOf(tenant, none.id)).toHaveLength(1)
})

test('a period of occurred time looks at the whole log, and lists by that time to the microsecond', async () => {
  const [tenant = ''] = await createTenants(database, 'occurred', 1)
  await report(appender, tenant, [
    { type: 'a.third', occurredAt: '2020-05-01T00:00:00.000002Z' },
    { type: 'a.none' },
    { type: 'a.first', occurredAt: '2020-05-01T01:59:00+02:00' },
    { type: 'a.second', occurredAt: '2020-05-01T00:00:00.000001Z' },
    { type: 'a.later', occurredAt: '2020-06-01T00:00:00Z' },
    { type: 'a.early', occurredAt: '0001-01-01T00:00:00+23:59' },
  ])
  const request = {
    by: 'occurred',
    from: '2020-04-30T23:58:00Z',
    to: '2020-06-01T00:00:00Z',
    formats: ['csv'],
  } as const
  const made = await generateReport(deps, auditor(tenant), 'audit-trail', request)
  expect(column(await csvOf(tenant, made.id), 'type')).toEqual(['a.first', 'a.second', 'a.third'])
  expect(made.parameters.range).toMatchObject({ firstSeq: 0, lastSeq: 6 })
  const all = await generateReport(deps, auditor(tenant), 'audit-trail', { by: 'occurred', formats: ['csv'] })
  expect(column(await csvOf(tenant, all.id), 'type')).toEqual(['a.early', 'a.first', 'a.second', 'a.third', 'a.later'])
})

test('pages follow one another without gap or repeat, by either time', async () => {
  const [tenant = ''] = await createTenants(database, 'pages', 1)
  const events = Array.from({ length: 1_000 }, (_, index) => ({
    type: 'page.turned',
    occurredAt: `2020-01-01T00:00:00.${String((index * 7) % 5).padStart(6, '0')}Z`,
    data: { index },
  }))
  await report(appender, tenant, events)
  await report(appender, tenant, events)
  for (const by of ['recorded', 'occurred'] as const) {
    const made = await generateReport(deps, auditor(tenant), 'audit-trail', {
      by,
      formats: ['csv'],
      filter: { type: 'page.turned' },
    })
    const seqs = column(await csvOf(tenant, made.id), 'seq').map(Number)
    expect(seqs).toHaveLength(2_000)
    expect(seqs.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 2_000 }, (_, index) => index + 1))
  }
})

test('filters narrow by type, actor, target, person, stream and outcome', async () => {
  const [tenant = ''] = await createTenants(database, 'filters', 1)
  await report(appender, tenant, [
    {
      type: 'role.granted',
      actor: { id: 'user:a' },
      targets: [{ id: 'project:1' }],
      sealed: [{ group: 'note', subject: 'person:01B', commit: 'B' }],
    },
    { type: 'role.revoked', actor: { id: 'user:b' }, targets: [{ id: 'project:2' }], outcome: 'denied' },
    { type: 'roles.listed', actor: { id: 'user:a' } },
  ])
  const by = host(tenant)
  await command(database.db.command, { by, stream: 'change/01' }, { initial: 0, evolve: (n) => n + 1 }, () => [
    { type: 'change.requested' },
  ])
  const listed = async (filter: object) => {
    const made = await generateReport(deps, auditor(tenant), 'audit-trail', { filter, formats: ['csv'] })
    return column(await csvOf(tenant, made.id), 'seq')
  }
  expect(await listed({ type: 'role.*' })).toEqual(['1', '2'])
  expect(await listed({ type: 'role.granted' })).toEqual(['1'])
  expect(await listed({ actor: 'user:a' })).toEqual(['1', '3'])
  expect(await listed({ target: 'project:2' })).toEqual(['2'])
  expect(await listed({ subject: 'person:01B' })).toEqual(['1'])
  expect(await listed({ outcome: 'denied' })).toEqual(['2'])
  expect(await listed({ stream: 'change/01' })).toEqual(['4'])
  expect(await listed({ actor: 'user:a', type: 'roles.*' })).toEqual(['3'])
  expect(await listed({ actor: "'; drop table entries; --" })).toEqual([])
})

test('a report shows nothing of other tenants', async () => {
  const [one = '', two = ''] = await createTenants(database, 'apart', 2)
  await report(appender, one, [{ type: 'secret.kept', actor: { id: 'user:one' } }])
  const made = await generateReport(deps, auditor(two), 'audit-trail', { filter: { actor: 'user:one' } })
  expect(made.rows).toBe(0)
  await expect(downloadReport(deps, auditor(one), made.id, 'csv')).rejects.toMatchObject({ code: 'REPORT_UNKNOWN' })
  expect(await listReports(database.db, one)).toEqual([])
})

test('a download is an entry, and a file that is gone or changed is made again to the same bytes', async () => {
  const [tenant = ''] = await createTenants(database, 'again', 1)
  const by = auditor(tenant)
  await report(
    appender,
    tenant,
    Array.from({ length: 30 }, (_, n) => ({ type: 'order.placed', data: { n, text: '=1+1' } })),
  )
  const made = await generateReport(deps, by, 'audit-trail', { timeZone: 'Asia/Tokyo', filter: { type: 'order.*' } })
  // The log goes on; the report stays what it was.
  await report(appender, tenant, [{ type: 'order.placed' }])
  const before = new Map<string, Buffer>()
  for (const format of ['csv', 'pdf', 'manifest'] as const) {
    const download = await downloadReport(deps, by, made.id, format)
    before.set(format, await readFile(download.path))
    expect(download.file.bytes).toBe(before.get(format)?.length)
    if (format === 'csv') await rm(download.path)
    else await chmod(download.path, 0o600).then(() => writeFile(download.path, 'something else'))
  }
  for (const format of ['csv', 'pdf', 'manifest'] as const) {
    const { path } = await downloadReport(deps, by, made.id, format)
    expect((await readFile(path)).equals(before.get(format) ?? Buffer.alloc(0))).toBe(true)
  }
  expect(await readdir(join(database.home, 'reports', tenant))).toHaveLength(3)
  const downloads = await entriesOf(tenant, 'report.downloaded')
  expect(downloads.map(({ event }) => event.data?.['format'])).toEqual([
    'csv',
    'pdf',
    'manifest',
    'csv',
    'pdf',
    'manifest',
  ])
  expect(downloads[0]?.event).toMatchObject({ actor: { id: by.id }, targets: [{ id: made.id, type: 'report' }] })
})

test('a file that cannot be made again to the recorded bytes is not handed out', async () => {
  const [tenant = ''] = await createTenants(database, 'tampered', 1)
  const by = auditor(tenant)
  await report(appender, tenant, [{ type: 'order.placed' }])
  const made = await generateReport(deps, by, 'audit-trail', { formats: ['csv'] })
  await rm(deps.files.path(tenant, made.id, 'csv'))
  const superuser = await database.superuser()
  await superuser.query('begin')
  await superuser.query('set local session_replication_role = replica')
  await superuser.query('alter table entries disable trigger all')
  for (let n = 0; n < 16; n++) await superuser.query(`alter table entries_${n} disable trigger all`)
  await superuser.query(`update entries set chain_hash = sha256(chain_hash) where tenant = $1 and seq = 1`, [tenant])
  for (let n = 0; n < 16; n++) await superuser.query(`alter table entries_${n} enable always trigger append_only`)
  await superuser.query('commit')
  await expect(downloadReport(deps, by, made.id, 'csv')).rejects.toMatchObject({ code: 'REPORT_NOT_REPRODUCIBLE' })
  expect(await entriesOf(tenant, 'report.downloaded')).toEqual([])
})

test('a file is told to be one that this log recorded, or not', async () => {
  const [tenant = '', other = ''] = await createTenants(database, 'checked', 2)
  const by = auditor(tenant)
  const made = await generateReport(deps, by, 'audit-trail', {})
  const copy = join(database.home, 'copy.pdf')
  const bytes = await readFile(deps.files.path(tenant, made.id, 'pdf'))
  await writeFile(copy, bytes)
  expect(await checkReportFile(deps, tenant, copy)).toMatchObject({
    recorded: { report: { id: made.id, seq: made.seq }, file: { format: 'pdf' } },
  })
  expect(await checkReportFile(deps, other, copy)).not.toHaveProperty('recorded')
  await writeFile(copy, Buffer.concat([bytes, Buffer.from('\n')]))
  expect(await checkReportFile(deps, tenant, copy)).not.toHaveProperty('recorded')
  await expect(checkReportFile(deps, tenant, join(database.home, 'absent'))).rejects.toMatchObject({
    code: 'REPORT_FILE_MISSING',
  })
})

test('what a source reports under the name of a report is no report', async () => {
  const [tenant = ''] = await createTenants(database, 'forged', 1)
  const data = {
    id: 'forged',
    kind: 'audit-trail',
    parameters: {},
    files: [{ format: 'csv', sha256: 'ab'.repeat(32) }],
    rows: 1,
  }
  await report(appender, tenant, [{ type: 'report.generated', data }])
  await expect(downloadReport({ ...deps, waitMs: 2_000 }, auditor(tenant), 'forged', 'csv')).rejects.toMatchObject({
    code: 'REPORT_UNKNOWN',
  })
  expect(await listReports(database.db, tenant)).toEqual([])
})

test('reports are listed newest first, page by page', async () => {
  const [tenant = ''] = await createTenants(database, 'listed', 1)
  const ids: string[] = []
  for (let n = 0; n < 3; n++)
    ids.unshift((await generateReport(deps, auditor(tenant), 'audit-trail', { formats: ['csv'] })).id)
  await downloadReport(deps, auditor(tenant), ids[0] ?? '', 'csv')
  const first = await listReports(database.db, tenant, { limit: 2 })
  expect(first.map(({ id }) => id)).toEqual(ids.slice(0, 2))
  const rest = await listReports(database.db, tenant, { limit: 2, before: first[1]?.seq ?? 0 })
  expect(rest.map(({ id }) => id)).toEqual(ids.slice(2))
})

test('a report waits for the index, but not for ever', async () => {
  const [tenant = ''] = await createTenants(database, 'behind', 1)
  await stop()
  await report(appender, tenant, [{ type: 'order.placed' }])
  await expect(generateReport({ ...deps, waitMs: 50 }, auditor(tenant), 'audit-trail', {})).rejects.toMatchObject({
    code: 'INDEX_BEHIND',
    retryAfterS: 1,
  })
  const late = generateReport(deps, auditor(tenant), 'audit-trail', { formats: ['csv'] })
  await new Follower(database.db, entryIndex()).catchUp([tenant])
  expect((await late).rows).toBe(2)
})

test.each([
  { request: { from: '2026-11-20T10:00:00' }, code: 'REPORT_PERIOD_INVALID', pointer: '/from' },
  { request: { to: '2026-02-30' }, code: 'REPORT_PERIOD_INVALID', pointer: '/to' },
  { request: { from: '2026-11-20', to: '2026-11-20' }, code: 'REPORT_PERIOD_INVALID', pointer: '/to' },
  { request: { timeZone: 'Mars/Olympus' }, code: 'REPORT_TIME_ZONE_UNKNOWN', pointer: '/timeZone' },
  { request: { filter: { type: 'role*' } }, code: 'REPORT_FILTER_INVALID', pointer: '/filter/type' },
  { request: { filter: { actor: '' } }, code: 'REPORT_FILTER_INVALID', pointer: '/filter/actor' },
  { request: { filter: { outcome: 'maybe' } }, code: 'REPORT_FILTER_INVALID', pointer: '/filter/outcome' },
])('$request is refused', async ({ request, code, pointer }) => {
  await expect(generateReport(deps, auditor('nobody'), 'audit-trail', request)).rejects.toMatchObject({ code, pointer })
})

test('a tenant that does not exist has no reports', async () => {
  await expect(generateReport(deps, auditor('nobody'), 'audit-trail', {})).rejects.toMatchObject({
    code: 'TENANT_UNKNOWN',
  })
})
