/**
 * What crosses the border of a workflow: the task queue, signals, and what workflows start with. References only: the
 * history of a workflow outlives an erasure, so nothing personal and no key may be among it.
 */

/** Where our workflows and activities wait for a worker. One queue: every worker can do everything. */
export const TASK_QUEUE = 'countersign'
