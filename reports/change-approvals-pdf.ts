import type { Content } from 'pdfmake'
import type { ApprovalRow, ApprovalsSummary, Deed } from './change-approvals.js'
import { timelineChart } from './chart.js'
import type { PdfKind } from './pdf-kind.js'
import { COLUMN_GAP, heading, rankingOf, THIRD } from './pdf-ranking.js'
import { DETAIL_WIDTH, WIDTHS, type SetRow } from './pdf-rows.js'
import { ADVERSE, CAUTION, CONTENT_WIDTH, FINE, MUTED, counted, span } from './pdf-style.js'
import { instantMs } from '../src/ledger/rfc3339.js'
import type { Typefaces } from './typeface.js'
import { typeset, type Span } from './typeset.js'
import type { ZoneClock } from './zone.js'

/** The pages of a report on decisions. */
export const changeApprovalsPdf: PdfKind<ApprovalRow, ApprovalsSummary> = {
  title: 'Change approvals',
  subtitle: 'Decisions',
  words: ['row', 'rows'],
  outline: 'Decisions',
  titles: ({ timeZone }) => ['Seq', `Recorded, ${timeZone}`, 'What', 'By', 'Decided by'],
  facts: (_parameters, { rows, changes, selfApprovals, emergencies, reviewsDue }) => [
    ['Content', `${counted(rows, 'row', 'rows')}, ${counted(changes, 'change', 'changes')} among them`],
    ['Self-approvals', `${counted(selfApprovals, 'attempt', 'attempts')}, all refused`],
    [
      'Break-glass',
      emergencies === 0
        ? 'not used'
        : `${counted(emergencies, 'use', 'uses')}, ${reviewsDue === 0 ? 'all reviewed' : `${counted(reviewsDue, 'review is', 'reviews are')} due`}`,
    ],
  ],
  notes: ({ timeZone }) => [
    `Every change that something happened to in the period is listed at the place of its request, as it stood at the end of the period; beside it the votes that were refused, and what was done without a second person: during setup, or by the operator on the host. Times are shown in ${timeZone}.`,
    'Every row names the entries that it rests on by seq. Requests and votes hold the hashes that people decided on.',
  ],
  summary: summaryPage,
  nothing: ({ range }) =>
    range ? 'Nothing was decided in this period, and nobody tried.' : 'The period holds no entry of this log.',
  setRow,
}

function summaryPage(summary: ApprovalsSummary, clock: ZoneClock, typefaces: Typefaces): Content[] {
  const { timeline } = summary
  const of = (title: string, names: string, ranking: ApprovalsSummary['kinds']) => {
    const rows = ranking.shown.reduce((sum, item) => sum + item.rows, ranking.more?.rows ?? 0)
    if (rows === 0) return []
    const words = { notGiven: 'not given', names, rows: ['row', 'rows'] as const }
    return [...rankingOf(title, words, ranking, rows, typefaces), { text: '', margin: [0, 0, 0, 8] } as Content]
  }
  return [
    heading(
      `Requests per ${timeline.step > 1 ? `${timeline.step} years` : timeline.unit}, ${clock.timeZone}`,
      CONTENT_WIDTH,
      typefaces,
    ),
    ...timelineChart(timeline, CONTENT_WIDTH, 110, {
      none: 'No change was requested.',
      adverse: 'rejected, expired or failed',
    }),
    {
      columns: [
        { width: THIRD, stack: of('Changes by status', 'statuses', summary.statuses) },
        { width: THIRD, stack: of('Changes by kind', 'kinds', summary.kinds) },
        {
          width: THIRD,
          stack: [
            ...of('Refused votes by reason', 'reasons', summary.refusals),
            ...of('Done directly', 'types', summary.direct),
          ],
        },
      ],
      columnGap: COLUMN_GAP,
      margin: [0, 18, 0, 0],
    },
  ]
}

const STATUS_COLOURS: Readonly<Record<string, string>> = {
  applied: FINE,
  approved: FINE,
  applying: FINE,
  rejected: ADVERSE,
  failed: ADVERSE,
  expired: CAUTION,
}

const ROW_TEXTS: Readonly<Record<string, readonly [text: string, colour: string]>> = {
  'refused-vote': ['refused vote', ADVERSE],
  setup: ['during setup', CAUTION],
  override: ['override by the host', ADVERSE],
  enforcement: ['approvals enforced', FINE],
}

function setRow(row: ApprovalRow, _parameters: unknown, clock: ZoneClock, typefaces: Typefaces): SetRow {
  const set = (column: number, paragraphs: Span[][]) =>
    paragraphs.flatMap((spans) => typeset(spans, WIDTHS[column] ?? 0, typefaces))
  const time = (at: string) => clock.text(instantMs(at))
  return {
    cells: [
      set(0, [[span(String(row.seq), 'text', 7.5)]]),
      set(1, [[span(time(row.at), 'text', 7.5)]]),
      set(2, what(row)),
      set(3, who(row)),
      set(4, deciders(row, time)),
    ],
    detail: details(row, time).flatMap((spans) => typeset(spans, DETAIL_WIDTH, typefaces)),
    continued: set(0, [[span(`… ${row.seq}`, 'text', 7.5, MUTED)]]),
    dataLeftOut: 0,
  }
}

function what({ row, what, status, code, change, count = 1 }: ApprovalRow): Span[][] {
  const paragraphs = [[span(what, 'bold', 7.5)]]
  const [text, colour] = ROW_TEXTS[row] ?? [status ?? '', STATUS_COLOURS[status ?? ''] ?? MUTED]
  const state = [span(text, 'text', 6.8, colour)]
  if (code !== undefined) state.push(span(`, ${code}`, 'text', 6.8, MUTED))
  if (count > 1) state.push(span(`, ${count} times`, 'text', 6.8, MUTED))
  paragraphs.push(state)
  if (change !== undefined) paragraphs.push([span(change, 'mono', 5.8, MUTED)])
  return paragraphs
}

function who({ by, onBehalfOf }: ApprovalRow): Span[][] {
  const paragraphs = [[span(by, 'text', 7.5)]]
  if (onBehalfOf !== undefined) paragraphs.push([span(`on behalf of ${onBehalfOf}`, 'text', 6.5, MUTED)])
  return paragraphs
}

function deciders({ approvals, rejections, row }: ApprovalRow, time: (at: string) => string): Span[][] {
  if (row !== 'change') return []
  const lines = (deeds: readonly Deed[], sign: string, colour: string) =>
    deeds.flatMap(({ by, at, seq }) => [
      [span(`${sign} `, 'bold', 7.5, colour), span(by, 'text', 7.5)],
      [span(`${time(at)}, seq ${seq}`, 'text', 6.5, MUTED)],
    ])
  const all = [...lines(approvals, '+', FINE), ...lines(rejections, '−', ADVERSE)]
  return all.length > 0 ? all : [[span('nobody voted', 'text', 7.5, MUTED)]]
}

function details(row: ApprovalRow, time: (at: string) => string): Span[][] {
  const { approved, closed, expiresAt, emergency, payloadHash, policyHash, stream, status } = row
  const facts = [
    approved && `approved ${time(approved.at)}, seq ${approved.seq}`,
    closed && `${status ?? 'closed'} ${time(closed.at)}, seq ${closed.seq}`,
    !closed &&
      expiresAt !== undefined &&
      `votes ${status === 'requested' ? 'are' : 'were'} taken until ${time(expiresAt)}`,
    stream !== undefined && `stream ${stream}`,
  ].filter((fact) => typeof fact === 'string')
  const lines: Span[][] = facts.length > 0 ? [[span(facts.join('; '), 'text', 6.5, MUTED)]] : []
  if (emergency) {
    const { by, at, seq, review } = emergency
    const reviewed = review
      ? `reviewed by ${review.by} ${time(review.at)}, seq ${review.seq}: ${review.verdict}`
      : 'its review is due'
    lines.push([span(`break-glass by ${by} ${time(at)}, seq ${seq}; ${reviewed}`, 'bold', 6.5, CAUTION)])
  }
  if (payloadHash !== undefined) {
    lines.push([span(`payload ${payloadHash}  policy ${policyHash ?? ''}`, 'mono', 5.6, MUTED)])
  }
  return lines
}
