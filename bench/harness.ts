/** One line of the table: what we do against what the machine or a peer does, alternating. */
export interface Measure {
  readonly id: string
  readonly what: string
  readonly against: string
  readonly unit: string
  readonly floor: number
  readonly aim: number
  /** For memory: less is better, and there is nothing to divide by. */
  readonly smallerIsBetter?: true
  /** @returns what it would need and this machine does not have */
  readonly missing?: () => Promise<string | undefined>
  readonly run: (context: Context) => Promise<Rounds>
}

export interface Context {
  readonly quick: boolean
  readonly rounds: number
}

export interface Rounds {
  readonly rounds: readonly { readonly ours: number; readonly against: number }[]
  /** Beside the figure: a percentile, a size, what was left out. */
  readonly remark?: string
}

export interface Result {
  readonly id: string
  readonly what: string
  readonly unit: string
  readonly ours: number
  readonly against: number
  readonly ratio: number
  readonly floor: number
  readonly aim: number
  readonly met: 'aim' | 'floor' | 'no'
  readonly rounds: Rounds['rounds']
  readonly remark?: string
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return sorted.length % 2 === 1
    ? (sorted[Math.floor(middle)] ?? 0)
    : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2
}

/** @param share 0 to 1 */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0
}

/** Runs both sides `rounds` times, the first one changing from round to round, after one round that does not count. */
export async function alternate(
  rounds: number,
  sides: { ours: (round: number) => Promise<number>; against: (round: number) => Promise<number> },
): Promise<{ ours: number; against: number }[]> {
  const results: { ours: number; against: number }[] = []
  for (let round = 0; round <= rounds; round++) {
    let ours = 0
    let against = 0
    if (round % 2 === 0) {
      ours = await sides.ours(round)
      against = await sides.against(round)
    } else {
      against = await sides.against(round)
      ours = await sides.ours(round)
    }
    if (round > 0) results.push({ ours, against })
  }
  return results
}

/** Runs `work` and returns how many of `count` it did in a second. */
export async function rate(count: number, work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return count / ((performance.now() - start) / 1000)
}

/** `callers` of them take `total` turns, each its next one as soon as it is done. */
export async function callersTake(
  callers: number,
  total: number,
  turn: (n: number) => Promise<unknown>,
): Promise<void> {
  let next = 0
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (next < total) await turn(next++)
    }),
  )
}

export function judge(measure: Measure, { rounds, remark }: Rounds): Result {
  const ours = median(rounds.map((round) => round.ours))
  const against = median(rounds.map((round) => round.against))
  const ratio = measure.smallerIsBetter ? ours : median(rounds.map((round) => round.ours / round.against))
  const reaches = (goal: number) => (measure.smallerIsBetter ? ratio <= goal : ratio >= goal)
  const { id, what, unit, floor, aim } = measure
  const met = reaches(aim) ? 'aim' : reaches(floor) ? 'floor' : 'no'
  return { id, what, unit, ours, against, ratio, floor, aim, met, rounds, ...(remark === undefined ? {} : { remark }) }
}
