import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { AuditTrailRow } from '../../reports/audit-trail.js'
import type { ReportParameters } from '../../reports/parameters.js'
import { periodText } from '../../reports/pdf-front.js'
import type { RenderOptions } from '../../reports/render.js'
import { auditTrail } from '../../reports/audit-trail-kind.js'
import { renderReport, rendererVersion } from '../../reports/render.js'
import { zoneClock } from '../../reports/zone.js'
import { auditTrailParameters, auditTrailRow, rowsOf } from '../support/audit-trail.js'
import type { ReadPdf } from '../support/pdf.js'
import { readPdf } from '../support/pdf.js'
import { root } from '../support/root.js'

let folder = ''
let files = 0
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'countersign-reports-'))
})
afterAll(() => rm(folder, { recursive: true }))

const many = (count: number, more?: (seq: number) => Partial<AuditTrailRow>) =>
  Array.from({ length: count }, (_, seq) => auditTrailRow(seq, more?.(seq)))

async function render(rows: readonly AuditTrailRow[], more: Partial<ReportParameters> = {}, options?: RenderOptions) {
  const name = join(folder, `${(files += 1)}`)
  const out = { csv: `${name}.csv`, pdf: `${name}.pdf`, manifest: `${name}.json` }
  const result = await renderReport(auditTrail, auditTrailParameters(more), () => rowsOf(rows), out, options)
  const [csv, bytes, manifest] = await Promise.all([out.csv, out.pdf, out.manifest].map((path) => readFile(path)))
  if (!csv || !bytes || !manifest) throw new Error('a file is missing')
  return { result, out, csv, bytes, pdf: readPdf(bytes), manifest }
}

const everyPage = (pdf: ReadPdf) => pdf.pages.join('\n')
const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

test('the title page names what fixes the report', async () => {
  const { pdf } = await render(many(100), { filter: { type: 'payment.*', outcome: 'denied' } })
  const [title = ''] = pdf.pages
  const parameters = auditTrailParameters()
  for (const text of [
    'acme',
    'recorded from 2026-11-01 01:00:00 to before 2026-12-01 01:00:00',
    'Europe/Berlin',
    'type is payment.*; outcome is denied',
    '100 entries, 100 of them as reported by 1 source',
    '01JREPORT',
    parameters.log,
    'seq 0 to 99, 100 entries',
    'up to and including seq 99: nothing of the range is missing',
    parameters.range?.firstChainHash,
    parameters.range?.lastChainHash,
    'chained',
    'Edits, gaps and reordering',
    'A chain that was rewritten from some entry to its end',
    'Page 1 of',
  ]) {
    expect(title).toContain(text)
  }
})

test('the summary counts by type, actor, outcome and source', async () => {
  const [, summary = ''] = (await render(many(100))).pdf.pages
  const lines = summary.split('\n')
  for (const [name, count] of [
    ['payment.settled', '66  66.0 %'],
    ['invoice.issued', '34  34.0 %'],
    ['success', '80  80.0 %'],
    ['denied', '20  20.0 %'],
    ['billing', '100  100.0 %'],
    ['person:01J0', '15  15.0 %'],
  ] as const) {
    expect(lines[lines.indexOf(name) + 1]).toBe(count)
  }
  expect(summary).toContain('Entries per hour, Europe/Berlin')
})

test('every entry is listed under a header on each page, which are counted', async () => {
  const { pdf, result } = await render(many(40))
  expect(result.pdf).toMatchObject({ rows: 40, shortened: 0, pages: pdf.pages.length })
  const listed = pdf.pages.slice(2)
  for (const [index, page] of listed.entries()) {
    expect(page.split('\n').slice(0, 5)).toEqual(['Seq', 'Recorded, Europe/Berlin', 'Event', 'Actor', 'Targets'])
    expect(page).toContain(`Page ${index + 3} of ${pdf.pages.length}`)
    expect(page).toContain('Audit trail of acme, seq 0 to 99, report 01JREPORT')
  }
  const text = listed.join('\n')
  for (const row of many(40)) {
    expect(text).toContain(`invoice:${row.seq}`)
    expect(text).toContain(`chain ${row.chainHash}`)
    expect(text).toContain(row.data)
  }
  expect(text).toContain('reported by billing')
})

test('the document has a title, a language, bookmarks and no structure it does not keep', async () => {
  const { pdf } = await render(many(3))
  expect(pdf.info['Title']).toBe('Audit trail of acme, recorded from 2026-11-01 01:00:00 to before 2026-12-01 01:00:00')
  expect(pdf.info['Subject']).toBe('Report 01JREPORT')
  expect(pdf.info['CreationDate']).toBe('D:20261120100000Z')
  expect(pdf.source).toContain('/DisplayDocTitle true')
  expect(pdf.source).toMatch(/\/Lang \(en\)/)
  for (const mark of ['Audit trail', 'Summary', 'Entries']) expect(pdf.source).toContain(`/Title (${mark})`)
  // An empty structure tree would tell a screen reader that the pages are empty.
  expect(pdf.source).not.toContain('/Marked true')
})

test.each([
  { by: 'recorded', more: {}, text: 'recorded from the beginning to 2026-11-20 11:00:00' },
  {
    by: 'recorded',
    more: { from: '2026-11-01T00:00:00+01:00' },
    text: 'recorded from 2026-11-01 to 2026-11-20 11:00:00',
  },
  { by: 'occurred', more: {}, text: 'occurred at any time' },
  { by: 'occurred', more: { from: '2026-11-01T12:00:00.5Z' }, text: 'occurred from 2026-11-01 13:00:00.500 on' },
  { by: 'occurred', more: { to: '2026-11-30T23:00:00Z' }, text: 'occurred before 2026-12-01' },
] as const)('a period is told as "$text"', ({ by, more, text }) => {
  const { from: _, to: __, ...open } = auditTrailParameters({ by })
  expect(periodText({ ...open, ...more }, zoneClock('Europe/Berlin'))).toBe(text)
})

test('nothing, one entry', async () => {
  const none = await render([], { range: null, completeTo: -1 })
  expect(none.pdf.pages).toHaveLength(1)
  expect(everyPage(none.pdf)).toContain('The period holds no entry of this log.')
  expect(everyPage(none.pdf)).toContain('the log held no entry')
  expect(none.csv.toString().split('\r\n')).toHaveLength(2)
  const filtered = await render([])
  expect(everyPage(filtered.pdf)).toContain('No entry of this range matches the period and the filter.')
  const one = await render(many(1))
  expect(one.pdf.pages).toHaveLength(3)
  expect(everyPage(one.pdf)).toContain('1 entry, 1 of them as reported by 1 source')
})

test('the same parameters give the same bytes, in another process, time zone and language too', async () => {
  const { out, result } = await render(many(120))
  const again = await render(many(120))
  expect(again.result.csv?.sha256).toBe(result.csv?.sha256)
  expect(again.result.pdf?.sha256).toBe(result.pdf?.sha256)
  const module = (path: string) => JSON.stringify(join(root, 'dist', path))
  const script = `
    import { auditTrail } from ${module('reports/audit-trail-kind.js')}
    import { renderReport } from ${module('reports/render.js')}
    import { auditTrailParameters, auditTrailRow, rowsOf } from ${module('test/support/audit-trail.js')}
    const rows = Array.from({ length: 120 }, (_, seq) => auditTrailRow(seq))
    const out = { csv: ${JSON.stringify(`${out.csv}.2`)}, pdf: ${JSON.stringify(`${out.pdf}.2`)}, manifest: ${JSON.stringify(`${out.manifest}.2`)} }
    const { csv, pdf } = await renderReport(auditTrail, auditTrailParameters(), () => rowsOf(rows), out)
    process.stdout.write(JSON.stringify([csv.sha256, pdf.sha256]))`
  const env = { ...process.env, TZ: 'Pacific/Apia', LANG: 'tr_TR.UTF-8', LC_ALL: 'tr_TR.UTF-8' }
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { env })
  expect(JSON.parse(stdout)).toEqual([result.csv?.sha256, result.pdf?.sha256])
})

test('a longer report says on its title page that the PDF stops, and where the rest is', async () => {
  const { pdf, result, csv } = await render(many(60), {}, { limits: { rows: 25, lines: 320_000 } })
  expect(pdf.pages[0]).toContain('This PDF lists the first 25 of 60 entries.')
  expect(pdf.pages[0]).toContain('the CSV of the same report lists all of them')
  expect(pdf.pages[1]).toContain('60  100.0 %')
  expect(result.pdf?.rows).toBe(25)
  expect(everyPage(pdf)).toContain(auditTrailRow(24).chainHash)
  expect(everyPage(pdf)).not.toContain(auditTrailRow(25).chainHash)
  expect(csv.toString()).toContain(auditTrailRow(59).chainHash)
})

test('it stops early as well when the entries are very long', async () => {
  const { pdf, result } = await render(many(60), {}, { limits: { rows: 20_000, lines: 100 } })
  expect(result.pdf?.rows).toBeLessThan(25)
  expect(pdf.pages[0]).toContain(`This PDF lists the first ${result.pdf?.rows} of 60 entries.`)
})

test('data beyond 4,000 characters is left to the CSV, and marked', async () => {
  const data = JSON.stringify({ text: 'lorem ipsum '.repeat(1_000) })
  const { pdf, result, csv } = await render([auditTrailRow(7, { data })])
  expect(result.pdf?.shortened).toBe(1)
  expect(pdf.pages[0]).toContain('1 entry shows only the first 4,000 characters of data here')
  expect(everyPage(pdf)).toContain(`… 8,011 more characters: see seq 7 in the CSV`)
  expect(csv.toString()).toContain(data.replaceAll('"', '""'))
})

test('an entry longer than a page goes on over the next ones, and nothing of it is lost', async () => {
  const targets = Array.from({ length: 32 }, (_, index) => ({
    id: `object:${index}:${'x'.repeat(230)}`,
    type: 'object',
  }))
  const { pdf } = await render([auditTrailRow(0), auditTrailRow(1, { targets }), auditTrailRow(2)])
  const text = pdf.pages.slice(2).join('\n')
  for (let index = 0; index < 32; index++) expect(text).toContain(`object:${index}:`)
  expect(text.match(/x/g)?.length).toBeGreaterThanOrEqual(32 * 230)
  expect(text).toContain('… 1')
  expect(text).toContain(auditTrailRow(2).chainHash)
  expect(pdf.pages.length).toBeLessThan(8)
})

test('characters that no font has are printed as code points, those of other scripts as themselves', async () => {
  const data = '{"city":"東京","emoji":"\u{1F469}","greek":"αβγ","hebrew":"שלום","spoof":"a\u202Eb"}'
  const { pdf } = await render([auditTrailRow(0, { data, actor: 'user:Ωμέγα' })])
  const text = everyPage(pdf).replaceAll('\n', '')
  expect(text).toContain('{"city":"[U+6771][U+4EAC]","emoji":"[U+1F469]","greek":"αβγ","hebrew":"')
  expect(text).toContain('a[U+202E]b')
  expect(text).toContain('user:Ωμέγα')
})

test('a font of the settings is asked for what the built-in ones lack', async () => {
  // Mathematical letters are in this one and in none of the built-in ones.
  const font = join(root, 'node_modules/dejavu-fonts-ttf/ttf/DejaVuMathTeXGyre.ttf')
  const row = auditTrailRow(0, { data: '{"text":"\u{1D4D0}"}' })
  expect(everyPage((await render([row])).pdf)).toContain('[U+1D4D0]')
  const { pdf } = await render([row], {}, { fonts: [font] })
  expect(everyPage(pdf)).not.toContain('[U+1D4D0]')
  expect(everyPage(pdf)).toContain('\u{1D4D0}')
  expect(rendererVersion([font])).not.toBe(rendererVersion())
})

test('a font that cannot be used fails the report by name and leaves nothing behind', async () => {
  const before = await readdir(folder)
  await expect(render(many(3), {}, { fonts: [join(root, 'package.json')] })).rejects.toMatchObject({
    code: 'REPORT_FONT_UNUSABLE',
  })
  expect(await readdir(folder)).toEqual(before)
})

test('rows that break off leave no file behind', async () => {
  const before = await readdir(folder)
  async function* rows(): AsyncGenerator<AuditTrailRow> {
    yield* many(700)
    throw new Error('connection lost')
  }
  const out = { csv: join(folder, 'x.csv'), pdf: join(folder, 'x.pdf'), manifest: join(folder, 'x.json') }
  await expect(renderReport(auditTrail, auditTrailParameters(), rows, out)).rejects.toThrow('connection lost')
  expect(await readdir(folder)).toEqual(before)
})

test('the manifest says what the files are, in canonical form', async () => {
  const { manifest, csv, bytes, out } = await render([
    auditTrailRow(0),
    auditTrailRow(1, { actor: '=cmd()', reason: '-1' }),
  ])
  const read = JSON.parse(manifest.toString())
  expect(read).toMatchObject({
    kind: 'countersign.audit-trail',
    parameters: auditTrailParameters(),
    counts: { rows: 2, reported: 2 },
    files: [
      { format: 'csv', rows: 2, neutralised: 2, sha256: digest(csv), bytes: csv.length },
      { format: 'pdf', rows: 2, shortened: 0, sha256: digest(bytes), bytes: bytes.length },
    ],
  })
  expect(manifest.toString()).toBe(`${JSON.stringify(sorted(read))}\n`)
  for (const path of Object.values(out)) expect((await stat(path)).mode & 0o777).toBe(0o600)
})

test('each file may be left out', async () => {
  const manifest = join(folder, 'alone.json')
  const {
    csv,
    pdf,
    rows: read,
  } = await renderReport(auditTrail, auditTrailParameters(), () => rowsOf(many(5)), { manifest })
  expect([csv, pdf, read]).toEqual([undefined, undefined, 5])
})

test('progress is told while rows are read and while pages are drawn', async () => {
  const told: string[] = []
  const onProgress: NonNullable<RenderOptions['onProgress']> = (progress) =>
    told.push(progress.stage === 'rows' ? `rows ${progress.rows}` : `pages ${progress.share > 0 ? 'more' : 'none'}`)
  await render(many(2_300), {}, { limits: { rows: 200, lines: 320_000 }, onProgress })
  expect(told.slice(0, 5)).toEqual(['rows 1000', 'rows 2000', 'rows 2300', 'pages none', 'pages more'])
  expect(told.length).toBeGreaterThan(10)
})

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (value === null || typeof value !== 'object') return value
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(members.map(([name, member]) => [name, sorted(member)]))
}
