import type { Client } from '@temporalio/client'
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './root.js'

const folder = join(root, 'test', 'fixtures', 'histories')

/**
 * Recorded histories, by workflow and what happened: `changeApproval.applied`. They are recorded anew by
 *
 *   npm run build && COUNTERSIGN_RECORD_HISTORIES=1 npx vitest run dist/test/workflows dist/test/schedules
 *
 * which a change of a workflow must not need: it goes by `patched`, and old histories stay.
 */
export function recordedHistories(): { name: string; history: unknown }[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .map((file) => ({
      name: file.slice(0, -'.json'.length),
      history: JSON.parse(readFileSync(join(folder, file), 'utf8')) as unknown,
    }))
}

/** Keeps the history of a run where histories are being recorded, and does nothing otherwise. */
export async function keepHistory(client: Client, name: string, workflowId: string, runId?: string): Promise<void> {
  if (process.env['COUNTERSIGN_RECORD_HISTORIES'] !== '1') return
  const history = await client.workflow.getHandle(workflowId, runId).fetchHistory()
  const { events } = JSON.parse(historyToJSON(history)) as { events: unknown[] }
  const lines = events.map((event) => JSON.stringify(event, anonymous))
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, `${name}.json`), `{"events":[\n${lines.join(',\n')}\n]}\n`)
}

/** Which process of which machine took a task is nothing to keep. */
function anonymous(name: string, value: unknown): unknown {
  return name === 'identity' ? 'worker' : value
}
