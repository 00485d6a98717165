/**
 * How many different names are counted one by one. A name that first appears after that many
 * others is counted only as one of the rest, so every number shown is exact and memory stays bounded.
 */
export const DISTINCT_LIMIT = 20_000

/** How often each name came. */
export interface Tally {
  counts: Map<string, number>
  /** Rows whose name came after DISTINCT_LIMIT others. */
  rest: number
}

/** The names with the highest counts, highest first; equal counts by code unit order of the name. */
export interface Ranking {
  /** `name` is null for the rows that give none. */
  shown: { name: string | null; rows: number }[]
  /** What is not shown: so many other names (at least, when `atLeast`) with so many rows together. */
  more: { names: number; atLeast: boolean; rows: number } | null
}

// A tally's key for "not given". No type, actor, outcome or source is empty.
const NOT_GIVEN = ''

/** Nothing counted yet. */
export function startTally(): Tally {
  return { counts: new Map(), rest: 0 }
}

/** Counts a name once more. @param name undefined for a row that gives none */
export function count(tally: Tally, name = NOT_GIVEN): void {
  const before = tally.counts.get(name)
  if (before !== undefined) tally.counts.set(name, before + 1)
  else if (tally.counts.size < DISTINCT_LIMIT) tally.counts.set(name, 1)
  else tally.rest += 1
}

/** @param limit how many names are shown */
export function ranking(tally: Tally, limit: number): Ranking {
  const sorted = [...tally.counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
  // Showing a single name takes no more room than saying that there is one more.
  const shown = sorted.length === limit + 1 && tally.rest === 0 ? sorted : sorted.slice(0, limit)
  const left = sorted.slice(shown.length)
  const rows = left.reduce((sum, [, n]) => sum + n, tally.rest)
  return {
    shown: shown.map(([name, rows]) => ({ name: name === NOT_GIVEN ? null : name, rows })),
    more: rows === 0 ? null : { names: left.length + (tally.rest > 0 ? 1 : 0), atLeast: tally.rest > 0, rows },
  }
}
