import type { Cli } from './cli.js'

/** A command's account of what it does, line by line as it happens; silent with --json. */
export interface Story {
  title(text: string): void
  /** Lines under a name. */
  line(name: string, ...lines: string[]): void
  blank(): void
}

const NAME_WIDTH = 14

export function storyOn({ out, paint, json }: Cli): Story {
  const say = (text: string) => {
    if (!json) out.write(`${text}\n`)
  }
  return {
    title: (text) => say(`${paint.out.bold(text)}\n`),
    line: (name, ...lines) =>
      lines.forEach((line, n) => say(`  ${paint.out.dim((n === 0 ? name : '').padEnd(NAME_WIDTH))}${line}`)),
    blank: () => say(''),
  }
}
