/**
 * What crosses the border of a workflow: the task queue, signals, and what workflows start with. References only: the
 * history of a workflow outlives an erasure, so nothing personal and no key may be among it.
 */

/**
 * Where an installation's workflows and activities wait for its workers, of which each can do everything. Installations may
 * share a Temporal, and even a namespace: none is given another's.
 */
export const taskQueueOf = (installation: string): string => `countersign-${installation}`

/** A run of a report's schedule. */
export interface ReportRunInput {
  readonly tenant: string
  readonly schedule: string
  /** When it was due: UTC, whole seconds. Temporal says so itself of what its schedules start. */
  readonly scheduledAt?: string
}

/** A verification: of one log, or without `tenant` the pass over all. */
export interface VerificationInput {
  readonly tenant?: string
  /** As in `ReportRunInput`. */
  readonly scheduledAt?: string
}

/** The one signal that our workflows know: look at the log again. It carries nothing. */
export const NUDGE = 'nudge'

/** A change, by reference. */
export interface ChangeApprovalInput {
  readonly tenant: string
  /** Its id. */
  readonly change: string
}
