import { evolveAccess, NO_ACCESS, type Access } from '../../src/auth/access.js'
import { evolveChange, type ChangeState } from '../../src/approvals/change.js'
import { statementOf, type Ground } from '../../src/approvals/decision.js'
import type { Credential } from '../../src/approvals/eligibility.js'
import { payloadHash } from '../../src/approvals/payload.js'
import { DEFAULT_POLICY, policyHash, type Policy } from '../../src/approvals/policy.js'
import type { Decision } from '../../src/approvals/vote.js'
import type { Json } from '../../src/ledger/event.js'
import type { StreamEntry } from '../../src/ledger/streams.js'

export const TENANT = 'acme'
export const START_MS = Date.parse('2026-11-21T09:00:00.000Z')

/** Entries of one log as commands would write them, one behind the other; the clock stands unless it is moved. */
export class Script {
  nowMs = START_MS
  private readonly versions = new Map<string, number>()
  private seq = 0

  entry(stream: string, type: string, data: object = {}, { by = 'service:host', via = 'host' } = {}): StreamEntry {
    const version = (this.versions.get(stream) ?? 0) + 1
    this.versions.set(stream, version)
    return {
      at: new Date(this.nowMs).toISOString(),
      by,
      log: '0'.repeat(32),
      seq: ++this.seq,
      stream,
      tenant: TENANT,
      version,
      via,
      event: { type, data: data as Record<string, Json> },
    }
  }
}

/** Principals by name; people whose names are listed with `sameAs` count as another. */
export function accessOf(
  script: Script,
  principals: Readonly<Record<string, { roles?: readonly string[]; owner?: string; sameAs?: string; disabled?: true }>>,
  roles: Readonly<Record<string, readonly string[]>> = { approver: ['changes/*:approve'] },
): Access {
  const entries = [
    ...Object.entries(roles).map(([role, permissions]) =>
      script.entry(`role/${role}`, 'role.defined', { role, permissions }),
    ),
    ...Object.entries(principals).flatMap(([principal, { roles: held = ['approver'], owner, sameAs, disabled }]) => {
      const stream = `principal/${principal}`
      const kind = principal.startsWith('person:') ? 'person' : 'service'
      return [
        script.entry(stream, 'principal.registered', { principal, kind, ...(owner !== undefined && { owner }) }),
        ...held.map((role) => script.entry(stream, 'role.granted', { principal, role })),
        ...(sameAs === undefined ? [] : [script.entry(stream, 'principal.linked', { principal, sameAs })]),
        ...(disabled ? [script.entry(stream, 'principal.disabled', { principal })] : []),
      ]
    }),
  ]
  return entries.reduce(evolveAccess, NO_ACCESS)
}

/** A token of a principal, made on the host unless said otherwise. */
export function credentialOf(principal: string, overrides: Partial<Credential> = {}): Credential {
  return {
    via: `token:${principal.toUpperCase().replace(/[^A-Z0-9]/g, '')}`,
    principal,
    permissions: ['*/*:*'],
    revoked: false,
    minters: new Set(['service:host']),
    ...overrides,
  }
}

export function groundOf(
  access: Access,
  credentials: readonly Credential[],
  policies: readonly Policy[] = [DEFAULT_POLICY],
): Ground {
  return {
    access,
    policies,
    beneficiaries: [],
    tenant: TENANT,
    credentials: new Map(credentials.map((each) => [each.via, each])),
  }
}

/** A change that was requested and not voted on. */
export function requestedChange(
  script: Script,
  {
    requester,
    policy = DEFAULT_POLICY,
    ...more
  }: { requester: Credential; policy?: Policy; onBehalfOf?: string; beneficiaries?: string[] },
): ChangeState {
  const [change, kind, nonce] = ['01CHANGE', 'role.grant', 'bm9uY2U=']
  const payload = { principal: 'service:billing', role: 'admin' }
  const data = {
    kind,
    payload,
    payloadHash: payloadHash({ tenant: TENANT, change, kind, payload, sealed: [], nonce }),
    nonce,
    policy,
    policyHash: policyHash(policy),
    expiresAt: new Date(script.nowMs + policy.ttlMs).toISOString(),
    applyBy: new Date(script.nowMs + policy.ttlMs).toISOString(),
    base: {},
    beneficiaries: [],
    ...more,
  }
  const { principal: by, via } = requester
  return known(evolveChange(undefined, script.entry(`change/${change}`, 'change.requested', data, { by, via })))
}

/** The change after another entry of its stream. */
export function after(
  script: Script,
  change: ChangeState,
  type: string,
  data: object = {},
  who?: { by: string; via: string },
): ChangeState {
  return known(evolveChange(change, script.entry(`change/${change.id}`, type, data, who)))
}

/** The change after somebody's vote, as the service records it. */
export function voted(
  script: Script,
  change: ChangeState,
  credential: Credential,
  decision: Decision = 'approve',
): ChangeState {
  const { principal: by, via } = credential
  const statement = statementOf(TENANT, change, { voter: by, decision })
  return after(script, change, 'change.voted', { decision, statement }, { by, via })
}

function known(change: ChangeState | undefined): ChangeState {
  if (change === undefined) throw new Error('the change was not requested')
  return change
}
