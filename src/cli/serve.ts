import { createWriteStream, renameSync, statSync, type WriteStream } from 'node:fs'
import { join } from 'node:path'
import { once } from 'node:events'
import { readConfig, type Config } from '../config.js'
import { announceApi, readRunFile, runningApi, withdrawApi, type ProvidedDatabase } from '../embedded/home.js'
import { runningTemporal } from '../embedded/temporal-home.js'
import { DomainError } from '../errors.js'
import type { Log } from '../log.js'
import { keysNotBackedUp } from '../keyring/backup.js'
import type { Service } from '../main.js'
import type { WorkflowsState } from '../temporal/state.js'
import { taskQueueOf } from '../../workflows/messages.js'
import { leaf, type Cli, type Frame } from './cli.js'
import { openHost, provide, type Host } from './host.js'
import { counted, shortPath } from './terminal.js'

export function serveCommand(frame: Frame): void {
  leaf(frame, frame.program, {
    usage: 'serve',
    what: 'run the API until it is told to end',
    more: `The database has to be migrated; the embedded one is. Log lines, one JSON object each, go to standard error.
Ctrl-C or SIGTERM ends it in good order, a second one at once.`,
    examples: ['serve', 'serve --json'],
    run: serve,
  })
}

async function serve(cli: Cli): Promise<void> {
  await withService(cli, {}, async ({ url, host }) => {
    const missing = await missingBackup(host)
    if (missing !== undefined) cli.warn(`${missing}; copy it to a safe place: countersign keys backup <folder>/`)
    cli.result({ url, docs: `${url}/docs`, pid: process.pid }, () => `Ready at ${url}, described at ${url}/docs\n`)
    await untilAborted(cli.signal)
  })
}

export interface ServiceOptions {
  /** Migrates first, whatever the database. */
  readonly migrate?: boolean
  /** Log lines go to this file of the home folder instead of standard error. */
  readonly logFile?: string
  /** Whether workflows move, where this process knows it; else Temporal is asked. */
  readonly workflows?: () => WorkflowsState
  /** Takes a free port where the usual one is taken and no other was asked for. */
  readonly anyPort?: boolean
}

export interface Running {
  readonly url: string
  /** The one that is really listened on. */
  readonly port: number
  readonly host: Host
  readonly provided: ProvidedDatabase
  /** The API's own. */
  readonly log: Log
}

/** Runs the API around `work`, on a database that lasts as long; ends in good order however `work` ends. */
export async function withService(
  cli: Cli,
  { migrate = false, ...options }: ServiceOptions,
  work: (running: Running) => Promise<void>,
): Promise<void> {
  const config = readConfig()
  const provided = await provide(config, cli, { lasting: true })
  try {
    const refuseSecond = (other: string | undefined) => {
      if (other !== undefined) throw runsAlready(other, readRunFile(config.home)?.pid)
    }
    if (provided.embedded) refuseSecond(await runningApi(config.home))
    const host = await openHost(config, provided, { migrate })
    try {
      await runService(config, host, options, async (service) => {
        if (provided.embedded) refuseSecond(await announceApi(config.home, service.url))
        try {
          const { app } = service.server
          const port = Number(new URL(service.url).port)
          await work({ url: config.publicUrl ?? service.url, port, host, provided, log: app.log })
        } finally {
          if (provided.embedded) await withdrawApi(config.home, service.url)
        }
      })
    } finally {
      await host.close()
    }
  } finally {
    await provided.close()
  }
}

async function runService(
  config: Config,
  { provided, installation }: Host,
  { logFile, anyPort = false, workflows }: Omit<ServiceOptions, 'migrate'>,
  work: (service: Service) => Promise<void>,
): Promise<void> {
  const log = logFile === undefined ? undefined : openLog(join(config.home, logFile))
  const watch =
    workflows === undefined && config.workflows === 'on' ? await watchFor(config, installation.id) : undefined
  try {
    if (log) await once(log, 'open')
    // Loaded here, because no other command should wait for it.
    const { startService } = await import('../main.js')
    const logStream = log === undefined ? {} : { logStream: log }
    const startOn = (httpPort: number) =>
      startService(
        { ...config, httpPort },
        {
          databaseUrl: provided.url,
          installation,
          workflows: workflows ?? (() => watch?.state ?? 'waiting'),
          ...logStream,
        },
      )
    const service = await startOn(config.httpPort).catch((error: unknown) => {
      if (!isPortTaken(error)) throw error
      if (!anyPort) throw error
      return startOn(0)
    })
    try {
      await work(service)
    } finally {
      await service.close()
    }
  } finally {
    await watch?.close()
    log?.end()
  }
}

/** Loaded here, because no other command should wait for Temporal's client. */
async function watchFor(config: Config, installation: string) {
  const { configuredTemporal } = await import('../temporal/target.js')
  const { watchWorkflows } = await import('../temporal/watch.js')
  const configured = configuredTemporal(config)
  return watchWorkflows(() => configured ?? runningTemporal(config.home), taskQueueOf(installation))
}

const LOG_LIMIT_BYTES = 10 * 1024 * 1024

/** Goes on with the log of earlier starts; a large one is put aside once. */
function openLog(path: string): WriteStream {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > LOG_LIMIT_BYTES) renameSync(path, `${path}.1`)
  return createWriteStream(path, { flags: 'a', mode: 0o600 })
}

function isPortTaken(error: unknown): boolean {
  return error instanceof DomainError && error.code === 'PORT_IN_USE'
}

function runsAlready(apiUrl: string, pid: number | undefined): DomainError {
  const message = `the API of this home runs already, at ${apiUrl} (process ${pid ?? '?'}): use it, or end it first`
  return new DomainError('PORT_IN_USE', message)
}

/** What to say at every start until it is done: a lost key file cannot be made again. */
export async function missingBackup({ database, config }: Host): Promise<string | undefined> {
  const { keyIds, signingKeyIds } = await keysNotBackedUp(database, config.signingKeysDir)
  if (keyIds.length === 0) {
    if (signingKeyIds.length === 0) return undefined
    return `${counted(signingKeyIds.length, 'signing key')} made since the last backup: without them nothing is signed until they are rotated`
  }
  return `the key file ${shortPath(config.keyFile)} has not been backed up: without it no personal data can be read again`
}

/** Resolves with the first Ctrl-C or SIGTERM. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
