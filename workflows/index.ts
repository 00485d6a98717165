/** Everything that the worker can run: one file per workflow, each exported here by its name. */
export type * from './messages.js'
export { reportRun } from './report-run.js'
export { verification } from './verification.js'
export { changeApproval } from './change-approval.js'
