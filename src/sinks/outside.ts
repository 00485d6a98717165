import type { GrantDeps } from '../approvals/commands/grant.js'
import type { ApprovalDeps } from '../approvals/governed.js'
import type { Config } from '../config.js'
import { Guard } from './guard.js'
import { logSink } from './log.js'
import type { NotifyDeps } from './notify.js'

/** What changes work with where some of them leave the service: grants, webhooks, notices. */
export interface Outside extends GrantDeps, NotifyDeps {}

export interface OutsideOptions {
  /** Of this program, named to receivers. */
  readonly version: string
  /** One line of the log: what is told, and a text. */
  readonly log: (told: object, text: string) => void
}

export function openOutside(
  config: Pick<Config, 'signingKeysDir' | 'publicUrl' | 'webhookNetworks' | 'webhookTimeoutMs'>,
  approvals: ApprovalDeps,
  { version, log }: OutsideOptions,
): Outside {
  const guard = new Guard(config.webhookNetworks)
  const { signingKeysDir, publicUrl, webhookTimeoutMs } = config
  return {
    ...approvals,
    surroundings: { checkTarget: (url) => guard.resolve(url) },
    signingKeysDir,
    publicUrl,
    guard,
    webhookTimeoutMs,
    version,
    log: logSink(log),
  }
}
