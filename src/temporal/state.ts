/** Whether workflows move: `waiting` until a worker is connected, and again whenever Temporal does not answer. */
export type WorkflowsState = 'waiting' | 'ready'
