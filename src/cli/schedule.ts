import { InvalidArgumentError, Option } from 'commander'
import { reportKindNames } from '../../reports/report-kind.js'
import { scheduledReports } from '../../reports/scheduled.js'
import { parseStrict } from '../ledger/gate.js'
import type { Json } from '../ledger/event.js'
import { instantMs, timeFault } from '../ledger/rfc3339.js'
import { host as hostPrincipal } from '../principal.js'
import { pauseSchedule, removeSchedule, requestRuns, setSchedule } from '../schedules/commands.js'
import { PERIODS, type Period } from '../schedules/period.js'
import type { RunState } from '../schedules/run.js'
import { VERIFICATION } from '../schedules/schedule.js'
import { findSchedule, listSchedules, runsOf, type ScheduleView } from '../schedules/views.js'
import { directly, OVERRIDE } from './approvals.js'
import { leaf, usageError, wholeNumber, type Cli, type Frame } from './cli.js'
import { tenantOf, withHost, type Host } from './host.js'
import { fields, printable, table } from './terminal.js'

const TENANT = ['-t, --tenant <id>', 'the tenant; may be left out where there is only one'] as const
const PROTECTED = `Once approvals are enforced, switching the verification off or saying whom it tells takes a change that two people
approve: countersign change request verification.set.`

export function scheduleCommands(frame: Frame): void {
  const schedule = frame.program.command('schedule').description('have reports made, and logs verified, at set times')
  leaf(frame, schedule, {
    usage: 'set <id>',
    what: 'set a schedule, all of it: a report of the last whole period, again and again',
    more: `Days are those of the time zone. The schedule "verification", which every tenant has, takes --recipient only. ${PROTECTED}`,
    examples: [
      'schedule set monthly --tenant acme --report audit-trail --period month --cron "30 6 1 * *" --zone Europe/Berlin',
      'schedule set weekly --tenant acme --period week --cron "0 7 * * mon" --parameters \'{"formats":["csv"]}\' --recipient auditors',
      'schedule set verification --tenant acme --recipient operations',
    ],
    options: (command) =>
      command
        .option(...TENANT)
        .addOption(new Option('--report <kind>', 'which report').choices(reportKindNames))
        .addOption(new Option('--period <period>', 'of which the last whole one is reported').choices(PERIODS))
        .option('--cron <fields>', 'when: minute, hour, day of the month, month, day of the week')
        .option('--zone <name>', 'time zone')
        .option('--parameters <json>', 'what the report takes: {"by", "filter", "formats"}', parameters)
        .option('--recipient <webhook...>', 'webhooks that are told how a run ended')
        .option(...OVERRIDE),
    run: setOne,
  })
  leaf(frame, schedule, {
    usage: 'list',
    what: 'list the schedules of a tenant, and when each is due next',
    examples: ['schedule list --tenant acme'],
    options: (command) => command.option(...TENANT),
    run: list,
  })
  leaf(frame, schedule, {
    usage: 'show <id>',
    what: 'show a schedule and its latest runs',
    examples: ['schedule show monthly --tenant acme', 'schedule show verification --tenant acme --limit 30'],
    options: (command) =>
      command.option(...TENANT).option('--limit <count>', 'how many runs', wholeNumber(1, 1000), 10),
    run: show,
  })
  leaf(frame, schedule, {
    usage: 'remove <id>',
    what: 'remove a schedule; its runs stay on record',
    examples: ['schedule remove weekly --tenant acme'],
    options: (command) => command.option(...TENANT),
    run: remove,
  })
  for (const [name, paused, what] of [
    ['pause', true, 'let a schedule rest: what is due meanwhile is not made up for'],
    ['resume', false, 'let a schedule go on'],
  ] as const) {
    leaf(frame, schedule, {
      usage: `${name} <id>`,
      what,
      more: PROTECTED,
      examples: [`schedule ${name} monthly --tenant acme`, `schedule ${name} verification --tenant acme`],
      options: (command) => command.option(...TENANT).option(...OVERRIDE),
      run: (cli: Cli, options: PauseOptions, id = '') => pause(cli, options, id, paused),
    })
  }
  leaf(frame, schedule, {
    usage: 'run <id>',
    what: 'ask for a run now, or for each that was due in a period',
    more: 'What is on record already is not made again. A worker makes the runs: "up" and "worker" have one.',
    examples: [
      'schedule run monthly --tenant acme',
      'schedule run verification --tenant acme',
      'schedule run weekly --tenant acme --from 2026-09-01T00:00:00Z --to 2026-10-01T00:00:00Z',
    ],
    options: (command) =>
      command
        .option(...TENANT)
        .option('--from <when>', 'first instant of the period: RFC 3339', instant)
        .option('--to <when>', 'first instant after it', instant),
    run,
  })
}

function parameters(text: string): Record<string, Json> {
  const value = parseStrict(Buffer.from(text)) as Json
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  throw new InvalidArgumentError('It must be a JSON object.')
}

function instant(text: string): number {
  const fault = timeFault(text)
  if (fault === undefined) return instantMs(text)
  throw new InvalidArgumentError(`It ${fault}.`)
}

interface PauseOptions {
  tenant?: string
  override?: string
}

interface SetOptions extends PauseOptions {
  report?: string
  period?: Period
  cron?: string
  zone?: string
  parameters?: Record<string, Json>
  recipient?: string[]
}

async function setOne(cli: Cli, options: SetOptions, id = ''): Promise<void> {
  const { report = 'audit-trail', period, cron, zone, parameters: given, recipient = [] } = options
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    if (id === VERIFICATION) {
      if (options.report ?? period ?? cron ?? zone ?? given) throw usageError(`${id} takes --recipient only`)
      const { paused } = await findSchedule(viewsOf(host), tenant, id)
      await directly(host, tenant, 'verification.set', { enabled: !paused, recipients: recipient }, options)
    } else {
      if (period === undefined || cron === undefined) throw usageError('say --period and --cron')
      const input = {
        kind: 'report' as const,
        report,
        period,
        cron,
        ...(zone !== undefined && { timeZone: zone }),
        ...(given !== undefined && { parameters: given }),
        recipients: recipient,
        paused: await isPaused(host, tenant, id),
      }
      const reports = new Map([...scheduledReports].map(([name, { check }]) => [name, check]))
      await setSchedule({ database: host.database, reports }, hostPrincipal(tenant), id, input)
    }
    await answer(cli, host, tenant, id)
  })
}

/** Setting anew leaves a paused schedule paused. */
async function isPaused(host: Host, tenant: string, id: string): Promise<boolean> {
  return (await listSchedules(viewsOf(host), tenant)).some((schedule) => schedule.id === id && schedule.paused)
}

async function list(cli: Cli, options: { tenant?: string }): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const schedules = await listSchedules(viewsOf(host), tenant)
    cli.result({ tenant, schedules }, () =>
      table(
        ['id', 'what', 'when', 'next', 'tells'].map((head) => ({ head })),
        schedules.map((schedule) => [
          schedule.id,
          whatOf(schedule),
          printable(whenOf(schedule)),
          schedule.paused ? 'paused' : (schedule.next[0] ?? ''),
          schedule.recipients.join(' '),
        ]),
        cli.paint.out,
      ),
    )
  })
}

async function show(cli: Cli, options: { tenant?: string; limit: number }, id = ''): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const schedule = await findSchedule(viewsOf(host), tenant, id)
    const runs = await runsOf(host, tenant, id, { limit: options.limit })
    cli.result(
      { tenant, ...schedule, runs },
      () => describe(cli, schedule) + (runs.length > 0 ? runTable(cli, runs) : ''),
    )
  })
}

async function remove(cli: Cli, options: { tenant?: string }, id = ''): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    await removeSchedule(host.database, hostPrincipal(tenant), id)
    cli.result({ tenant, id, removed: true }, () => `removed the schedule ${id}\n`)
  })
}

async function pause(cli: Cli, options: PauseOptions, id: string, paused: boolean): Promise<void> {
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    if (id === VERIFICATION) await directly(host, tenant, 'verification.set', { enabled: !paused }, options)
    else await pauseSchedule(host.database, hostPrincipal(tenant), id, paused)
    await answer(cli, host, tenant, id)
  })
}

async function run(cli: Cli, options: { tenant?: string; from?: number; to?: number }, id = ''): Promise<void> {
  const { from, to } = options
  if ((from === undefined) !== (to === undefined)) throw usageError('a period has both --from and --to')
  await withHost(cli, async (host) => {
    const tenant = await tenantOf(host, options.tenant)
    const period = from === undefined || to === undefined ? undefined : { fromMs: from, toMs: to }
    const runs = await requestRuns(host.database, hostPrincipal(tenant), id, period)
    cli.result({ tenant, runs }, () => (runs.length > 0 ? runTable(cli, runs) : 'nothing was due in that period\n'))
  })
}

const viewsOf = ({ database, config: { verificationHour } }: Host) => ({ database, verificationHour })

async function answer(cli: Cli, host: Host, tenant: string, id: string): Promise<void> {
  const schedule = await findSchedule(viewsOf(host), tenant, id)
  cli.result({ tenant, ...schedule }, () => describe(cli, schedule))
}

function describe(cli: Cli, schedule: ScheduleView): string {
  return fields(
    [
      ['id', schedule.id],
      ['what', whatOf(schedule)],
      ['when', printable(whenOf(schedule))],
      ['next', schedule.paused ? 'paused' : schedule.next.join(', ')],
      ['tells', schedule.recipients.length > 0 ? schedule.recipients.join(' ') : 'nobody'],
    ],
    cli.paint.out,
  )
}

function whatOf(schedule: ScheduleView): string {
  return schedule.kind === 'report' ? `${schedule.report} of the last ${schedule.period}` : 'verification of all logs'
}

function whenOf({ timeZone, ...schedule }: ScheduleView): string {
  const calendar = 'calendar' in schedule ? schedule.calendar : undefined
  return `${schedule.cron ?? JSON.stringify(calendar)} ${timeZone}`
}

function runTable(cli: Cli, runs: readonly RunState[]): string {
  return table(
    ['due', 'state', 'period', 'result'].map((head) => ({ head })),
    runs.map(({ scheduledAt, status, order, result, code }) => [
      scheduledAt,
      status,
      order ? `${order.period.from} to ${order.period.to}` : '',
      code ?? resultOf(result),
    ]),
    cli.paint.out,
  )
}

function resultOf(result: RunState['result']): string {
  if (result === undefined) return ''
  const { report, findings } = result
  if (typeof report === 'string') return `report ${report}`
  return typeof findings === 'number' ? `${findings} findings` : ''
}
