import type { Content } from 'pdfmake'
import type { AuditTrailRow, AuditTrailSummary } from './audit-trail.js'
import { filterText, timeOf } from './audit-trail.js'
import { timelineChart } from './chart.js'
import type { ReportParameters } from './parameters.js'
import type { PdfKind } from './pdf-kind.js'
import { COLUMN_GAP, heading, rankingOf, THIRD } from './pdf-ranking.js'
import { DATA_LIMIT, dataSpans, DETAIL_WIDTH, shorten, WIDTHS, type SetRow } from './pdf-rows.js'
import { CONTENT_WIDTH, INK, MUTED, OUTCOME_COLOURS, counted, span, thousands } from './pdf-style.js'
import type { Typefaces } from './typeface.js'
import { typeset, type Span } from './typeset.js'
import type { ZoneClock } from './zone.js'

const ENTRIES = ['entry', 'entries'] as const

/** The pages of an audit trail. */
export const auditTrailPdf: PdfKind<AuditTrailRow, AuditTrailSummary> = {
  title: 'Audit trail',
  subtitle: 'Entries',
  words: ENTRIES,
  outline: 'Entries',
  titles: ({ by, timeZone }) => [
    'Seq',
    `${by === 'recorded' ? 'Recorded' : 'Occurred'}, ${timeZone}`,
    'Event',
    'Actor',
    'Targets',
  ],
  facts({ filter }, summary) {
    const conditions = filterText(filter)
    const reported = `${counted(summary.rows, ...ENTRIES)}, ${thousands(summary.reported)} of them as reported by ${counted(sourcesOf(summary), 'source', 'sources')}`
    return [
      ['Filter', conditions.length === 0 ? 'none: every entry of the period' : conditions.join('; ')],
      ['Content', summary.rows === 0 ? 'no entry' : reported],
    ]
  },
  notes,
  summary: summaryPage,
  nothing: ({ range }) =>
    range ? 'No entry of this range matches the period and the filter.' : 'The period holds no entry of this log.',
  setRow: (row, { by }, clock, typefaces) => setRow(row, by, clock, typefaces),
}

/** Breaks one entry into lines. */
function setRow(row: AuditTrailRow, by: 'recorded' | 'occurred', clock: ZoneClock, typefaces: Typefaces): SetRow {
  const set = (column: number, paragraphs: Span[][]) =>
    paragraphs.flatMap((spans) => typeset(spans, WIDTHS[column] ?? 0, typefaces))
  const data = shorten(row.data, DATA_LIMIT)
  const detail: Span[][] = []
  if (data.text !== '') detail.push(dataSpans(data.text))
  if (data.leftOut > 0) {
    detail.push([span(`… ${thousands(data.leftOut)} more characters: see seq ${row.seq} in the CSV`, 'bold', 6.5, INK)])
  }
  if (row.subjects.length > 0) {
    const about = row.subjects.map(({ subject, groups }) => `${subject} (${groups.join(', ')})`)
    detail.push(
      about.map((text, index) => span(index === 0 ? `sealed about ${text}` : `; ${text}`, 'text', 6.5, MUTED)),
    )
  }
  detail.push([span(`chain ${row.chainHash}`, 'mono', 5.6, MUTED)])
  return {
    cells: [
      set(0, [[span(String(row.seq), 'text', 7.5)]]),
      set(1, times(row, by, clock)),
      set(2, event(row)),
      set(3, who(row)),
      set(4, targets(row)),
    ],
    detail: detail.flatMap((spans) => typeset(spans, DETAIL_WIDTH, typefaces)),
    continued: set(0, [[span(`… ${row.seq}`, 'text', 7.5, MUTED)]]),
    dataLeftOut: data.leftOut,
  }
}

function notes({ by, timeZone }: ReportParameters): string[] {
  const time =
    by === 'recorded'
      ? `The period is one of recorded time, which the log sets itself and which never goes backwards. Times are shown in ${timeZone}; a time that was claimed is shown as it was written.`
      : `The period is one of occurred time, which whoever reported an entry claims; entries without it are not listed. Times are shown in ${timeZone}; the CSV also has claimed times as they were written.`
  return [
    time,
    'Entries with a source are shown as reported: the log proves that they were reported so, not that they are true. The other entries record what this service did itself. An entry with sealed data names whom it is about.',
  ]
}

function summaryPage(summary: AuditTrailSummary, clock: ZoneClock, typefaces: Typefaces): Content[] {
  const { timeline, rows } = summary
  const of = (title: string, notGiven: string, names: string, ranking: AuditTrailSummary['types']) =>
    rankingOf(title, { notGiven, names, rows: ENTRIES }, ranking, rows, typefaces)
  return [
    heading(
      `Entries per ${timeline.step > 1 ? `${timeline.step} years` : timeline.unit}, ${clock.timeZone}`,
      CONTENT_WIDTH,
      typefaces,
    ),
    ...timelineChart(timeline, CONTENT_WIDTH, 110, { none: 'No entry has such a time.', adverse: 'failed or denied' }),
    {
      columns: [
        { width: THIRD, stack: of('By type', 'no type', 'types', summary.types) },
        { width: THIRD, stack: of('By actor', 'no actor given', 'actors', summary.actors) },
        {
          width: THIRD,
          stack: [
            ...of('By outcome', 'no outcome given', 'outcomes', summary.outcomes),
            { text: '', margin: [0, 0, 0, 8] },
            ...of('By source', 'recorded by this service', 'sources', summary.sources),
          ],
        },
      ],
      columnGap: COLUMN_GAP,
      margin: [0, 18, 0, 0],
    },
  ]
}

function sourcesOf({ sources }: AuditTrailSummary): number {
  return sources.shown.filter(({ name }) => name !== null).length + (sources.more?.names ?? 0)
}

function times(row: AuditTrailRow, by: 'recorded' | 'occurred', clock: ZoneClock): Span[][] {
  const other = by === 'recorded' ? row.occurredAt : row.recordedAt
  const word = by === 'recorded' ? 'occurred' : 'recorded'
  const paragraphs = [[span(clock.text(timeOf(row, by)), 'text', 7.5)]]
  if (other !== undefined && other !== row.recordedAt) paragraphs.push([span(`${word} ${other}`, 'text', 6.5, MUTED)])
  else if (by === 'occurred')
    paragraphs.push([span(`${word} ${clock.text(timeOf(row, 'recorded'))}`, 'text', 6.5, MUTED)])
  return paragraphs
}

function event(row: AuditTrailRow): Span[][] {
  const paragraphs = [[span(row.type, 'bold', 7.5)]]
  if (row.outcome !== undefined || row.reason !== undefined) {
    const outcome = row.outcome ?? 'no outcome'
    const spans = [span(outcome, 'text', 6.8, OUTCOME_COLOURS[outcome] ?? MUTED)]
    if (row.reason !== undefined) spans.push(span(`, ${row.reason}`, 'text', 6.8, MUTED))
    paragraphs.push(spans)
  }
  if (row.source !== undefined) paragraphs.push([span(`reported by ${row.source}`, 'text', 6.5, MUTED)])
  if (row.stream !== undefined) paragraphs.push([span(row.stream, 'text', 6.5, MUTED)])
  return paragraphs
}

function who(row: AuditTrailRow): Span[][] {
  const paragraphs =
    row.actor === undefined ? [[span('no actor given', 'text', 7.5, MUTED)]] : [party(row.actor, row.actorType)]
  paragraphs.push([span(`by ${row.by} via ${row.via}`, 'text', 6.5, MUTED)])
  return paragraphs
}

function targets(row: AuditTrailRow): Span[][] {
  return row.targets.length === 0
    ? [[span('no target given', 'text', 7.5, MUTED)]]
    : row.targets.map(({ id, type }) => party(id, type))
}

function party(id: string, type: string | undefined): Span[] {
  return type === undefined ? [span(id, 'text', 7.5)] : [span(id, 'text', 7.5), span(`  ${type}`, 'text', 6.5, MUTED)]
}
