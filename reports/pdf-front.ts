import type { Content } from 'pdfmake'
import { instantMs } from '../src/ledger/rfc3339.js'
import type { AssuranceLevel, ReportParameters } from './parameters.js'
import { DATA_LIMIT } from './pdf-rows.js'
import {
  ACCENT,
  CAUTION,
  CONTENT_WIDTH,
  MUTED,
  RULE,
  STRONG_RULE,
  block,
  counted,
  span,
  thousands,
} from './pdf-style.js'
import type { Typefaces } from './typeface.js'
import type { Span } from './typeset.js'
import { COLUMN_GAP } from './pdf-ranking.js'
import type { ZoneClock } from './zone.js'

/** What the pages before the rows tell. */
export interface FrontMatter {
  readonly parameters: ReportParameters
  /** `Audit trail` */
  readonly title: string
  /** `Entries recorded from …` */
  readonly subtitle: string
  /** Further facts on the left, by label. */
  readonly facts: readonly (readonly [label: string, text: string])[]
  readonly notes: readonly string[]
  /** Rows of the whole report, and what they are. */
  readonly rows: number
  readonly words: readonly [one: string, many: string]
  /** Rows that follow in the PDF, at most its cap. */
  readonly listed: number
  /** Of these, how many show only the beginning of their data. */
  readonly shortened: number
}

const HALF = (CONTENT_WIDTH - COLUMN_GAP) / 2
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

/** The period in words, in the clock's zone: `recorded from 2026-11-01 to before 2026-12-01`. */
export function periodText({ from, to, by, asOf }: ReportParameters, clock: ZoneClock): string {
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

/** What the report is, of what, and what it rests on. */
export function titlePage(front: FrontMatter, clock: ZoneClock, typefaces: Typefaces): Content[] {
  const { parameters, title, subtitle, facts, notes } = front
  const { range } = parameters
  const period = periodText(parameters, clock)
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
  return [
    block([span(title, 'text', 11, ACCENT)], CONTENT_WIDTH, typefaces, {
      outline: true,
      outlineText: title,
      margin: [0, 14, 0, 2],
    }),
    block([span(parameters.tenant, 'bold', 25)], CONTENT_WIDTH, typefaces, { margin: [0, 0, 0, 2] }),
    block([span(`${subtitle} ${period}, ${parameters.timeZone}`, 'text', 10, MUTED)], CONTENT_WIDTH, typefaces),
    rule(STRONG_RULE, [0, 14, 0, 16]),
    {
      columns: [
        {
          width: HALF,
          stack: [
            fact('Period', text(period), HALF),
            fact('Time zone', text(parameters.timeZone), HALF),
            ...facts.map(([label, value]) => fact(label, text(value), HALF)),
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
    ...[...notes, ...commonNotes(parameters)].map((note) =>
      block([span(note, 'text', 8, MUTED)], CONTENT_WIDTH, typefaces, { margin: [0, 0, 0, 4] }),
    ),
  ]
}

/** What this copy leaves out, where nobody can miss it. */
function cautions({ rows, words, listed, shortened }: FrontMatter, typefaces: Typefaces): Content[] {
  const texts: string[] = []
  if (listed < rows) {
    texts.push(
      `This PDF lists the first ${thousands(listed)} of ${counted(rows, ...words)}. The counts of the summary cover all of them; the CSV of the same report lists all of them.`,
    )
  }
  if (shortened > 0) {
    texts.push(
      `${counted(shortened, ...words)} ${shortened === 1 ? 'shows' : 'show'} only the first ${thousands(DATA_LIMIT)} characters of data here, marked where it happens. The CSV of the same report has the rest.`,
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

function commonNotes({ range }: ReportParameters): string[] {
  return [
    'People appear under pseudonyms. Personal data is sealed and not part of this report.',
    'A character that no font of this report has, or that nobody could see, is printed as its code point, for example [U+200B].',
    `Making a report verifies nothing. To verify the log: countersign verify${range ? ` --expect ${range.lastSeq}:LAST_CHAIN_HASH` : ''}. To check this file: countersign report check FILE.`,
  ]
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

function completeText({ completeTo, range }: ReportParameters): string {
  if (completeTo < 0) return 'the log held no entry'
  return range
    ? `up to and including seq ${completeTo}: nothing of the range is missing`
    : `up to and including seq ${completeTo}: the period holds no entry`
}
