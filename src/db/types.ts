import type { Generated } from 'kysely'

/** The tables as the pools read them: bigint as number, timestamptz as ISO 8601 text in UTC with milliseconds. */
export interface Tables {
  tenants: { id: string; log: string; settings: Generated<unknown>; created_at: string }
  entries: { tenant: string; seq: number; recorded_at: string; leaf: Buffer; chain_hash: Buffer }
  heads: { tenant: string; next_seq: number; chain_hash: Buffer; recorded_at: string; key_epoch: Generated<number> }
  streams: { tenant: string; stream: string; version: number; seq: number }
  idempotency: {
    tenant: string
    principal: string
    key: string
    mac: Buffer | null
    first_seq: number
    count: number
    created_at: Generated<string>
  }
  source_positions: { tenant: string; source: string; position: string; seq: number; moved_at: Generated<string> }
  installation: {
    one: Generated<boolean>
    id: string
    key_ids: string[]
    backed_up_key_ids: Generated<string[]>
    backed_up_at: string | null
  }
  sealed_groups: {
    tenant: string
    seq: number
    group: string
    subject: string
    generation: number
    ciphertext: Buffer
  }
  subjects: { tenant: string; subject: string; created_at: Generated<string>; erased_seq: number | null }
  subject_keys: { tenant: string; subject: string; generation: number; wrapped: Buffer; wrapped_by: Generated<string> }
  tenant_keys: { tenant: string; purpose: string; generation: number; wrapped: Buffer; wrapped_by: Generated<string> }
  identifiers: { tenant: string; hmac: Buffer; subject: string; kind: string; generation: number; sealed: Buffer }
  tokens: {
    tenant: string
    id: string
    hash: Buffer
    principal: string
    permissions: string[]
    description: string | null
    created_at: string
    expires_at: string | null
    revoked_at: string | null
  }
  subscriptions: {
    consumer: string
    tenant: string
    next_seq: Generated<number>
    owner: string | null
    until: string | null
    epoch: Generated<number>
    /** Of the Temporal in which everything open was made sure to run, and when that was begun last. */
    namespace: string | null
    refilled_at: string | null
  }
  open_processes: { tenant: string; stream: string; kind: string; seq: number; since: string }
  entry_index: {
    tenant: string
    seq: number
    recorded_at: string
    occurred_at: string | null
    type: string
    actor: string | null
    outcome: string | null
    stream: string | null
    source: string | null
  }
  entry_refs: { tenant: string; reference: string; role: 'actor' | 'target' | 'subject'; seq: number }
  reports: {
    tenant: string
    id: string
    seq: number
    kind: string
    generated_at: string
    generated_by: string
    parameters: unknown
    files: unknown
  }
  verifications: {
    tenant: string
    verified_at: string
    from_seq: number
    next_seq: number
    chain_hash: Buffer
    findings: number
    duration_ms: number
  }
}
