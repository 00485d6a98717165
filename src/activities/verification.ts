import { Context } from '@temporalio/activity'
import { verificationSetting, type VerificationSetting } from '../approvals/settings.js'
import { isSubscribed, webhooksOf } from '../approvals/webhook.js'
import { readGoverned } from '../approvals/governed.js'
import type { Database } from '../db/database.js'
import { messageOf } from '../errors.js'
import { recordVerification } from '../ledger/verifications.js'
import { verify, type TenantVerification, type Verification, type VerifyOptions } from '../ledger/verify.js'
import type { Log } from '../log.js'
import { SYSTEM_TENANT } from '../principal.js'
import { completeVerification, failRun, recordAnnouncement } from '../schedules/commands.js'
import { entryId } from '../sinks/notification.js'
import { findRun } from '../schedules/queries.js'
import { isEnded } from '../schedules/run.js'
import { VERIFICATION } from '../schedules/schedule.js'
import { installationOutcome, outcomeOf, untoldOf, verified } from '../schedules/verified.js'
import { withHeartbeat } from './heartbeat.js'
import type { Tell } from './tell.js'

export interface VerificationDeps {
  readonly database: Database
  readonly tell: Tell
  readonly log: Pick<Log, 'error' | 'warn'>
  /** What else is asked of each log, see `VerifyOptions`. */
  readonly checks?: VerifyOptions['checks']
}

/** A verification: of one log, or without `tenant` of all. */
export interface VerificationRun {
  readonly tenant?: string
  readonly scheduledAt: string
}

/** Somebody to be told of findings in one log. */
export interface Untold {
  readonly tenant: string
  readonly webhook: string
}

/** The type of the entry that a finding is told of by, and of the notice. */
const NOTICE = 'verification.completed'
/** Told in one run at most: whoever operates sees the others in the log. */
const MOST_TOLD = 1_000

export type VerificationActivities = ReturnType<typeof verificationActivities>

/** What the workflow `verification` does. */
export function verificationActivities({ database, tell, log, checks }: VerificationDeps) {
  return {
    /**
     * Verifies, and records the outcome in each log that is to be verified; in the operator's last, so that its entry says that
     * the pass was finished. A pass that was finished is not made again.
     */
    async verifyLogs({ tenant, scheduledAt }: VerificationRun): Promise<void> {
      const last = tenant ?? SYSTEM_TENANT
      if (isEnded(await findRun(database, last, { schedule: VERIFICATION, scheduledAt }))) return
      const context = Context.current()
      const result = await withHeartbeat(context, (onProgress) =>
        verify(database, { tenant, checks, onProgress, signal: context.cancellationSignal }),
      )
      await recordVerification(database, result).catch((error: unknown) =>
        log.warn({ err: error }, 'the outcome of a verification was not noted'),
      )
      const scope = tenant === undefined ? 'installation' : 'tenant'
      const unrecorded: string[] = []
      await withHeartbeat(context, async () => {
        for (const each of result.tenants) {
          if (each.findings > 0) log.error(aboutFindings(result, each), 'a verification found what must not be')
          if (each.tenant === last) continue
          await recordIn(each).catch((error: unknown) => {
            unrecorded.push(each.tenant)
            log.error({ err: messageOf(error), tenant: each.tenant }, 'a log took no entry about its verification')
          })
        }
        const own = result.tenants.find((each) => each.tenant === last)
        if (own) await recordIn(own)
      })

      async function recordIn(each: TenantVerification): Promise<void> {
        const { enabled, recipients } = await wishesOf(each.tenant)
        // Whoever asked for it gets an answer, whatever the setting; the operator's log names every pass.
        if (!enabled && scope === 'installation' && each.tenant !== last) return
        const outcome = outcomeOf(result, each, scope, recipients)
        const whole = { ...outcome, installation: installationOutcome(result, unrecorded) }
        const run = { tenant: each.tenant, schedule: VERIFICATION, scheduledAt }
        await completeVerification(database, run, (state) =>
          verified(state, scope === 'installation' && each.tenant === last ? whole : outcome),
        )
      }
    },

    /** Ends a verification that somebody asked for and that could not be made. */
    async failVerification({ tenant, scheduledAt, code }: Required<VerificationRun> & { code: string }): Promise<void> {
      await failRun(database, { tenant, schedule: VERIFICATION, scheduledAt }, code)
    },

    /** Who is still to be told of what was found. */
    async untoldFindings({ tenant, scheduledAt }: VerificationRun): Promise<Untold[]> {
      const untold: Untold[] = []
      for (const each of tenant === undefined ? await tenants() : [tenant]) {
        const run = await findRun(database, each, { schedule: VERIFICATION, scheduledAt })
        if (run) untold.push(...untoldOf(run).map((webhook) => ({ tenant: each, webhook })))
        if (untold.length >= MOST_TOLD) break
      }
      return untold.slice(0, MOST_TOLD)
    },

    async tellFinding({ tenant, webhook, scheduledAt }: Untold & { scheduledAt: string }): Promise<void> {
      const run = { schedule: VERIFICATION, scheduledAt }
      const state = await findRun(database, tenant, run)
      if (!state?.result || state.endedSeq === undefined || !untoldOf(state).includes(webhook)) return
      const { findings = 0, rules = [], range = {} } = state.result
      const notice = {
        tenant,
        id: entryId(tenant, state.endedSeq),
        type: NOTICE,
        at: state.endedAt ?? '',
        data: { scheduledAt, seq: state.endedSeq, findings, rules, range },
      }
      await tell(webhook, notice, Context.current().info.attempt)
      await recordAnnouncement(database, { tenant, ...run }, webhook)
    },

    async recordUntoldFinding({
      tenant,
      webhook,
      scheduledAt,
      code,
    }: Untold & { scheduledAt: string; code: string }): Promise<void> {
      await recordAnnouncement(database, { tenant, schedule: VERIFICATION, scheduledAt }, webhook, code)
    },
  }

  /** Whether a log is to be verified, and who is told: those that the setting names, and who wants all such notices. */
  async function wishesOf(tenant: string): Promise<VerificationSetting> {
    return readGoverned({ database }, tenant, async (_, { governance }) => {
      const { enabled, recipients } = verificationSetting(governance)
      const subscribed = webhooksOf(governance).filter((webhook) => isSubscribed(webhook, NOTICE))
      return { enabled, recipients: [...new Set([...recipients, ...subscribed.map(({ id }) => id)])].sort() }
    })
  }

  async function tenants(): Promise<string[]> {
    const rows = await database.operator.selectFrom('tenants').select('id').orderBy('id').execute()
    return rows.map(({ id }) => id)
  }
}

function aboutFindings({ findings }: Verification, { tenant, findings: count }: TenantVerification): object {
  const first = findings.filter((finding) => finding.tenant === tenant).slice(0, 5)
  return { tenant, findings: count, first: first.map(({ code, seq }) => ({ code, seq })) }
}
