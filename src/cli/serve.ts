import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { once } from 'node:events'
import { readConfig, type Config } from '../config.js'
import { announceApi, readRunFile, type ProvidedDatabase } from '../embedded/home.js'
import { DomainError } from '../errors.js'
import { keysNotBackedUp } from '../keyring/backup.js'
import type { Service } from '../main.js'
import { leaf, type Cli, type Frame } from './cli.js'
import { openHost, provide, type Host } from './host.js'
import { shortPath } from './terminal.js'

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
    if (missing !== undefined) cli.warn(`${missing}; copy it to a safe place: countersign keys backup <folder>`)
    cli.result({ url, docs: `${url}/docs`, pid: process.pid }, () => `Ready at ${url}, described at ${url}/docs\n`)
    await untilAborted(cli.signal)
  })
}

export interface ServiceOptions {
  /** Migrates first, whatever the database. */
  readonly migrate?: boolean
  /** Log lines go to this file of the home folder instead of standard error. */
  readonly logFile?: string
}

export interface Running {
  readonly url: string
  readonly host: Host
  readonly provided: ProvidedDatabase
}

/** Runs the API around `work`, on a database that lasts as long; ends in good order however `work` ends. */
export async function withService(
  cli: Cli,
  { migrate = false, logFile }: ServiceOptions,
  work: (running: Running) => Promise<void>,
): Promise<void> {
  const config = readConfig()
  const provided = await provide(config, cli, { lasting: true })
  try {
    const host = await openHost(config, provided, { migrate })
    try {
      await runService(config, host, logFile, async (service) => {
        if (provided.embedded) await announceApi(config.home, service.url)
        try {
          await work({ url: config.publicUrl ?? service.url, host, provided })
        } finally {
          if (provided.embedded) await announceApi(config.home, undefined)
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
  logFile: string | undefined,
  work: (service: Service) => Promise<void>,
): Promise<void> {
  const path = logFile === undefined ? undefined : join(config.home, logFile)
  const log = path === undefined ? undefined : createWriteStream(path, { flags: 'a', mode: 0o600 })
  try {
    if (log) await once(log, 'open')
    // Loaded here, because no other command should wait for it.
    const { startService } = await import('../main.js')
    const service = await startService(config, {
      databaseUrl: provided.url,
      installation,
      ...(log === undefined ? {} : { logStream: log }),
    }).catch((error: unknown) => {
      throw explained(error, config.home)
    })
    try {
      await work(service)
    } finally {
      await service.close()
    }
  } finally {
    log?.end()
  }
}

/** A taken port is mostly our own, of a server that still runs. */
function explained(error: unknown, home: string): unknown {
  const { apiUrl, pid } = readRunFile(home) ?? {}
  if (!(error instanceof DomainError && error.code === 'PORT_IN_USE') || apiUrl === undefined) return error
  return new DomainError(error.code, `the API runs already, at ${apiUrl} (process ${pid ?? '?'}); ${error.message}`)
}

/** What to say at every start until it is done: a lost key file cannot be made again. */
export async function missingBackup({ database, config }: Host): Promise<string | undefined> {
  const { keyIds } = await keysNotBackedUp(database)
  if (keyIds.length === 0) return undefined
  return `the key file ${shortPath(config.keyFile)} has not been backed up: without it no personal data can be read again`
}

/** Resolves with the first Ctrl-C or SIGTERM. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
