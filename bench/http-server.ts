import { once } from 'node:events'
import { createToken } from '../src/auth/commands.js'
import { Authenticator } from '../src/auth/queries.js'
import { ReportFiles } from '../src/blobs/files.js'
import { readConfig } from '../src/config.js'
import { Denials } from '../src/http/denials.js'
import { Metrics } from '../src/http/metrics.js'
import { eventRoutes } from '../src/http/routes/events.js'
import { buildServer } from '../src/http/server.js'
import { readKeyFile } from '../src/keyring/installation.js'
import { openAsInstallation } from '../src/keyring/set-up.js'
import { Subjects } from '../src/keyring/subjects.js'
import { Appender } from '../src/ledger/appender.js'
import { CountedRecords } from '../src/ledger/counted-records.js'
import { EntriesListener } from '../src/ledger/listen.js'
import { LiveFeed } from '../src/ledger/live.js'
import { host } from '../src/principal.js'
import { changeKinds } from '../src/registry.js'
import { openOutside } from '../src/sinks/outside.js'
import { TENANTS, tenantOf } from './store.js'

/**
 * The API in a process of its own, with everything in front of the store that users meet, and beside it the same route
 * without the store: same credential check, gate, limits and kind of answer. The index is not built meanwhile.
 */
const [, , databaseUrl = '', keyFile = ''] = process.argv
const installation = readKeyFile(keyFile)
if (!installation) throw new Error('no key file')
const database = openAsInstallation(databaseUrl, installation)
const appender = new Appender(database)
const denials = new Denials(appender)
const listener = new EntriesListener(database)
const live = new LiveFeed(database, { listener })
const settings = { ...readConfig({}), logLevel: 'error' as const, rateLimitPerMinute: 100_000_000 }
const ingest = { database, appender, installation, subjects: new Subjects(database, installation) }
const { app } = await buildServer({
  settings,
  version: 'bench',
  database,
  ingest,
  approvals: openOutside(
    settings,
    { ...ingest, kinds: changeKinds, refusals: new CountedRecords(appender) },
    { version: 'bench', log: () => undefined },
  ),
  reports: { database, appender, files: new ReportFiles(settings.reportsDir), fonts: settings.fonts },
  live,
  authenticator: new Authenticator(database),
  denials,
  metrics: new Metrics(appender),
  workflows: () => 'off',
})
const at = new Date().toISOString()
const chainHash = '0'.repeat(64)
await app.register(eventRoutes, {
  path: '/bench/events',
  bodyLimitBytes: settings.bodyLimitBytes,
  take: async (_by, events) => ({
    repeated: false,
    entries: events.map(({ actor, targets }, seq) => ({
      seq,
      at,
      chainHash,
      ...(actor && 'id' in actor && { actor: actor.id }),
      ...(targets && { targets: targets.map((target) => ('id' in target ? target.id : '')) }),
    })),
  }),
})
await app.listen({ host: '127.0.0.1', port: 0 })
const tokens: string[] = []
for (let n = 0; n < TENANTS; n++) {
  const request = { principal: 'service:billing', permissions: ['ledger/events:write'] }
  tokens.push((await createToken(database, host(tenantOf(n)), request)).token)
}
const address = app.server.address()
process.send?.({ port: typeof address === 'object' ? address?.port : 0, tokens })
await once(process, 'disconnect')
live.close()
await app.close()
await listener.close()
await denials.close()
await appender.close()
await database.close()
