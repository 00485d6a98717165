import { leaf, EXIT, type Cli, type ExitCode, type Frame } from './cli.js'
import { checkDatabase } from './doctor-database.js'
import { checkMachine } from './doctor-machine.js'

/** One thing looked at. */
export interface Check {
  /** Stable, for scripts: `node`, `packages`, `database`, … */
  readonly id: string
  readonly status: 'ok' | 'warn' | 'fail'
  readonly found: string
  /** How to get or mend it, where something is to be done. */
  readonly advice?: string
}

export function doctorCommand(frame: Frame): void {
  leaf(frame, frame.program, {
    usage: 'doctor',
    what: 'look at everything this needs: what is missing, and how to get it',
    more: `Changes nothing, except that it starts the embedded PostgreSQL for a moment where it has data and does not run.
Ends with 1 when something fails; warnings alone end with 0.`,
    examples: ['doctor', 'doctor --json'],
    run: doctor,
  })
}

async function doctor(cli: Cli): Promise<ExitCode> {
  const { paint } = cli
  const checks: Check[] = []
  const show = (check: Check) => {
    checks.push(check)
    if (!cli.json) cli.out.write(line(check))
  }
  const marks = { ok: paint.out.green('ok  '), warn: paint.out.yellow('warn'), fail: paint.out.red('fail') }
  const line = ({ id, status, found, advice }: Check) =>
    `${marks[status]}  ${id.padEnd(12)}  ${found}\n${advice === undefined ? '' : `${' '.repeat(20)}${paint.out.cyan(advice)}\n`}`
  await checkMachine(show)
  await checkDatabase(show, cli)
  const count = (status: Check['status']) => checks.filter((check) => check.status === status).length
  const failures = count('fail')
  const warnings = count('warn')
  cli.result({ ok: failures === 0, failures, warnings, checks }, () =>
    failures + warnings === 0 ? '\nEverything is there.\n' : `\n${failures} to mend, ${warnings} to know.\n`,
  )
  return failures > 0 ? EXIT.finding : EXIT.ok
}
