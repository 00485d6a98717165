import type { Json, LeafEvent } from '../ledger/event.js'
import type { Finding } from '../ledger/findings.js'
import type { TenantVerification, Verification } from '../ledger/verify.js'
import { isEnded, type RunState } from './run.js'

/** Rules named in an entry at most, and places of each: `verify` on the command line tells all. */
const MOST_RULES = 20
const MOST_PLACES = 5

/** What a verification found in one log, as its entry tells it. */
export interface VerificationOutcome {
  readonly scope: 'installation' | 'tenant'
  readonly result: 'ok' | 'findings'
  /** The entries that were checked, the end excluded. */
  readonly range: { readonly from: number; readonly to: number }
  /** Of the last entry checked: with its seq what `verify --expect` takes. */
  readonly chainHash: string
  readonly findings: number
  /** The first places where each rule was broken. */
  readonly rules: readonly { readonly rule: string; readonly seqs: readonly number[] }[]
  readonly durationMs: number
  /** Webhooks that are told of findings; none where there is none. */
  readonly recipients: readonly string[]
  /** Of the pass over all logs, in the operator's own log. */
  readonly installation?: InstallationOutcome
}

export interface InstallationOutcome {
  readonly tenants: number
  readonly entries: number
  readonly findings: number
  /** Logs with findings, the first of them. */
  readonly tenantsWithFindings: readonly string[]
  /** Logs that took no entry about it. */
  readonly unrecorded: readonly string[]
}

const MOST_TENANTS = 100

/** The outcome for one log. @param recipients who wants to know of findings */
export function outcomeOf(
  { findings, durationMs }: Verification,
  { tenant, from, nextSeq, chainHash, findings: count }: TenantVerification,
  scope: 'installation' | 'tenant',
  recipients: readonly string[],
): VerificationOutcome {
  return {
    scope,
    result: count === 0 ? 'ok' : 'findings',
    range: { from, to: nextSeq },
    chainHash,
    findings: count,
    rules: rulesOf(findings.filter((finding) => finding.tenant === tenant)),
    durationMs,
    recipients: count === 0 ? [] : recipients,
  }
}

export function installationOutcome(
  { tenants, entries, findingCount }: Verification,
  unrecorded: readonly string[],
): InstallationOutcome {
  const found = tenants.filter(({ findings }) => findings > 0).map(({ tenant }) => tenant)
  return {
    tenants: tenants.length,
    entries,
    findings: findingCount,
    tenantsWithFindings: found.slice(0, MOST_TENANTS),
    unrecorded: unrecorded.slice(0, MOST_TENANTS),
  }
}

function rulesOf(findings: readonly Finding[]): { rule: string; seqs: number[] }[] {
  const rules = new Map<string, number[]>()
  for (const { code, seq } of findings) {
    const seqs = rules.get(code) ?? []
    if (seqs.length < MOST_PLACES) seqs.push(seq)
    rules.set(code, seqs)
  }
  return [...rules].slice(0, MOST_RULES).map(([rule, seqs]) => ({ rule, seqs }))
}

/** What records an outcome; nothing where the run has ended. */
export function verified(run: RunState | undefined, outcome: VerificationOutcome): LeafEvent[] {
  if (isEnded(run)) return []
  const data = outcome as unknown as Record<string, Json>
  return [{ type: 'verification.completed', outcome: outcome.result === 'ok' ? 'success' : 'failure', data }]
}

/** Who is still to be told of a run: its recipients but for those who were, or who cannot be. */
export function untoldOf(run: RunState): string[] {
  const recipients = run.order?.recipients ?? (run.result?.['recipients'] as readonly string[] | undefined) ?? []
  return recipients.filter((webhook) => !run.announced.some((told) => told.webhook === webhook))
}
