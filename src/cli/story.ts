import type { Cli } from './cli.js'
import type { Paint } from './terminal.js'

/** A command's account of what it does, line by line as it happens; silent with --json. */
export interface Story {
  title(text: string): void
  /** Lines under a name. */
  line(name: string, ...lines: string[]): void
  warning(...lines: string[]): void
  blank(): void
}

const NAME_WIDTH = 14

export function storyOn({ out, paint, json }: Cli): Story {
  const say = (text: string) => {
    if (!json) out.write(`${text}\n`)
  }
  const under = (name: string, shown: Paint, lines: readonly string[]) =>
    // Padded first: what colours is no part of the width.
    lines.forEach((line, n) => say(`  ${shown((n === 0 ? name : '').padEnd(NAME_WIDTH))}${line}`))
  return {
    title: (text) => say(`${paint.out.bold(text)}\n`),
    line: (name, ...lines) => under(name, paint.out.dim, lines),
    warning: (...lines) => under('Warning', paint.out.yellow, lines),
    blank: () => say(''),
  }
}
