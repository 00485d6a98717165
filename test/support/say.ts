import { writeSync } from 'node:fs'

/** One line of a test's own in the output of the run: what it counted. */
export function say(line: string): void {
  writeSync(1, `  · ${line}\n`)
}
