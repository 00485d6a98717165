import type { ChangeView } from '../approvals/queries/changes.js'
import type { Json } from '../ledger/event.js'
import { fields, printable, type Palette } from './terminal.js'

/** A change as it is read before deciding: who asks, what it would do, what is missing. */
export function showChange(change: ChangeView, paint: Palette): string {
  const { groups, votes, couldApprove, sealed, history } = change
  const head = fields(
    [
      ['change', change.id],
      ['kind', `${change.kind}, to ${change.what}`],
      ['status', paint.bold(change.failure === undefined ? change.status : `${change.status}, ${change.failure}`)],
      ['requested', `${change.requestedAt} by ${printable(change.requester)}`],
      ...(change.onBehalfOf === undefined ? [] : [['on behalf of', printable(change.onBehalfOf)] as const]),
      ...(change.beneficiaries.length === 0
        ? []
        : [['gain by it', change.beneficiaries.map(printable).join(' ')] as const]),
      ['waits for', change.waitsFor],
      ...groups.map(({ name, have, count }) => ['group', `${name}: ${have} of ${count}`] as const),
      ...(couldApprove.length === 0 ? [] : [['could approve', couldApprove.map(printable).join(' ')] as const]),
      ...votes.map(
        ({ voter, decision, at, discounted }) =>
          [
            decision,
            `${printable(voter)} at ${at}${discounted === undefined ? '' : `, not counted: ${discounted}`}`,
          ] as const,
      ),
      ...(change.emergency === undefined ? [] : [['break-glass', change.emergency] as const]),
      ...sealed.map(
        ({ group }) =>
          ['sealed', `${group}; countersign entry reveal ${change.requestedSeq} ${group} opens it`] as const,
      ),
      ['payload hash', paint.bold(change.payloadHash)],
    ],
    paint,
  )
  const past = history.map(({ seq, at, type, by }) => `  ${seq}  ${at}  ${type}  ${printable(by)}\n`)
  return `${head}${whatChanges(change, paint)}${paint.dim('history')}\n${past.join('')}`
}

/** What would differ; of a change that is closed what was asked for. */
function whatChanges({ diff, impossible, payload }: ChangeView, paint: Palette): string {
  if (impossible) return `${paint.dim('cannot be done now')}\n  ${printable(impossible.message)}\n`
  if (!diff) return `${paint.dim('asked for')}\n${lines(payload, ' ').join('')}`
  const before = lines(diff.before, '-').map(paint.red)
  const after = lines(diff.after, '+').map(paint.green)
  return `${paint.dim('would change')}\n${before.join('')}${after.join('')}`
}

function lines(value: Json, mark: string): string[] {
  return JSON.stringify(value, undefined, 2)
    .split('\n')
    .map((line) => `${mark} ${printable(line)}\n`)
}
