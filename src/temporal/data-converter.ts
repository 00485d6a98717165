import type { DataConverter } from '@temporalio/common'
import { fileURLToPath } from 'node:url'

/** How values become payloads: the same for clients, workers and, built into their bundle, workflows. */
export function dataConverter(): DataConverter {
  return { failureConverterPath }
}

/** Part of the workflows' bundle too: see bin/bundle-workflows.mjs. */
const failureConverterPath = fileURLToPath(new URL('../../workflows/failure-converter.js', import.meta.url))
