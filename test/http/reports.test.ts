import { createHash } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readLeaf } from '../../src/ledger/entry.js'
import { testService, type TestService } from '../support/service.js'

let api: TestService
let auditor: string

interface Report {
  id: string
  seq: number
  rows: number
  level: string
  files: { format: string; sha256: string; bytes: number; href: string }[]
}

beforeAll(async () => {
  api = await testService()
  const admin = await api.token()
  auditor = await api.token(['ledger/*:read', 'reports/*:read', 'reports/*:write'], { principal: 'service:auditor' })
  const events = Array.from({ length: 40 }, (_, n) => ({ type: n % 2 ? 'disk.mounted' : 'file.read', data: { n } }))
  await api.call('POST', '/v1/events', { token: admin, body: events })
})
afterAll(() => api.close())

const lastLeaf = async () => {
  const row = await api.server.db.operator
    .selectFrom('entries')
    .select('leaf')
    .where('tenant', '=', 'acme')
    .orderBy('seq', 'desc')
    .executeTakeFirstOrThrow()
  return readLeaf(row.leaf)
}

test('a report is made, listed and downloaded, each on record, always the same bytes', async () => {
  const made = await api.call('POST', '/v1/reports', {
    token: auditor,
    body: { kind: 'audit-trail', filter: { type: 'disk.*' }, timeZone: 'Europe/Berlin' },
  })
  expect([made.status, made.json['code']]).toEqual([201, undefined])
  const report = made.json as unknown as Report
  expect(report).toMatchObject({ rows: 20, level: 'chained' })
  expect(report.files.map(({ format }) => format)).toEqual(['csv', 'pdf', 'manifest'])
  expect((await lastLeaf()).event.type).toBe('report.generated')

  for (const { format, sha256, bytes, href } of report.files) {
    const response = await fetch(`${api.url}${href}`, { headers: { authorization: `Bearer ${auditor}` } })
    expect(response.status).toBe(200)
    const body = Buffer.from(await response.arrayBuffer())
    expect(body.length).toBe(bytes)
    const digest = createHash('sha256').update(body).digest()
    expect(digest.toString('hex')).toBe(sha256)
    expect(response.headers.get('repr-digest')).toBe(`sha-256=:${digest.toString('base64')}:`)
    expect(response.headers.get('content-disposition')).toMatch(/^attachment; filename="audit-trail-acme-/)
    expect((await lastLeaf()).event).toMatchObject({
      type: 'report.downloaded',
      data: { id: report.id, format, sha256 },
    })
  }

  await expect
    .poll(async () => {
      const { json } = await api.call('GET', '/v1/reports', { token: auditor })
      return (json['reports'] as Report[]).map(({ id }) => id)
    })
    .toContain(report.id)

  // The file is gone: it is made again.
  await rm(join(api.server.home, 'reports'), { recursive: true })
  const again = await api.call('GET', report.files[0]?.href ?? '', { token: auditor })
  expect(createHash('sha256').update(again.text).digest('hex')).toBe(report.files[0]?.sha256)
})

test("another tenant's report is not there", async () => {
  const made = await api.call('POST', '/v1/reports', { token: auditor, body: { formats: ['csv'] } })
  const other = await api.token(['*/*:*'], { tenant: 'other' })
  const href = (made.json as unknown as Report).files[0]?.href ?? ''
  expect((await api.call('GET', href, { token: other })).json).toMatchObject({ status: 404, code: 'REPORT_UNKNOWN' })
  expect((await api.call('GET', '/v1/reports', { token: other })).json).toEqual({ reports: [] })
})

test.each([
  [{ timeZone: 'Mars/Olympus' }, 'REPORT_TIME_ZONE_UNKNOWN'],
  [{ from: '2026-02-01', to: '2026-01-01' }, 'REPORT_PERIOD_INVALID'],
  [{ from: 'yesterday' }, 'REPORT_PERIOD_INVALID'],
  [{ filter: { type: 'role*' } }, 'REPORT_FILTER_INVALID'],
  [{ filter: { colour: 'red' } }, 'REQUEST_INVALID'],
  [{ kind: 'balance' }, 'REQUEST_INVALID'],
  [{ formats: [] }, 'REQUEST_INVALID'],
])('%j is refused: %s', async (body, code) => {
  const before = await api.size('acme')
  const answer = await api.call('POST', '/v1/reports', { token: auditor, body })
  expect(answer.json).toMatchObject({ status: 400, code, pointer: expect.stringMatching(/^\//) as string })
  expect(await api.size('acme')).toBe(before)
})

test('asking for the headers of a download is not a download', async () => {
  const answer = await api.call('HEAD', '/v1/reports/01JDDDDDDDDDDDDDDDDDDDDDDD/csv', { token: auditor })
  expect(answer.status).toBe(405)
})
