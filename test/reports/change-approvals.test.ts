import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { changeApprovals } from '../../reports/change-approvals-kind.js'
import { approvalsCounter, changeRow, directRow, refusedRow, type ApprovalRow } from '../../reports/change-approvals.js'
import { renderReport } from '../../reports/render.js'
import { zoneClock } from '../../reports/zone.js'
import { DEFAULT_POLICY, HOUR_MS, policyHash } from '../../src/approvals/policy.js'
import type { StreamEntry } from '../../src/ledger/streams.js'
import { Script } from '../support/approvals.js'
import { auditTrailParameters } from '../support/audit-trail.js'
import { readPdf } from '../support/pdf.js'

const [ada, ben, cy] = ['person:ada', 'person:ben', 'person:cy'] as const
const parameters = auditTrailParameters({ from: '2026-11-21T00:00:00Z', to: '2026-11-25T00:00:00Z' })

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'countersign-approvals-report-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** The entries of one change, from its request on. */
function story(script: Script, id: string, ...rest: readonly (readonly [type: string, data: object, by?: string])[]) {
  const request = {
    kind: 'role.grant',
    payload: { principal: 'service:billing', role: 'admin' },
    payloadHash: 'aa'.repeat(32),
    policy: DEFAULT_POLICY,
    policyHash: policyHash(DEFAULT_POLICY),
    expiresAt: new Date(script.nowMs + 72 * HOUR_MS).toISOString(),
    applyBy: new Date(script.nowMs + 72 * HOUR_MS).toISOString(),
    base: {},
    beneficiaries: [],
  }
  const all = [['change.requested', request, ada] as const, ...rest]
  return all.map(([type, data, by = 'service:countersign']) =>
    script.entry(`change/${id}`, type, data, { by, via: 'token:T' }),
  )
}

const vote = (by: string, decision = 'approve') => ['change.voted', { decision, statement: '' }, by] as const
const approved = ['change.approved', { notBefore: '2026-11-21T09:00:00.000Z', votes: [] }, cy] as const

/** What one row of each sort looks like. */
function rows(): ApprovalRow[] {
  const script = new Script()
  const change = (entries: StreamEntry[]) => changeRow(entries, parameters) ?? expect.fail('no row')
  const direct = (entry: StreamEntry) => directRow(entry) ?? expect.fail('no row')
  const setup = direct(
    script.entry('role/admin', 'role.defined', { authority: { setup: true } }, { by: ada, via: 'x' }),
  )
  const enforced = direct(script.entry('approvals/enforcement', 'approvals.enforced'))
  const applied = change(story(script, '01A', vote(ben), vote(cy), approved, ['change.applied', {}]))
  const rejected = change(story(script, '01B', vote(ben), vote(cy, 'reject'), ['change.rejected', { votes: [] }, cy]))
  const used = ['change.emergency-used', {}, ben] as const
  const due = change(story(script, '01C', used, ['change.applied', {}]))
  const reviewed = change(
    story(script, '01D', used, ['change.applied', {}], ['change.reviewed', { verdict: 'justified' }, cy]),
  )
  const expired = change(story(script, '01E'))
  const { at, by, seq, event } = script.entry(
    'x/1',
    'vote.refused',
    { change: '01A', decision: 'approve' },
    { by: ada, via: 'x' },
  )
  const refused = refusedRow({ at, by, seq, event: { ...event, reason: 'VOTE_BY_REQUESTER' } })
  const override = direct(script.entry('role/admin', 'role.defined', { authority: { override: true } }))
  return [setup, enforced, applied, rejected, due, reviewed, expired, refused, override]
}

describe('a row', () => {
  test('of a change says who asked, who decided, when, and where it stands', () => {
    const [, , applied, rejected, , , expired] = rows()
    expect(applied).toMatchObject({
      row: 'change',
      what: 'role.grant',
      change: '01A',
      status: 'applied',
      by: ada,
      approvals: [{ by: ben }, { by: cy }],
      rejections: [],
    })
    const seqs = [
      applied?.seq,
      ...(applied?.approvals.map(({ seq }) => seq) ?? []),
      applied?.approved?.seq,
      applied?.closed?.seq,
    ]
    expect(seqs).toEqual([3, 4, 5, 6, 7])
    expect(rejected).toMatchObject({ status: 'rejected', approvals: [{ by: ben }], rejections: [{ by: cy }] })
    expect(expired).toMatchObject({ status: 'expired', approvals: [] })
    expect(expired?.closed).toBeUndefined()
  })

  test('of break-glass says whether somebody has looked at it', () => {
    const [, , , , due, reviewed] = rows()
    expect(due?.emergency).toMatchObject({ by: ben })
    expect(due?.emergency?.review).toBeUndefined()
    expect(reviewed?.emergency?.review).toMatchObject({ by: cy, verdict: 'justified' })
  })

  test('stands for everything that was done without a second person, and for nothing else', () => {
    expect(rows().map(({ row }) => row)).toEqual([
      'setup',
      'enforcement',
      ...Array<string>(5).fill('change'),
      'refused-vote',
      'override',
    ])
    expect(directRow(new Script().entry('role/a', 'role.defined', { authority: { change: '01A' } }))).toBeUndefined()
    expect(directRow(new Script().entry('principal/p', 'role.revoked', {}))).toBeUndefined()
  })
})

test('the summary counts changes, attempts on one’s own account, and reviews that are due', () => {
  const counter = approvalsCounter(parameters, zoneClock('Europe/Berlin'))
  for (const row of rows()) counter.add(row)
  const summary = counter.end()
  expect(summary).toMatchObject({ rows: 9, changes: 5, selfApprovals: 1, emergencies: 2, reviewsDue: 1 })
  expect(summary.statuses.shown).toEqual([
    { name: 'applied', rows: 3 },
    { name: 'expired', rows: 1 },
    { name: 'rejected', rows: 1 },
  ])
  expect(summary.direct.shown.map(({ name }) => name)).toEqual([
    'approvals.enforced',
    'override: role.defined',
    'setup: role.defined',
  ])
})

test('CSV and PDF hold every row, and the same rows give the same bytes', async () => {
  const render = async (name: string) => {
    const out = {
      csv: join(folder, `${name}.csv`),
      pdf: join(folder, `${name}.pdf`),
      manifest: join(folder, `${name}.json`),
    }
    async function* read() {
      yield* rows()
    }
    const rendered = await renderReport(changeApprovals, parameters, read, out)
    return { ...rendered, out }
  }
  const [one, two] = [await render('one'), await render('two')]
  expect([one.csv?.sha256, one.pdf?.sha256]).toEqual([two.csv?.sha256, two.pdf?.sha256])
  const lines = (await readFile(one.out.csv, 'utf8')).trimEnd().split('\r\n')
  expect(lines).toHaveLength(10)
  expect(lines[3]).toContain(
    '"person:ben at 2026-11-21T09:00:00.000Z (seq 4); person:cy at 2026-11-21T09:00:00.000Z (seq 5)"',
  )
  const { pages, info } = readPdf(await readFile(one.out.pdf))
  const text = pages.join('\n')
  expect(info['Title']).toContain('Change approvals of acme')
  for (const words of [
    '1 attempt, all refused',
    '2 uses, 1 review is due',
    'override by the host',
    'VOTE_BY_REQUESTER',
    'role.grant',
    'justified',
  ])
    expect(text).toContain(words)
})
