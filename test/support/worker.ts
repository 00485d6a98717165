import { bundleWorkflowCode } from '@temporalio/worker'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Log } from '../../src/log.js'
import { root } from './root.js'

/** The workflows of `sample-workflows.ts` as a file that a worker can load. */
export async function sampleBundle(): Promise<{ path: string; remove(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'countersign-test-'))
  const quiet = () => undefined
  const { code } = await bundleWorkflowCode({
    workflowsPath: join(root, 'dist', 'test', 'support', 'sample-workflows.js'),
    failureConverterPath: join(root, 'dist', 'workflows', 'failure-converter.js'),
    logger: { log: quiet, trace: quiet, debug: quiet, info: quiet, warn: quiet, error: quiet },
  })
  const path = join(folder, 'bundle.js')
  await writeFile(path, code)
  return { path, remove: () => rm(folder, { recursive: true }) }
}

/** A log to look into. */
export function memoryLog(): Log & { readonly lines: string[] } {
  const lines: string[] = []
  const at = (level: string) => (about: object, message: string) => {
    lines.push(`${level} ${message} ${'err' in about ? String(about.err) : ''}`.trim())
  }
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}
