import { Command, CommanderError } from 'commander'
import { appendCommand } from './append.js'
import { changeCommands } from './change.js'
import { createCli, EXIT, exitCodeOf, usageError, writeError, type ExitCode, type Frame, type Run } from './cli.js'
import { dispatchCommands } from './dispatch.js'
import { doctorCommand } from './doctor.js'
import { exportCommand } from './export.js'
import { importCommands } from './import.js'
import { keysCommands } from './keys.js'
import { logCommands } from './log.js'
import { migrateCommand } from './migrate.js'
import { indexCommands } from './reindex.js'
import { principalCommands } from './principal.js'
import { policyCommands } from './policy.js'
import { reportCommands } from './report.js'
import { roleCommands } from './role.js'
import { scheduleCommands } from './schedule.js'
import { serveCommand } from './serve.js'
import { settingCommands } from './setting.js'
import { signingKeyCommands } from './signing-key.js'
import { subjectCommands } from './subject.js'
import { tenantCommands } from './tenant.js'
import { tokenCommands } from './token.js'
import { upCommand } from './up.js'
import { verifyCommand } from './verify.js'
import { packageVersion } from './version.js'
import { webhookCommands } from './webhook.js'
import { workerCommand } from './worker.js'

/** Runs the command line. @returns the exit code, once everything is closed and written */
export async function main(words: readonly string[]): Promise<ExitCode> {
  const { stdout, stderr } = process
  const json = words.includes('--json')
  const stop = new AbortController()
  const reader = { gone: false }
  const unhook = onInterrupt(stop, reader)
  let code: ExitCode = EXIT.ok
  const program = new Command('countersign')
  const frame: Frame = {
    program,
    run: <O>(command: Command, run: Run<O>) =>
      command.action(async (...all: unknown[]) => {
        // Commander hands over the arguments, one or a list each, then the options, then the command.
        const given = all
          .slice(0, -2)
          .flat()
          .filter((word) => typeof word === 'string')
        const cli = createCli(stdout, stderr, json, stop.signal)
        // What its options are, each command knows from how it declared them.
        code = (await run(cli, command.opts<O & object>(), ...given)) ?? EXIT.ok
      }),
  }
  describe(frame)
  try {
    await program.parseAsync(words, { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT.ok
      if (error.code !== 'commander.help') {
        writeError(stdout, stderr, json, usageError(error.message.replace(/^error: /, '')))
      }
      return EXIT.usage
    }
    if (stop.signal.aborted && isAbort(error)) return reader.gone ? EXIT.ok : EXIT.interrupted
    writeError(stdout, stderr, json, error)
    return exitCodeOf(error)
  } finally {
    unhook()
  }
  return code
}

function describe(frame: Frame): void {
  const { program } = frame
  program
    .description('An append-only, hash-chained event store that anybody can verify, and the compliance work around it.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show this help')
    .helpCommand('help [command]', 'show the help of a command')
    .exitOverride()
    .showSuggestionAfterError()
    .configureOutput({
      writeOut: (text) => process.stdout.write(text),
      writeErr: (text) => process.stderr.write(text),
      // Errors are written in one place, in one form.
      outputError: () => {},
    })
    .configureHelp({ showGlobalOptions: false })
  upCommand(frame)
  serveCommand(frame)
  workerCommand(frame)
  migrateCommand(frame)
  doctorCommand(frame)
  tenantCommands(frame)
  tokenCommands(frame)
  roleCommands(frame)
  principalCommands(frame)
  changeCommands(frame)
  policyCommands(frame)
  importCommands(frame)
  appendCommand(frame)
  logCommands(frame)
  verifyCommand(frame)
  subjectCommands(frame)
  reportCommands(frame)
  scheduleCommands(frame)
  settingCommands(frame)
  exportCommand(frame)
  keysCommands(frame)
  signingKeyCommands(frame)
  webhookCommands(frame)
  indexCommands(frame)
  dispatchCommands(frame)
  program.addHelpText('after', HELP)
}

const HELP = `
Every command takes --json and --help, which shows examples. Answers go to standard output, progress and errors to
standard error. Exit codes: 0 ok, 1 finding, 2 usage, 3 could not run.

Data lies in .countersign of the working folder or in COUNTERSIGN_HOME; DATABASE_URL replaces the embedded PostgreSQL.`

/** npm passes a Ctrl-C on to what it runs, which the terminal has told already: so close together they are one. */
const ONE_CTRL_C_MS = 500

/** The first Ctrl-C or SIGTERM asks to end in good order, the second ends at once. */
function onInterrupt(stop: AbortController, reader: { gone: boolean }): () => void {
  let firstAt = Number.NaN
  const handle = () => {
    const now = performance.now()
    if (!stop.signal.aborted) {
      firstAt = now
      stop.abort()
    } else if (!(now - firstAt < ONE_CTRL_C_MS)) process.exit(EXIT.interrupted)
  }
  // Whoever reads our answers may have seen enough, as `head` does: nothing is wrong with that.
  const broken = (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    reader.gone = true
    stop.abort()
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, handle)
  process.stdout.on('error', broken)
  return () => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, handle)
  }
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError'
}
