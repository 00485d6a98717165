import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository's root: compiled tests lie in dist/test/support, sources in test/support. */
export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..')
