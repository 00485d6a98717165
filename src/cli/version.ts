import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder of this checkout or package: what is compiled lies in `dist/src/cli` of it. */
export const packageRoot = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..')

export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string }
  return version
}
