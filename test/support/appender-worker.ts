import { createHash } from 'node:crypto'
import { inTenant, type Database } from '../../src/db/database.js'
import { DomainError } from '../../src/errors.js'
import { destroySubject } from '../../src/keyring/destroy.js'
import { ingest, type Ingested } from '../../src/keyring/ingest.js'
import { readKeyFile, type Installation } from '../../src/keyring/installation.js'
import { openAsInstallation } from '../../src/keyring/set-up.js'
import { Subjects } from '../../src/keyring/subjects.js'
import { Appender } from '../../src/ledger/appender.js'
import type { Receipt } from '../../src/ledger/appender-lane.js'
import { append, command, lockHead } from '../../src/ledger/append.js'
import type { EventInput, LeafEvent } from '../../src/ledger/event.js'
import { prepare } from '../../src/ledger/prepare.js'
import type { Principal } from '../../src/principal.js'

// A process with an appender of its own, told what to do by messages: see appender-process.ts.

export interface Opening {
  readonly url: string
  readonly keyFile: string
  readonly queueEvents?: number
  readonly patienceMs?: number
  /** How far this process's clock is ahead. */
  readonly clockMs?: number
}

/** A submission as it can be sent between processes. */
export interface PlainSubmission {
  readonly tenant: string
  readonly by?: string
  readonly events: readonly LeafEvent[]
  readonly stream?: { name: string; expectedVersion: number }
  readonly epoch?: number
  readonly idempotency?: { key: string; body: string }
  readonly eventKeys?: readonly string[]
  readonly position?: { source: string; after: string | null; now: string }
}

export interface PlainCommand {
  readonly tenant: string
  readonly stream: string
  readonly events: readonly LeafEvent[]
  /** Without it the command decides on whatever version it finds. */
  readonly expectedVersion?: number
}

const principal = (tenant: string, id = 'service:test'): Principal => ({
  tenant,
  id,
  via: 'token:01TEST',
  permissions: [],
})

let opened: { database: Database; installation: Installation; appender: Appender; subjects: Subjects } | undefined

function open({ url, keyFile, clockMs = 0, ...options }: Opening): void {
  const installation = readKeyFile(keyFile)
  if (!installation) throw new Error('no key file')
  const database = openAsInstallation(url, installation)
  const appender = new Appender(database, { ...options, now: () => Date.now() + clockMs })
  opened = { database, installation, appender, subjects: new Subjects(database, installation) }
}

const held = new Map<string, () => void>()

function deps(): NonNullable<typeof opened> {
  if (!opened) throw new Error('not open')
  return opened
}

const operations = {
  open,
  submit: ({ tenant, by: id, events, idempotency, ...rest }: PlainSubmission): Promise<Receipt> => {
    const by = principal(tenant, id)
    const source = rest.stream ? {} : { source: { name: 'test' } }
    return deps().appender.submit({
      ...rest,
      tenant,
      by: by.id,
      via: by.via,
      events: events.map((event, index) => prepare({ ...source, ...event }, { by }, index)),
      idempotency: idempotency && {
        key: idempotency.key,
        mac: createHash('sha256').update(idempotency.body).digest(),
      },
    })
  },
  /** Through the first door. @returns the stream's version after it */
  command: async ({ tenant, stream, events, expectedVersion }: PlainCommand): Promise<number> => {
    const by = principal(tenant)
    const db = deps().database.command
    if (expectedVersion === undefined) {
      const count = { initial: 0, evolve: (state: number) => state + 1 }
      return command(db, { by, stream }, count, () => events)
    }
    return inTenant(db, tenant, async (tx) => {
      const prepared = events.map((event, index) => prepare(event, { by, stream }, index))
      return (await append(tx, { by, stream, expectedVersion }, prepared)).version
    })
  },
  /** Holds a tenant's head as a long command would, until it is told to release it. */
  hold: ({ tenant }: { tenant: string }): Promise<void> =>
    inTenant(deps().database.command, tenant, async (tx) => {
      await lockHead(tx, tenant)
      process.send?.({ holding: tenant })
      await new Promise<void>((done) => held.set(tenant, done))
    }),
  release: ({ tenant }: { tenant: string }): void => held.get(tenant)?.(),
  ingest: ({ tenant, events }: { tenant: string; events: EventInput[] }): Promise<Ingested> =>
    ingest(deps(), principal(tenant), events),
  destroy: ({ tenant, subject }: { tenant: string; subject: string }): Promise<number> =>
    destroySubject(deps().database, principal(tenant), subject),
  queued: () => deps().appender.queued,
  close: async (): Promise<void> => {
    await deps().appender.close()
    await deps().database.close()
    process.disconnect()
  },
}

export type Operations = typeof operations

async function answer({ id, does, given }: { id: number; does: keyof Operations; given: never }): Promise<void> {
  try {
    process.send?.({ id, result: await operations[does](given) })
  } catch (error) {
    const code = error instanceof DomainError ? error.code : undefined
    process.send?.({ id, code, error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
  }
}

process.on('message', (message) => void answer(message as Parameters<typeof answer>[0]))
// Whoever started it is gone.
process.on('disconnect', () => process.exit())
