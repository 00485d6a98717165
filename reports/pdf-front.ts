import type { Content } from 'pdfmake'
import { instantMs } from '../src/ledger/rfc3339.js'
import type { AssuranceLevel, AuditTrailParameters, AuditTrailSummary, Ranking } from './audit-trail.js'
import { filterText } from './audit-trail.js'
import { timelineChart } from './chart.js'
import { DATA_LIMIT } from './pdf-rows.js'
import {
  ACCENT,
  CAUTION,
  CONTENT_WIDTH,
  INK,
  MUTED,
  OUTCOME_COLOURS,
  PALE,
  RULE,
  STRONG_RULE,
  block,
  counted,
  span,
  thousands,
} from './pdf-style.js'
import type { Typefaces } from './typeface.js'
import type { Span } from './typeset.js'
import { widthOf } from './typeset.js'
import type { ZoneClock } from './zone.js'

/** Everything the pages before the rows tell. */
export interface FrontMatter {
  parameters: AuditTrailParameters
  summary: AuditTrailSummary
  /** Rows that follow in the PDF, at most its cap. */
  listed: number
  /** Of these, how many show only the beginning of their data. */
  shortened: number
}

const COLUMN_GAP = 30
const HALF = (CONTENT_WIDTH - COLUMN_GAP) / 2
const THIRD = (CONTENT_WIDTH - 2 * COLUMN_GAP) / 3
const LABEL_WIDTH = 88

const LEVELS: Record<AssuranceLevel, { detects: string; not: string }> = {
  chained: {
    detects: 'Edits, gaps and reordering by anyone who cannot rewrite the whole chain.',
    not:
      'A chain that was rewritten from some entry to its end, and an end that was cut off together with the head. ' +
      'Comparing the last chain hash of this page with one that was kept elsewhere finds both.',
  },
  sealed: {
    detects:
      'Edits, gaps and reordering, a rewritten chain and a cut end, up to the last signed checkpoint kept elsewhere.',
    not: 'Different logs shown to different readers, and a stolen signing key.',
  },
  witnessed: {
    detects: 'Edits, gaps, reordering, a rewritten chain, a cut end, split views, rollback and a stolen signing key.',
    not: 'What the independent witnesses would have to agree to hide together.',
  },
}

/** Title page and summary. */
export function frontPages(front: FrontMatter, clock: ZoneClock, typefaces: Typefaces): Content[] {
  return [...titlePage(front, clock, typefaces), ...summaryPage(front, clock, typefaces)]
}

/** The period in words, in the clock's zone: `recorded from 2026-11-01 to before 2026-12-01`. */
export function periodText({ from, to, by, asOf }: AuditTrailParameters, clock: ZoneClock): string {
  const at = (instant: string) =>
    clock
      .text(instantMs(instant))
      .replace(/ 00:00:00\.000$/, '')
      .replace(/\.000$/, '')
  if (by === 'recorded') {
    const start = from === undefined ? 'the beginning' : at(from)
    return `recorded from ${start} to ${to === undefined ? at(asOf) : `before ${at(to)}`}`
  }
  // What somebody claims may lie in the future: an open end is open.
  if (from === undefined) return to === undefined ? 'occurred at any time' : `occurred before ${at(to)}`
  return `occurred from ${at(from)} ${to === undefined ? 'on' : `to before ${at(to)}`}`
}

function titlePage(front: FrontMatter, clock: ZoneClock, typefaces: Typefaces): Content[] {
  const { parameters, summary } = front
  const { range } = parameters
  const period = periodText(parameters, clock)
  const filter = filterText(parameters.filter)
  const fact = (label: string, spans: Span[], width: number): Content => ({
    columns: [
      { width: LABEL_WIDTH, ...block([span(label, 'text', 8.5, MUTED)], LABEL_WIDTH, typefaces) },
      { width: '*', ...block(spans, width - LABEL_WIDTH, typefaces) },
    ],
    columnGap: 0,
    margin: [0, 0, 0, 6],
  })
  const text = (value: string) => [span(value, 'text', 8.5)]
  const hash = (value: string) => [span(value, 'mono', 7)]
  const reported = `${counted(summary.rows, 'entry', 'entries')}, ${thousands(summary.reported)} of them as reported by ${counted(sourcesOf(summary), 'source', 'sources')}`
  return [
    block([span('Audit trail', 'text', 11, ACCENT)], CONTENT_WIDTH, typefaces, {
      outline: true,
      outlineText: 'Audit trail',
      margin: [0, 14, 0, 2],
    }),
    block([span(parameters.tenant, 'bold', 25)], CONTENT_WIDTH, typefaces, { margin: [0, 0, 0, 2] }),
    block([span(`Entries ${period}, ${parameters.timeZone}`, 'text', 10, MUTED)], CONTENT_WIDTH, typefaces),
    rule(STRONG_RULE, [0, 14, 0, 16]),
    {
      columns: [
        {
          width: HALF,
          stack: [
            fact('Period', text(period), HALF),
            fact('Time zone', text(parameters.timeZone), HALF),
            fact('Filter', text(filter.length === 0 ? 'none: every entry of the period' : filter.join('; ')), HALF),
            fact('Content', text(summary.rows === 0 ? 'no entry' : reported), HALF),
            fact('Report', text(parameters.id), HALF),
            fact('Range fixed', text(`${clock.text(instantMs(parameters.asOf))} (${parameters.asOf})`), HALF),
            fact('Renderer', text(parameters.rendererVersion), HALF),
          ],
        },
        {
          width: HALF,
          stack: [
            fact('Log', hash(parameters.log), HALF),
            fact('Entries read', text(range ? seqText(range.firstSeq, range.lastSeq) : 'none'), HALF),
            fact('Complete', text(completeText(parameters)), HALF),
            ...(range
              ? [
                  fact('First chain hash', hash(range.firstChainHash), HALF),
                  fact('Last chain hash', hash(range.lastChainHash), HALF),
                ]
              : []),
            fact('Assurance', [span(parameters.level, 'bold', 8.5)], HALF),
            fact('Detects', text(LEVELS[parameters.level].detects), HALF),
            fact('Does not detect', text(LEVELS[parameters.level].not), HALF),
          ],
        },
      ],
      columnGap: COLUMN_GAP,
    },
    ...cautions(front, typefaces),
    rule(RULE, [0, 12, 0, 10]),
    ...notes(parameters).map((note) =>
      block([span(note, 'text', 8, MUTED)], CONTENT_WIDTH, typefaces, { margin: [0, 0, 0, 4] }),
    ),
  ]
}

/** What this copy leaves out, where nobody can miss it. */
function cautions({ summary, listed, shortened }: FrontMatter, typefaces: Typefaces): Content[] {
  const texts: string[] = []
  if (listed < summary.rows) {
    texts.push(
      `This PDF lists the first ${thousands(listed)} of ${thousands(summary.rows)} entries. The counts of the summary cover all of them; the CSV of the same report lists all of them.`,
    )
  }
  if (shortened > 0) {
    texts.push(
      `${counted(shortened, 'entry shows', 'entries show')} only the first ${thousands(DATA_LIMIT)} characters of data here, marked where it happens. The CSV of the same report has the rest.`,
    )
  }
  const width = CONTENT_WIDTH - 24
  return texts.map((text) => ({
    margin: [0, 6, 0, 0],
    table: { widths: ['*'], body: [[block([span(text, 'bold', 8, CAUTION)], width, typefaces)]] },
    layout: {
      fillColor: () => '#fbf4e4',
      hLineWidth: () => 0,
      vLineWidth: (line) => (line === 0 ? 2 : 0),
      vLineColor: () => CAUTION,
      paddingLeft: () => 10,
      paddingTop: () => 5,
      paddingBottom: () => 5,
    },
  }))
}

function notes({ by, timeZone, range }: AuditTrailParameters): string[] {
  const time =
    by === 'recorded'
      ? `The period is one of recorded time, which the log sets itself and which never goes backwards. Times are shown in ${timeZone}; a time that was claimed is shown as it was written.`
      : `The period is one of occurred time, which whoever reported an entry claims; entries without it are not listed. Times are shown in ${timeZone}; the CSV also has claimed times as they were written.`
  return [
    time,
    'Entries with a source are shown as reported: the log proves that they were reported so, not that they are true. The other entries record what this service did itself.',
    'People appear under pseudonyms. Personal data is sealed and not part of this report; it names whom the sealed groups are about.',
    'A character that no font of this report has, or that nobody could see, is printed as its code point, for example [U+200B].',
    `Making a report verifies nothing. To verify the log: countersign verify${range ? ` --expect ${range.lastSeq}:LAST_CHAIN_HASH` : ''}. To check this file: countersign report check FILE.`,
  ]
}

function summaryPage({ summary }: FrontMatter, clock: ZoneClock, typefaces: Typefaces): Content[] {
  const { timeline } = summary
  const title = block([span('Summary', 'bold', 14)], CONTENT_WIDTH, typefaces, {
    outline: true,
    outlineText: 'Summary',
    margin: [0, 0, 0, 10],
  })
  if (summary.rows === 0) return []
  return [
    { stack: [title], pageBreak: 'before' },
    heading(
      `Entries per ${timeline.step > 1 ? `${timeline.step} years` : timeline.unit}, ${clock.timeZone}`,
      CONTENT_WIDTH,
      typefaces,
    ),
    ...timelineChart(timeline, CONTENT_WIDTH, 110),
    {
      columns: [
        { width: THIRD, stack: ranking('By type', 'no type', 'types', summary.types, summary.rows, typefaces) },
        {
          width: THIRD,
          stack: ranking('By actor', 'no actor given', 'actors', summary.actors, summary.rows, typefaces),
        },
        {
          width: THIRD,
          stack: [
            ...ranking('By outcome', 'no outcome given', 'outcomes', summary.outcomes, summary.rows, typefaces),
            { text: '', margin: [0, 0, 0, 8] },
            ...ranking('By source', 'recorded by this service', 'sources', summary.sources, summary.rows, typefaces),
          ],
        },
      ],
      columnGap: COLUMN_GAP,
      margin: [0, 18, 0, 0],
    },
  ]
}

function ranking(
  title: string,
  notGiven: string,
  names: string,
  { shown, more }: Ranking,
  rows: number,
  typefaces: Typefaces,
): Content[] {
  const highest = Math.max(...shown.map((item) => item.rows))
  const items = shown.map((item): Content => {
    const count = `${thousands(item.rows)}  ${percent(item.rows, rows)}`
    const countWidth = widthOf(span(count, 'text', 7.5), typefaces) + 8
    const name = item.name === null ? span(notGiven, 'text', 7.5, MUTED) : span(item.name, 'text', 7.5)
    const color = (item.name !== null && OUTCOME_COLOURS[item.name]) || ACCENT
    return {
      unbreakable: true,
      stack: [
        {
          columns: [
            { width: '*', ...block([name], THIRD - countWidth, typefaces) },
            { width: 'auto', ...block([span(count, 'text', 7.5, MUTED)], countWidth, typefaces) },
          ],
          columnGap: 0,
        },
        bar(item.rows / highest, color),
      ],
      margin: [0, 0, 0, 4.5],
    }
  })
  const rest =
    more &&
    `and ${more.atLeast ? 'at least ' : ''}${thousands(more.names)} more ${names} with ${counted(more.rows, 'entry', 'entries')}`
  return [
    heading(title, THIRD, typefaces),
    ...items,
    ...(rest === null ? [] : [block([span(rest, 'text', 7.5, MUTED)], THIRD, typefaces)]),
  ]
}

function bar(share: number, color: string): Content {
  const width = Math.max(0.75, THIRD * share).toFixed(2)
  return {
    svg: `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${THIRD.toFixed(2)} 3.5"><rect width="${THIRD.toFixed(2)}" height="3.5" fill="${PALE}"/><rect width="${width}" height="3.5" fill="${color}"/></svg>`,
    width: THIRD,
    margin: [0, 1.5, 0, 0],
  }
}

function heading(text: string, width: number, typefaces: Typefaces): Content {
  return block([span(text, 'bold', 9, INK)], width, typefaces, { margin: [0, 0, 0, 6] })
}

function rule(color: string, margin: [number, number, number, number]): Content {
  return {
    canvas: [{ type: 'line', x1: 0, y1: 0, x2: CONTENT_WIDTH, y2: 0, lineWidth: 0.6, lineColor: color }],
    margin,
  }
}

function seqText(first: number, last: number): string {
  return first === last ? `seq ${first}` : `seq ${first} to ${last}, ${counted(last - first + 1, 'entry', 'entries')}`
}

function completeText({ completeTo, range }: AuditTrailParameters): string {
  if (completeTo < 0) return 'the log held no entry'
  return range
    ? `up to and including seq ${completeTo}: nothing of the range is missing`
    : `up to and including seq ${completeTo}: the period holds no entry`
}

function sourcesOf({ sources }: AuditTrailSummary): number {
  return sources.shown.filter(({ name }) => name !== null).length + (sources.more?.names ?? 0)
}

/** Rounded, but never to 0 or to 100 where that is not so. */
function percent(part: number, whole: number): string {
  const value = (100 * part) / whole
  if (value < 0.1) return '<0.1 %'
  if (part < whole && value > 99.9) return '>99.9 %'
  return `${value.toFixed(1)} %`
}
