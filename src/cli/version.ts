import { readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder of this checkout or package: what is compiled lies in `dist/src/cli` of it. */
export const packageRoot = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..')

export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string }
  return version
}

/** How to type the name of this program in the folder that it was started in, so that it finds the same home. */
export function programHere(home: string): string {
  const where = home === resolve('.countersign') ? '' : `COUNTERSIGN_HOME=${quoted(home)} `
  const here = resolve(packageRoot) === process.cwd()
  return `${where}${here ? 'npx .' : `node ${quoted(join(packageRoot, 'bin', 'countersign.mjs'))}`}`
}

/** A word as a shell takes it. */
export function quoted(word: string): string {
  return /^[\w./:@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
