import { inTenant, type Database, type Tx } from '../db/database.js'
import { readStream, readStreams, streamEntry, type StreamEntry } from '../ledger/streams.js'
import { evolveRun, foldRun, runStream, RUNS, type RunId, type RunState } from './run.js'
import { foldSchedules, SCHEDULES, type ScheduleState } from './schedule.js'

/** The schedules of a tenant, removed ones too, by id. */
export async function readSchedules(tx: Tx, tenant: string): Promise<Map<string, ScheduleState>> {
  return foldSchedules(await readStreams(tx, tenant, [SCHEDULES]))
}

export async function schedulesOf(
  database: Pick<Database, 'reader'>,
  tenant: string,
): Promise<Map<string, ScheduleState>> {
  return inTenant(database.reader, tenant, (tx) => readSchedules(tx, tenant))
}

export async function readRun(tx: Tx, tenant: string, run: RunId): Promise<RunState | undefined> {
  return foldRun(await readStream(tx, tenant, runStream(run)))
}

export async function findRun(
  database: Pick<Database, 'reader'>,
  tenant: string,
  run: RunId,
): Promise<RunState | undefined> {
  return inTenant(database.reader, tenant, (tx) => readRun(tx, tenant, run))
}

/**
 * The runs of a schedule by when they were due, the latest first.
 * @param options.before only those due before, as `RunId.scheduledAt`
 */
export async function listRuns(
  tx: Tx,
  tenant: string,
  schedule: string,
  { limit, before }: { readonly limit: number; readonly before?: string | undefined },
): Promise<RunState[]> {
  const prefix = `${RUNS}${schedule}/`
  const end = before === undefined ? `${RUNS}${schedule}0` : runStream({ schedule, scheduledAt: before })
  const names = await tx
    .selectFrom('streams')
    .select('stream')
    .distinct()
    .where('tenant', '=', tenant)
    .where('version', '=', 1)
    .where('stream', '>=', prefix)
    .where('stream', '<', end)
    .orderBy('stream', 'desc')
    .limit(limit)
    .execute()
  if (names.length === 0) return []
  const rows = await tx
    .selectFrom('streams')
    .innerJoin('entries', (join) =>
      join.onRef('entries.tenant', '=', 'streams.tenant').onRef('entries.seq', '=', 'streams.seq'),
    )
    .select('leaf')
    .where('streams.tenant', '=', tenant)
    .where(
      'stream',
      'in',
      names.map(({ stream }) => stream),
    )
    .orderBy('streams.stream', 'desc')
    .orderBy('streams.version')
    .execute()
  return foldRuns(rows.map(({ leaf }) => streamEntry(leaf)))
}

/** @param entries stream by stream, each in order */
function foldRuns(entries: readonly StreamEntry[]): RunState[] {
  const runs = new Map<string, RunState>()
  for (const entry of entries) {
    const run = evolveRun(runs.get(entry.stream), entry)
    if (run) runs.set(entry.stream, run)
  }
  return [...runs.values()]
}
