import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Authenticator } from './auth/queries.js'
import { ReportFiles } from './blobs/files.js'
import type { Config } from './config.js'
import { DomainError, systemCode } from './errors.js'
import { entryIndex } from './followers/entry-index.js'
import { startHousekeeping } from './followers/housekeeping.js'
import { reportsIndex } from './followers/reports.js'
import { Denials } from './http/denials.js'
import { Metrics } from './http/metrics.js'
import { buildServer, type App, type HttpServer } from './http/server.js'
import type { IngestDeps } from './keyring/ingest.js'
import type { Installation } from './keyring/installation.js'
import { openAsInstallation } from './keyring/set-up.js'
import { Subjects } from './keyring/subjects.js'
import { ensureTenant } from './keyring/tenants.js'
import { Appender } from './ledger/appender.js'
import { CountedRecords } from './ledger/counted-records.js'
import { LiveFeed } from './ledger/live.js'
import { EntriesListener } from './ledger/listen.js'
import { Follower } from './ledger/subscribe.js'
import { SYSTEM_TENANT } from './principal.js'
import type { WorkflowsState } from './temporal/state.js'
import { changeKinds } from './registry.js'
import { openOutside } from './sinks/outside.js'

export interface ServiceOptions {
  /** Where the database is; only its place is used, not its credentials. */
  readonly databaseUrl: string
  readonly installation: Installation
  /** Where log lines go, one JSON object each; standard error unless said otherwise. */
  readonly logStream?: { write(line: string): void }
  /** Whether workflows move, as far as this process knows; they wait unless it says otherwise. */
  readonly workflows?: () => WorkflowsState
  /** Adds routes before the service listens. */
  readonly extend?: (app: App) => Promise<void>
}

export interface Service {
  /** Where the API answers. */
  readonly url: string
  readonly server: HttpServer
  /** Takes nothing more, answers everything accepted, then ends. */
  close(): Promise<void>
}

/**
 * Starts the API on a database that is set up: appender, followers, HTTP.
 * @throws DomainError PORT_IN_USE, PORT_UNAVAILABLE
 */
export async function startService(config: Config, options: ServiceOptions): Promise<Service> {
  const { databaseUrl, installation } = options
  const database = openAsInstallation(databaseUrl, installation, { poolSize: config.poolSize })
  let app: App | undefined
  let endHousekeeping: (() => Promise<void>) | undefined
  const trouble = (what: string) => (error: unknown) => app?.log.warn({ err: error }, what)
  const appender = new Appender(database, {
    queueEvents: config.queueLimitEvents,
    patienceMs: config.appendTimeoutMs,
    onTrouble: trouble('appending met trouble'),
  })
  const listener = new EntriesListener(database, { onTrouble: trouble('listening for entries met trouble') })
  const followers = [entryIndex(), reportsIndex()].map(
    (consumer) => new Follower(database, consumer, { listener, onTrouble: trouble(`${consumer.name} met trouble`) }),
  )
  const live = new LiveFeed(database, { listener, onTrouble: trouble('a live feed met trouble') })
  const refusals = new CountedRecords(appender, { onTrouble: trouble('a refused vote was not put on record') })
  const denials = new Denials(appender, { onTrouble: trouble('a denial was not put on record') })
  const stop = async () => {
    // Feeds would keep their connections open for ever.
    live.close()
    await app?.close()
    await denials.close()
    await refusals.close()
    await Promise.all([...followers.map((follower) => follower.stop()), endHousekeeping?.()])
    await listener.close()
    await appender.close()
    await database.close()
  }
  try {
    await ensureTenant(database, installation, SYSTEM_TENANT)
    const ingest: IngestDeps = {
      database,
      appender,
      installation,
      subjects: new Subjects(database, installation),
      maxGroupBytes: config.sealedLimitBytes,
    }
    const approvals = openOutside(
      config,
      { ...ingest, kinds: changeKinds, refusals },
      { version: packageVersion(), log: (told, text) => app?.log.info(told, text) },
    )
    const server = await buildServer({
      settings: config,
      version: packageVersion(),
      database,
      ingest,
      approvals,
      live,
      reports: { database, appender, files: new ReportFiles(config.reportsDir), fonts: config.fonts },
      authenticator: new Authenticator(database),
      denials,
      metrics: new Metrics(appender),
      workflows: () => (config.workflows === 'off' ? 'off' : (options.workflows?.() ?? 'waiting')),
      logStream: options.logStream,
    })
    ;({ app } = server)
    await options.extend?.(app)
    await listen(app, config)
    for (const follower of followers) follower.start()
    endHousekeeping = startHousekeeping(database, { onTrouble: trouble('housekeeping met trouble') })
    let closing: Promise<void> | undefined
    return {
      url: urlOf(app.server.address() as AddressInfo),
      server,
      close: () => (closing ??= drained(app, stop, config.shutdownTimeoutMs)),
    }
  } catch (error) {
    await stop()
    throw error
  }
}

async function listen(app: App, { httpHost, httpPort }: Config): Promise<void> {
  try {
    await app.listen({ host: httpHost, port: httpPort })
  } catch (error) {
    const code = systemCode(error)
    if (code === 'EADDRINUSE') {
      throw new DomainError('PORT_IN_USE', `port ${httpPort} is taken: set COUNTERSIGN_HTTP_PORT to another, or to 0`)
    }
    if (code === 'EACCES' || code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
      throw new DomainError('PORT_UNAVAILABLE', `cannot listen on ${httpHost}:${httpPort} (${code})`)
    }
    throw error
  }
}

/** Where a caller on this machine reaches the service. */
function urlOf({ address, port }: AddressInfo): string {
  if (address === '0.0.0.0' || address === '::') return `http://localhost:${port}`
  return `http://${address.includes(':') ? `[${address}]` : address}:${port}`
}

/** Connections that fall idle are closed on the way; those that never do, once the time is up. */
async function drained(app: App | undefined, stop: () => Promise<void>, timeoutMs: number): Promise<void> {
  const idle = setInterval(() => app?.server.closeIdleConnections(), 50)
  const timeout = setTimeout(() => app?.server.closeAllConnections(), timeoutMs)
  try {
    await stop()
  } finally {
    clearInterval(idle)
    clearTimeout(timeout)
  }
}

function packageVersion(): string {
  const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
  return version
}
