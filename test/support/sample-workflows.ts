import { ApplicationFailure, proxyActivities, sleep } from '@temporalio/workflow'

/** Workflows that test the road, not a process. */

interface SampleActivities {
  work(input: string): Promise<string>
}

const { work } = proxyActivities<SampleActivities>({
  startToCloseTimeout: '1 minute',
  retry: { initialInterval: 100, maximumInterval: 200 },
})

/** One activity, and its answer. */
export async function once(input: string): Promise<string> {
  return work(input)
}

/** @returns by which type of failure the activity ended, where it was not tried again */
export async function refused(input: string): Promise<string> {
  try {
    await work(input)
    return 'not refused'
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined
    return cause instanceof ApplicationFailure ? `${cause.type ?? ''}: ${cause.message}` : 'something else'
  }
}

/** A wait of Temporal's, an activity, again and again. */
export async function monthly(times: number): Promise<string[]> {
  const answers: string[] = []
  for (let n = 0; n < times; n += 1) {
    await sleep('30 days')
    answers.push(await work(`month ${n + 1}`))
  }
  return answers
}
