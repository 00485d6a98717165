import { join } from 'node:path'
import type { GrantDeps } from '../../src/approvals/commands/grant.js'
import { allKinds } from '../../src/approvals/kinds.js'
import { outsideKinds } from '../../src/approvals/outside-kinds.js'
import { accessKinds } from '../../src/auth/kinds.js'
import { tokenCreate } from '../../src/auth/token-kind.js'
import { Guard, type Lookup } from '../../src/sinks/guard.js'
import type { Notification } from '../../src/sinks/notification.js'
import type { NotifyDeps } from '../../src/sinks/notify.js'
import { changesBench, noteKind, type ChangesBench } from './changes.js'

/** Changes, and what leaves the service: receivers on this machine may be called. */
export interface OutsideBench extends ChangesBench {
  readonly deps: ChangesBench['deps'] & GrantDeps & NotifyDeps
  /** What the log was told. */
  readonly notices: Notification[]
}

export async function outsideBench(lookup?: Lookup): Promise<OutsideBench> {
  const bench = await changesBench()
  const notices: Notification[] = []
  const guard = new Guard(['127.0.0.0/8', '::1'], lookup)
  const deps = {
    ...bench.deps,
    kinds: allKinds([...accessKinds, noteKind, tokenCreate, ...outsideKinds]),
    surroundings: { checkTarget: (url: string) => guard.resolve(url) },
    clock: (databaseMs: number) => databaseMs + bench.aheadMs,
    signingKeysDir: join(bench.server.home, 'signing-keys'),
    publicUrl: 'https://audit.example.org',
    guard,
    webhookTimeoutMs: 5_000,
    version: 'test',
    log: { notice: (notice: Notification) => void notices.push(notice) },
  }
  return Object.assign(bench, { deps, notices })
}
