import { Type } from 'typebox'
import { allKinds } from '../../src/approvals/kinds.js'
import type { ApprovalDeps } from '../../src/approvals/governed.js'
import type { ChangeKind } from '../../src/approvals/kind.js'
import { applyDirectly } from '../../src/approvals/commands/direct.js'
import { requestChange, type ChangeInput, type RequestedChange } from '../../src/approvals/commands/request.js'
import { castVote, type CastVote } from '../../src/approvals/commands/vote.js'
import type { Decision } from '../../src/approvals/vote.js'
import { createToken } from '../../src/auth/commands.js'
import { accessKinds } from '../../src/auth/kinds.js'
import { inTenant } from '../../src/db/database.js'
import { createTenant, ensureTenant } from '../../src/keyring/tenants.js'
import { Subjects } from '../../src/keyring/subjects.js'
import { appendAt, lockHead, streamVersion } from '../../src/ledger/append.js'
import { Appender } from '../../src/ledger/appender.js'
import { CountedRecords } from '../../src/ledger/counted-records.js'
import { readLeaf } from '../../src/ledger/entry.js'
import type { LeafEvent } from '../../src/ledger/event.js'
import { prepare } from '../../src/ledger/prepare.js'
import { host, SYSTEM_TENANT, type Principal } from '../../src/principal.js'
import { testDatabase, type TestDatabase } from './database.js'

/** A kind that needs no people: it keeps a note. */
export const noteKind: ChangeKind = {
  name: 'setting.note',
  what: 'write a note',
  payload: Type.Object({ text: Type.String({ maxLength: 40_000 }), extra: Type.Optional(Type.Unknown()) }),
  beneficiaries: () => [],
  base: (_, { settings }) => ({ 'setting/note': settings.get('note')?.version ?? 0 }),
  diff: (payload, { settings }) => ({ before: settings.get('note')?.value ?? null, after: payload }),
  effects: (payload) => [{ stream: 'setting/note', events: [{ type: 'setting.set', data: { value: payload } }] }],
}

/** Kinds of what lies outside the database. */
export const externalKind: ChangeKind = {
  name: 'external.*',
  what: 'do something elsewhere',
  payload: Type.Unknown(),
  beneficiaries: () => [],
  base: () => ({}),
  diff: (payload) => ({ before: null, after: payload }),
  outside: (payload) => ((payload as { delivery?: string }).delivery === 'webhook' ? 'ordered' : 'taken'),
}

export interface Person extends Principal {
  /** The secret of their token. */
  readonly token: string
}

/** Changes on a database of a test file's own, with a clock that tests move. */
export interface ChangesBench {
  readonly server: TestDatabase
  readonly deps: ApprovalDeps
  /** How far the ledger's clock runs ahead of the database's, in ms. */
  aheadMs: number
  close(): Promise<void>
}

export async function changesBench(): Promise<ChangesBench> {
  const server = await testDatabase()
  // Moving the clock is what the database refuses from a process whose clock is wrong.
  const superuser = await server.superuser()
  await superuser.query(
    `create or replace function ledger_clock_is_ahead(tenant text, at timestamptz) returns boolean language sql as 'select true'`,
  )
  const { db, installation } = server
  await ensureTenant(db, installation, SYSTEM_TENANT)
  const appender = new Appender(db)
  const refusals = new CountedRecords(appender)
  const bench = { aheadMs: 0 }
  const deps: ApprovalDeps = {
    database: db,
    appender,
    installation,
    subjects: new Subjects(db, installation),
    kinds: allKinds([...accessKinds, noteKind, externalKind]),
    refusals,
    clock: (databaseMs) => databaseMs + bench.aheadMs,
  }
  return Object.assign(bench, {
    server,
    deps,
    async close() {
      await refusals.close()
      await appender.close()
      await server.close()
    },
  })
}

let tenants = 0

/** One tenant of it, with people in it. */
export class Tenant {
  readonly tenant = `tenant-${++tenants}`
  private readonly bench: ChangesBench

  private constructor(bench: ChangesBench) {
    this.bench = bench
  }

  /** With a role `approver` that may approve everything. */
  static async create(bench: ChangesBench): Promise<Tenant> {
    const made = new Tenant(bench)
    await createTenant(bench.server.db, bench.server.installation, made.tenant)
    await made.directly('role.define', { role: 'approver', permissions: ['changes/*:*'] })
    return made
  }

  get host(): Principal {
    return host(this.tenant)
  }

  directly(kind: string, payload: object, by: Principal = this.host) {
    return applyDirectly(this.bench.deps, by, kind, payload as never)
  }

  /** Somebody with a token, and registered with these roles. */
  async person({
    roles = ['approver'],
    permissions = ['changes/*:*'],
    madeBy = this.host,
  }: { roles?: readonly string[]; permissions?: readonly string[]; madeBy?: Principal } = {}): Promise<Person> {
    const { subject } = await this.bench.deps.subjects.create(this.tenant)
    await this.directly('principal.register', { principal: subject })
    for (const role of roles) await this.directly('role.grant', { principal: subject, role })
    return this.token(subject, permissions, madeBy)
  }

  people(count: number): Promise<Person[]> {
    return Promise.all(Array.from({ length: count }, () => this.person()))
  }

  /** A service with an owner or without. */
  async service(name: string, owner?: string): Promise<Person> {
    const principal = `service:${name}`
    await this.directly('principal.register', { principal, ...(owner !== undefined && { owner }) })
    await this.directly('role.grant', { principal, role: 'approver' })
    return this.token(principal)
  }

  async token(
    principal: string,
    permissions: readonly string[] = ['changes/*:*'],
    madeBy: Principal = this.host,
    expiresAt?: string,
  ): Promise<Person> {
    const made = await createToken(this.bench.server.db, madeBy, { principal, permissions, expiresAt })
    return { tenant: this.tenant, id: principal, via: `token:${made.id}`, permissions, token: made.token }
  }

  request(by: Principal, input: Partial<ChangeInput> = {}): Promise<RequestedChange> {
    return requestChange(this.bench.deps, by, { kind: 'setting.note', payload: { text: 'hello' }, ...input })
  }

  vote(by: Principal, change: RequestedChange, decision: Decision = 'approve'): Promise<CastVote> {
    const { id, payloadHash } = change
    return castVote(this.bench.deps, by, { change: id, decision, payloadHash })
  }

  /** Appends what other commands would, on from where the stream stands. */
  async append(stream: string, event: LeafEvent): Promise<number> {
    const by = this.host
    return inTenant(this.bench.server.db.command, this.tenant, async (tx) => {
      const head = await lockHead(tx, this.tenant)
      const { version, nowMs } = await streamVersion(tx, this.tenant, stream)
      const events = [prepare(event, { by, stream }, 0)]
      const addition = { by: by.id, via: by.via, events, stream: { name: stream, version: version + 1 } }
      const { seq } = await appendAt(tx, head, addition, nowMs + this.bench.aheadMs)
      return seq
    })
  }

  revokeRole(principal: string, role = 'approver'): Promise<number> {
    const event = { type: 'role.revoked', data: { principal, role } }
    return this.append(`principal/${principal}`, event)
  }

  disable(principal: string): Promise<number> {
    return this.append(`principal/${principal}`, { type: 'principal.disabled', data: { principal } })
  }

  /** The events of a stream, or of the whole log, in order. */
  async events(stream?: string) {
    const rows = await this.bench.server.db.operator
      .selectFrom('entries')
      .select('leaf')
      .where('tenant', '=', this.tenant)
      .orderBy('seq')
      .execute()
    const entries = rows.map(({ leaf }) => readLeaf(leaf))
    return stream === undefined ? entries : entries.filter(({ entry }) => entry.stream === stream)
  }

  async types(stream: string): Promise<string[]> {
    return (await this.events(stream)).map(({ event }) => event.type)
  }
}
