import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { passedOn } from '../config.js'
import { EXIT, leaf, type Cli, type ExitCode, type Frame } from './cli.js'
import { runDemo } from './demo.js'
import { missingBackup, untilAborted, withService, type Running } from './serve.js'
import { storyOn, type Story } from './story.js'
import { counted, shortPath } from './terminal.js'
import { packageVersion, programHere } from './version.js'
import { runWorkflows, type TemporalPlace, type Workflows } from './worker.js'

interface UpOptions {
  demo?: boolean
  once?: boolean
}

export function upCommand(frame: Frame): void {
  leaf(frame, frame.program, {
    usage: 'up',
    what: 'start everything on this machine: PostgreSQL, the schema, the API, Temporal and a worker',
    more: `With --demo it also makes a tenant "demo" with tokens, imports this checkout's own git history (or the sample that
comes with it), verifies the log and writes an audit-trail report: what npm start does. Again it imports only what is new.
The API does not wait for Temporal: "doctor" says where that comes from. With --once none is started.`,
    examples: ['up', 'up --demo', 'up --demo --once'],
    options: (command) =>
      command
        .option('--demo', 'fill a tenant "demo", verify it and report on it')
        .option('--once', 'end when all is done instead of staying up'),
    run: up,
  })
}

async function up(cli: Cli, { demo = false, once = false }: UpOptions): Promise<ExitCode> {
  const story = storyOn(cli)
  story.title(`Countersign ${packageVersion()}`)
  let code: ExitCode = EXIT.ok
  let workflows: Workflows | undefined
  const state = () => workflows?.state ?? 'waiting'
  const anyPort = Object.keys(passedOn(['COUNTERSIGN_HTTP_PORT'])).length === 0
  const work = async (running: Running) => {
    const began = await tellStart(running)
    story.line('PostgreSQL', began.postgres)
    story.line('Schema', began.schema)
    const usual = running.host.config.httpPort
    const moved = anyPort && running.port !== usual ? [`on a free port, because ${usual} is taken`] : []
    const log = `log in ${shortPath(join(running.host.config.home, LOG_FILE))}`
    story.line('API', `${running.url}, docs at ${running.url}/docs`, ...moved, log)
    if (!once && running.host.config.workflows === 'on') {
      workflows = runWorkflows(running.host, {
        log: running.log,
        say: (line) => cli.note(line),
        warn: (line) => cli.warn(line),
      })
      await tellTemporal(story, workflows)
    }
    const missing = await missingBackup(running.host)
    const summary = demo ? await runDemo(cli, story, running, { stays: !once }) : undefined
    if (summary !== undefined && summary.findings > 0) code = EXIT.finding
    if (missing !== undefined) {
      const advice = `copy it to a safe place: ${programHere(running.host.config.home)} keys backup <folder>/`
      if (cli.json) cli.warn(`${missing}; ${advice}`)
      story.blank()
      story.warning(missing, advice)
    }
    cli.result({ url: running.url, docs: `${running.url}/docs`, ...summary?.answer }, () => {
      const stays = once ? '' : ' Ctrl-C ends it.'
      return `\n${cli.paint.out.green('Ready')} at ${running.url}, docs at ${running.url}/docs.${stays}\n`
    })
    if (once) return
    await untilAborted(cli.signal)
    cli.note('Ending …')
  }
  await withService(cli, { migrate: true, logFile: LOG_FILE, anyPort, workflows: state }, async (running) => {
    try {
      await work(running)
    } finally {
      await workflows?.close()
    }
  })
  return code
}

/** A Temporal of somebody else's may not answer. */
const STATE = '"workflows" of /readyz says whether a worker is connected'
/** So long the story waits for Temporal before it goes on without. */
const TEMPORAL_SOON_MS = 3_000

/** Says where Temporal is: now, where it is soon found, else when it is. */
async function tellTemporal(story: Story, workflows: Workflows): Promise<void> {
  const line = ({ what, uiUrl, target }: TemporalPlace) =>
    story.line('Temporal', what, uiUrl === undefined ? STATE : `${uiUrl}/namespaces/${target.namespace}/workflows`)
  const told = workflows.found.then(line)
  const timer = new AbortController()
  const soon = sleep(TEMPORAL_SOON_MS, 'later' as const, { signal: timer.signal }).catch(() => undefined)
  if ((await Promise.race([told, soon])) === 'later') {
    story.line('Temporal', 'on its way; the API works meanwhile, and workflows wait')
  }
  timer.abort()
}

/** Requests are logged here: the terminal is for what this command did. */
const LOG_FILE = 'api.log'

async function tellStart({ host, provided }: Running): Promise<{ postgres: string; schema: string }> {
  const client = host.database.client('operator')
  try {
    await client.connect()
    const { rows } = await client.query<{ version: string }>(`select current_setting('server_version') as version`)
    const { host: name, port, database } = host.database.address
    const where = provided.embedded
      ? `embedded, data in ${shortPath(host.config.home)}`
      : `${name ?? ''}:${port ?? ''}/${database}`
    const ran = host.migrations.length
    return {
      postgres: `${rows[0]?.version ?? ''}, ${where}`,
      schema: ran === 0 ? 'up to date' : `${counted(ran, 'migration')} ran`,
    }
  } finally {
    await client.end()
  }
}
