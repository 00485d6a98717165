import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { downloadReport, generateReport, type ReportDeps } from '../../reports/generate.js'
import { applyChange } from '../../src/approvals/commands/apply.js'
import { enforceApprovals } from '../../src/approvals/commands/enforce.js'
import { ReportFiles } from '../../src/blobs/files.js'
import { entryIndex } from '../../src/followers/entry-index.js'
import { reportsIndex } from '../../src/followers/reports.js'
import { Follower } from '../../src/ledger/subscribe.js'
import { changesBench, Tenant, type ChangesBench } from '../support/changes.js'

let bench: ChangesBench
let deps: ReportDeps
let followers: Follower[]

beforeAll(async () => {
  bench = await changesBench()
  const { db, home } = bench.server
  deps = { database: db, appender: bench.deps.appender, files: new ReportFiles(join(home, 'reports')), waitMs: 10_000 }
  followers = [entryIndex(), reportsIndex()].map((consumer) => new Follower(db, consumer, { pollMs: 50 }))
  for (const follower of followers) follower.start()
})

afterAll(async () => {
  await Promise.all(followers.map((follower) => follower.stop()))
  await bench.close()
})

test('the report on a log names every decision, each with the entry it rests on', async () => {
  const acme = await Tenant.create(bench)
  const [ada, ben, cy] = await acme.people(3)
  if (!ada || !ben || !cy) throw new Error('three people')
  await enforceApprovals(bench.deps, acme.host)
  const change = await acme.request(ada)
  await expect(acme.vote(ada, change)).rejects.toMatchObject({ code: 'VOTE_BY_REQUESTER' })
  await acme.vote(ben, change)
  await acme.vote(cy, change)
  await applyChange(bench.deps, { tenant: acme.tenant, change: change.id })
  const waiting = await acme.request(ben)
  // A refusal is answered before it is on record.
  await vi.waitFor(async () => expect((await acme.events()).map(({ event }) => event.type)).toContain('vote.refused'))

  const made = await generateReport(deps, acme.host, 'change-approvals', { timeZone: 'Europe/Berlin' })
  const { path, name } = await downloadReport(deps, acme.host, made.id, 'csv')
  expect(name).toBe(`change-approvals-${acme.tenant}-${made.id}.csv`)
  const [header = '', ...lines] = (await readFile(path, 'utf8')).trimEnd().split('\r\n')
  const columns = header.replaceAll('"', '').split(',')
  const rows = lines.map((line) => {
    const cells = line.split(/,(?=(?:[^"]*"[^"]*")*[^"]*$)/).map((cell) => cell.replaceAll('"', ''))
    return Object.fromEntries(columns.map((column, n) => [column, cells[n] ?? '']))
  })
  const seqs = rows.map((row) => Number(row['seq']))
  expect(seqs).toEqual([...seqs].sort((a, b) => a - b))

  const entries = await acme.events()
  const typeAt = (seq: string | undefined) => entries[Number(seq)]?.event.type
  const applied = rows.find((row) => row['change'] === change.id && row['row'] === 'change')
  expect(applied).toMatchObject({ status: 'applied', by: ada.id, payload_hash: change.payloadHash })
  expect([applied?.['seq'], applied?.['approved_seq'], applied?.['closed_seq']].map(typeAt)).toEqual([
    'change.requested',
    'change.approved',
    'change.applied',
  ])
  for (const voter of [ben, cy]) expect(applied?.['approvals']).toContain(voter.id)
  expect(rows.find((row) => row['change'] === waiting.id)).toMatchObject({ status: 'requested', by: ben.id })
  const refused = rows.find((row) => row['row'] === 'refused-vote')
  expect(refused).toMatchObject({ by: ada.id, change: change.id, code: 'VOTE_BY_REQUESTER' })
  expect(rows.filter((row) => row['row'] === 'enforcement')).toHaveLength(1)
  const setup = entries.filter(({ event }) => JSON.stringify(event.data?.['authority']) === '{"setup":true}')
  const governed = setup.filter(({ entry }) => !entry.stream?.startsWith('token/'))
  expect(rows.filter((row) => row['row'] === 'setup')).toHaveLength(governed.length)
})

test('a period leaves out what was decided before it, and a filter is refused', async () => {
  const acme = await Tenant.create(bench)
  const later = new Date(Date.now() + 86_400_000).toISOString()
  const made = await generateReport(deps, acme.host, 'change-approvals', { from: later, formats: ['csv'] })
  expect(made.rows).toBe(0)
  for (const [more, code] of [
    [{ filter: { type: 'change.*' } }, 'REPORT_FILTER_INVALID'],
    [{ by: 'occurred' }, 'REPORT_PERIOD_INVALID'],
  ] as const) {
    await expect(generateReport(deps, acme.host, 'change-approvals', more)).rejects.toMatchObject({ code })
  }
})
