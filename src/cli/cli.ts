import { InvalidArgumentError, type Command } from 'commander'
import { DomainError, messageOf } from '../errors.js'
import { paletteFor, printable, type Palette, type Stream } from './terminal.js'

/** What a command's end tells the shell. */
export const EXIT = { ok: 0, finding: 1, usage: 2, couldNotRun: 3, interrupted: 130 } as const
export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

/** What every command is given: where to write, and when to stop. */
export interface Cli {
  readonly out: Stream
  readonly err: Stream
  /** Colours of each of the two. */
  readonly paint: { readonly out: Palette; readonly err: Palette }
  /** One JSON document on standard output, and nothing else there. */
  readonly json: boolean
  /** Aborted by the first Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal
  /** The answer: as JSON with --json, else as text. */
  result(value: unknown, text: () => string): void
  /** Something to know on the way; nothing with --json. */
  note(line: string): void
  warn(line: string): void
}

export function createCli(out: Stream, err: Stream, json: boolean, signal: AbortSignal): Cli {
  const paint = { out: paletteFor(out), err: paletteFor(err) }
  return {
    out,
    err,
    paint,
    json,
    signal,
    result: (value, text) => {
      out.write(json ? `${JSON.stringify(value)}\n` : text())
    },
    note: (line) => {
      if (!json) err.write(`${paint.err.dim(line)}\n`)
    },
    warn: (line) => {
      err.write(`${paint.err.yellow('warning')} ${line}\n`)
    },
  }
}

/** Runs with its options and arguments. Without an answer of its own it ended well. */
export type Run<O> = (cli: Cli, options: O, ...words: string[]) => Promise<ExitCode | void>

/** How `main` hands itself to the commands: what they ran to is its exit code. */
export interface Frame {
  readonly program: Command
  run<O>(command: Command, run: Run<O>): Command
}

export interface Leaf<O> {
  /** `create <id>` */
  usage: string
  what: string
  /** Said below the options: what is worth knowing beyond one line. */
  more?: string
  /** Lines to paste; each begins with a word of the command behind `countersign`. */
  examples: readonly string[]
  options?: (command: Command) => Command
  run: Run<O>
}

/** Adds one command that does something; each has --json and examples. */
export function leaf<O>(frame: Frame, parent: Command, { usage, what, more, examples, options, run }: Leaf<O>): void {
  const command = parent.command(usage).description(what)
  options?.(command)
  command.option('--json', 'print the answer as JSON on standard output')
  const shown = examples.map((example) => `  $ countersign ${example}`).join('\n')
  command.addHelpText('after', `${more === undefined ? '' : `\n${more}\n`}\nExamples:\n${shown}`)
  frame.run(command, run)
}

/** Reads a whole number of an option. */
export function wholeNumber(least: number, most: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
    if (value >= least && value <= most) return value
    throw new InvalidArgumentError(
      most === Number.MAX_SAFE_INTEGER
        ? `It must be a whole number, ${least} or more.`
        : `It must be a whole number from ${least} to ${most}.`,
    )
  }
}

/** What the command line asks for and cannot be: exit code 2. */
export function usageError(message: string): DomainError {
  return new DomainError('USAGE', message)
}

/** Failures that lie in the surroundings, not in what was asked: exit code 3. */
const SURROUNDINGS =
  /^(API_UNREACHABLE|CONFIG_INVALID|DATABASE_|POSTGRES_|TEMPORAL_|KEY_|STORE_UNAVAILABLE|OUTCOME_UNKNOWN|QUEUE_FULL|SHUTTING_DOWN|CLOCK_AHEAD|HOME_BUSY|LOCK_HELD|GIT_NOT_FOUND|GIT_FAILED|INDEX_BEHIND|PORT_|FILE_|DECRYPTION_FAILED|SIGNING_KEY_)/

export function exitCodeOf(error: unknown): ExitCode {
  return error instanceof DomainError && !SURROUNDINGS.test(error.code) ? EXIT.usage : EXIT.couldNotRun
}

/** Writes an error: `error CODE: message (/pointer)` to standard error, and with --json as a document too. */
export function writeError(out: Stream, err: Stream, json: boolean, error: unknown): void {
  const known = error instanceof DomainError ? error : undefined
  const code = known?.code ?? 'INTERNAL'
  const message = messageOf(error)
  const pointer = known?.pointer
  const where = [
    ...(known?.index === undefined ? [] : [`event ${known.index}`]),
    ...(pointer === undefined || pointer === '' ? [] : [pointer]),
  ]
  const at = where.length === 0 ? '' : ` (${where.join(', ')})`
  const paint = paletteFor(err)
  err.write(`${paint.red('error')} ${paint.bold(code)}: ${indented(message)}${printable(at)}\n`)
  if (known === undefined && error instanceof Error && error.stack !== undefined) {
    err.write(`${paint.dim(error.stack.split('\n').slice(1, 6).join('\n'))}\n`)
  }
  if (json) {
    const document = {
      code,
      message,
      ...(pointer === undefined ? {} : { pointer }),
      ...(known?.index === undefined ? {} : { index: known.index }),
    }
    out.write(`${JSON.stringify({ error: document })}\n`)
  }
}

/** A message may quote what came from outside; its own line feeds stay. */
function indented(message: string): string {
  return message.split('\n').map(printable).join('\n  ')
}
