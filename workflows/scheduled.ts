import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common'
import { workflowInfo } from '@temporalio/workflow'

const SCHEDULED_START = defineSearchAttributeKey('TemporalScheduledStartTime', SearchAttributeType.DATETIME)

/**
 * When this workflow was due, `2026-11-21T02:00:00Z`: what it was started with, else what the schedule says that started it. A run
 * that is made up for was due when it should have been, so it does what it would have done.
 */
export function scheduledStart(given: string | undefined): string {
  if (given !== undefined) return given
  const { typedSearchAttributes, startTime } = workflowInfo()
  const at = typedSearchAttributes.get(SCHEDULED_START) ?? startTime
  return `${at.toISOString().slice(0, 19)}Z`
}
