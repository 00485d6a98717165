import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createToken } from '../auth/commands.js'
import { ADMIN, AUDITOR } from '../auth/permissions.js'
import { Authenticator } from '../auth/queries.js'
import { homePaths, writePrivate } from '../embedded/home.js'
import { host as hostPrincipal } from '../principal.js'
import type { Host } from './host.js'
import { principalOf } from './persons.js'

const roles = { admin: ADMIN, auditor: AUDITOR } as const
type Role = keyof typeof roles

export interface DemoTokens {
  readonly admin: string
  readonly auditor: string
  /** 0600; holds both, by tenant. */
  readonly file: string
  /** 0600; the auditor's as a header that curl takes with -H @FILE. The admin's lies beside it. */
  readonly headerFile: string
  /** Some were made now; else all are those of an earlier start. */
  readonly made: boolean
}

type TokenFile = Record<string, Partial<Record<Role, string>>>

/** Two people who may decide on changes, each with a token of their own. */
export interface DemoPeople {
  /** 0600, one token each. */
  readonly tokenFiles: readonly string[]
}

const PEOPLE = ['ada', 'ben'] as const

/** People for changes that need two: as of an earlier start where their tokens still are valid. */
export async function ensurePeople(host: Host, tenant: string): Promise<DemoPeople> {
  const { config, database } = host
  const authenticator = new Authenticator(database)
  const tokenFiles = []
  for (const name of PEOPLE) {
    const file = join(config.home, `${tenant}-${name}.token`)
    const before = await readFile(file, 'utf8').catch(() => '')
    if (typeof (await authenticator.lookUp(before.trim())) !== 'object') {
      const { token } = await createToken(database, hostPrincipal(tenant), {
        principal: await principalOf(host, tenant, `email:${name}@${tenant}.example`),
        permissions: ['changes/*:*', 'ledger/*:read'],
        description: `made by countersign up --demo`,
      })
      await writePrivate(file, `${token}\n`)
    }
    tokenFiles.push(file)
  }
  return { tokenFiles }
}

/** An admin's and an auditor's token: those of an earlier start where they still are valid, else new ones. */
export async function ensureTokens({ config, database }: Host, tenant: string): Promise<DemoTokens> {
  const file = homePaths(config.home).tokens
  const headerFileOf = (role: Role) => join(config.home, `${tenant}-${role}.header`)
  const kept = await readTokens(file)
  const authenticator = new Authenticator(database)
  const tokens = { admin: '', auditor: '' }
  let made = false
  for (const role of ['admin', 'auditor'] as const) {
    const before = kept[tenant]?.[role]
    const valid = before !== undefined && typeof (await authenticator.lookUp(before)) === 'object'
    if (valid) tokens[role] = before
    else {
      const principal = `service:${tenant}-${role}`
      const description = `made by countersign up --demo`
      const created = await createToken(database, hostPrincipal(tenant), {
        principal,
        permissions: roles[role],
        description,
      })
      tokens[role] = created.token
      made = true
    }
  }
  if (made) {
    await writePrivate(file, `${JSON.stringify({ ...kept, [tenant]: tokens }, null, 2)}\n`)
    for (const role of ['admin', 'auditor'] as const) {
      await writePrivate(headerFileOf(role), `Authorization: Bearer ${tokens[role]}\n`)
    }
  }
  return { ...tokens, file, headerFile: headerFileOf('auditor'), made }
}

async function readTokens(file: string): Promise<TokenFile> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as TokenFile
  } catch {
    return {} // lost or damaged: new ones are made
  }
}
