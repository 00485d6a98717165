import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { root } from '../support/root.js'

/** Known answers made by others, in the folder beside the repository; `npm run conformance` sees to it that it is there. */
export function readVectors(name: string): unknown {
  return JSON.parse(readFileSync(join(dirname(root), 'shared', 'vectors', name), 'utf8'))
}
