import { fileURLToPath } from 'node:url'
import { scheduledReports } from '../reports/scheduled.js'
import { taskQueueOf } from '../workflows/messages.js'
import { changeApprovalActivities, type ChangeApprovalDeps } from './activities/change-approval.js'
import { failuresByCode } from './activities/failure.js'
import { reportRunActivities } from './activities/report-run.js'
import { tellWebhooks } from './activities/tell.js'
import { verificationActivities } from './activities/verification.js'
import { changesCheck } from './approvals/queries/verify-changes.js'
import { ReportFiles } from './blobs/files.js'
import { packageVersion } from './cli/version.js'
import type { Config } from './config.js'
import type { Database } from './db/database.js'
import { startRefill } from './dispatcher/refill.js'
import { dispatcher } from './dispatcher/run.js'
import { Workflows } from './dispatcher/workflows.js'
import type { Installation } from './keyring/installation.js'
import { Subjects } from './keyring/subjects.js'
import { Appender } from './ledger/appender.js'
import { CountedRecords } from './ledger/counted-records.js'
import { EntriesListener } from './ledger/listen.js'
import { Follower } from './ledger/subscribe.js'
import type { Log } from './log.js'
import { changeKinds } from './registry.js'
import { keepSchedules } from './schedules/keep.js'
import { openOutside } from './sinks/outside.js'
import { openTemporal } from './temporal/connection.js'
import type { TemporalTarget } from './temporal/target.js'
import type { WorkflowsState } from './temporal/state.js'
import { keepWorker } from './temporal/worker-connection.js'

export type WorkerConfig = Pick<
  Config,
  | 'fonts'
  | 'publicUrl'
  | 'reportsDir'
  | 'sealedLimitBytes'
  | 'shutdownTimeoutMs'
  | 'signingKeysDir'
  | 'verificationHour'
  | 'webhookNetworks'
  | 'webhookTimeoutMs'
>

export interface WorkerDeps {
  readonly database: Database
  readonly installation: Installation
  readonly target: TemporalTarget
  readonly log: Log
  /** Another build of the workflows, another task queue, further activities: for tests. */
  readonly bundle?: string
  readonly taskQueue?: string
  readonly activities?: object
  readonly approvals?: Partial<ChangeApprovalDeps>
}

export interface RunningWorker {
  readonly state: WorkflowsState
  /** Takes nothing more, lets end what runs, then ends. */
  close(): Promise<void>
}

const BUNDLE = fileURLToPath(new URL('../workflow-bundle.js', import.meta.url))

/**
 * Starts what moves workflows, in this process: the dispatcher, which tells Temporal what the log says, and a worker,
 * which does what Temporal says. Any number of processes may do so. Returns at once: what cannot be reached is tried
 * again until it can.
 */
export function startWorker(config: WorkerConfig, deps: WorkerDeps): RunningWorker {
  const { log, database, installation } = deps
  const taskQueue = deps.taskQueue ?? taskQueueOf(installation.id)
  const trouble = (what: string) => (error: unknown, tenant?: string) =>
    log.warn({ err: error, ...(tenant !== undefined && { tenant }) }, what)
  const temporal = openTemporal(deps.target)
  const appender = new Appender(database, { onTrouble: trouble('appending met trouble') })
  const refusals = new CountedRecords(appender, { onTrouble: trouble('a refused vote was not put on record') })
  const outside = openOutside(
    config,
    {
      database,
      installation,
      appender,
      refusals,
      subjects: new Subjects(database, installation),
      kinds: changeKinds,
      maxGroupBytes: config.sealedLimitBytes,
    },
    { version: packageVersion(), log: (told, text) => log.info(told, text) },
  )
  const tell = tellWebhooks(outside)
  const reports = { database, appender, files: new ReportFiles(config.reportsDir), fonts: config.fonts }
  const worker = keepWorker({
    temporal,
    taskQueue,
    bundle: deps.bundle ?? BUNDLE,
    activities: {
      ...changeApprovalActivities({
        ...outside,
        ...deps.approvals,
      }),
      ...reportRunActivities({ reports, kinds: scheduledReports, tell, publicUrl: config.publicUrl }),
      ...verificationActivities({ database, tell, log, checks: [changesCheck(changeKinds)] }),
      ...deps.activities,
    },
    interceptors: {
      activity: [failuresByCode((error, activity) => log.error({ err: error, activity }, 'an activity failed'))],
    },
    drainMs: config.shutdownTimeoutMs,
    log,
  })

  const listener = new EntriesListener(database, { onTrouble: trouble('listening for entries met trouble') })
  const workflows = new Workflows(temporal, { installation: installation.id, taskQueue })
  const follower = new Follower(
    database,
    dispatcher({
      database,
      workflows,
      onParked: (tenant, { stream, seq, type }, { code }) =>
        log.error({ tenant, stream, seq, type, code }, 'an entry was parked: countersign dispatch list'),
    }),
    { ...DISPATCHING, listener, onTrouble: trouble('the dispatcher met trouble') },
  )
  follower.start()
  const endRefill = startRefill(
    { database, temporal, workflows },
    {
      onTrouble: trouble('looking after open workflows met trouble'),
      onRefilled: (counts) => log.info(counts, 'workflows that Temporal lacked were started'),
    },
  )
  const { verificationHour } = config
  const schedules = keepSchedules({
    database,
    temporal,
    installation: installation.id,
    taskQueue,
    verificationHour,
    listener,
    log,
  })
  return {
    get state() {
      return worker.state
    },
    async close() {
      await Promise.all([follower.stop(), endRefill(), schedules.close(), worker.close()])
      await refusals.close()
      await Promise.all([listener.close(), appender.close(), temporal.close()])
    },
  }
}

/**
 * Most entries are passed over by the database, so many are looked at at a time. While Temporal is away logs rest for
 * seconds, not longer: it may be back any moment.
 */
export const DISPATCHING = {
  bounds: { tenants: 100, entries: 50_000, bytes: 0 },
  lingerMs: 5,
  restMs: { first: 200, most: 10_000 },
} as const
