import type { ZoneClock } from '../../reports/zone.js'
import type { Pattern } from './calendar.js'
import { firesBetween } from './fires.js'
import { isEnded, runTime, type RunState } from './run.js'
import { untoldOf } from './verified.js'

/** Runs made up for at once, at most: what remains follows when these are recorded. */
export const MOST_MISSING = 100
/** How long Temporal has to start what is due before it counts as missed. */
export const GRACE_MS = 60_000

/** What a schedule's runs are compared with. */
export interface Due {
  readonly patterns: readonly Pattern[]
  readonly clock: ZoneClock
  /** Since when it has been due, ms since 1970. */
  readonly sinceMs: number
}

/**
 * When runs were due that nobody recorded: from the last recorded one that was due, or since the schedule was set, until now.
 * Runs that somebody asked for say nothing about those that were due.
 * @param runs the latest first
 * @returns as `RunId.scheduledAt`, in order
 */
export function missingRuns(
  { patterns, clock, sinceMs }: Due,
  runs: readonly RunState[],
  nowMs: number,
  most = MOST_MISSING,
): string[] {
  const last = runs.find(({ kind, order, result }) =>
    kind === 'verification' ? result?.['scope'] === 'installation' : order?.due === true,
  )
  const fromMs = Math.max(sinceMs, last === undefined ? 0 : Date.parse(last.scheduledAt) + 1)
  // By what the wall clock showed: where it shows something twice, either is enough.
  const recorded = new Set(runs.map(({ scheduledAt }) => clock.localMs(Date.parse(scheduledAt))))
  return firesBetween(patterns, clock, fromMs, nowMs - GRACE_MS, most)
    .filter((fire) => !recorded.has(clock.localMs(fire)))
    .map(runTime)
}

/** Runs that were asked for or begun, and of which something is left to do. */
export function openRuns(runs: readonly RunState[]): RunState[] {
  return runs.filter((run) => !isEnded(run) || untoldOf(run).length > 0)
}
