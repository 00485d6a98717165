import { join } from 'node:path'
import { passedOn } from '../config.js'
import { EXIT, leaf, type Cli, type ExitCode, type Frame } from './cli.js'
import { runDemo } from './demo.js'
import { missingBackup, untilAborted, withService, type Running } from './serve.js'
import { storyOn } from './story.js'
import { counted, shortPath } from './terminal.js'
import { packageVersion, programHere } from './version.js'

interface UpOptions {
  demo?: boolean
  once?: boolean
}

export function upCommand(frame: Frame): void {
  leaf(frame, frame.program, {
    usage: 'up',
    what: 'start everything on this machine: PostgreSQL, the schema, the API',
    more: `With --demo it also makes a tenant "demo" with tokens, imports this checkout's own git history (or the sample that
comes with it), verifies the log and writes an audit-trail report: what npm start does. Again it imports only what is new.`,
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
  const anyPort = Object.keys(passedOn(['COUNTERSIGN_HTTP_PORT'])).length === 0
  await withService(cli, { migrate: true, logFile: LOG_FILE, anyPort }, async (running) => {
    const began = await tellStart(running)
    story.line('PostgreSQL', began.postgres)
    story.line('Schema', began.schema)
    const usual = running.host.config.httpPort
    const moved = anyPort && running.port !== usual ? [`on a free port, because ${usual} is taken`] : []
    const log = `log in ${shortPath(join(running.host.config.home, LOG_FILE))}`
    story.line('API', `${running.url}, docs at ${running.url}/docs`, ...moved, log)
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
  })
  return code
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
