import { DomainError } from '../../errors.js'
import { checkedGroupBytes, seal } from '../../keyring/seal.js'
import { SubjectUnknown, type PersonRef } from '../../keyring/subjects.js'
import { checkEvent, type PersonalInput, type SealedCommitment } from '../../ledger/event.js'
import type { SealedGroup } from '../../ledger/batch.js'
import type { Principal } from '../../principal.js'
import type { ApprovalDeps } from '../governed.js'

/** What goes into the leaf, what is stored beside the log, and the key epoch of both. */
export interface SealedParts {
  readonly commitments: readonly SealedCommitment[]
  readonly groups: readonly SealedGroup[]
  readonly epoch: number
}

export const MAX_REASON_LENGTH = 500
/** The group that a reason is sealed as. */
export const REASON_GROUP = 'reason'

const NOTHING: SealedParts = { commitments: [], groups: [], epoch: 0 }
const ATTEMPTS = 5

/** @throws DomainError CHANGE_REASON_MISSING */
export function checkReason(reason: string): void {
  if (reason.trim() !== '' && reason.length <= MAX_REASON_LENGTH) return
  throw new DomainError('CHANGE_REASON_MISSING', `a reason has 1 to ${MAX_REASON_LENGTH} characters`, {
    pointer: '/reason',
  })
}

/**
 * Personal parts of a request, checked as those of events are.
 * @throws DomainError EVENT_MEMBER_TYPE, EVENT_MEMBER_VALUE, …
 */
export function checkPersonal(personal: unknown): readonly PersonalInput[] {
  if (personal === undefined) return []
  const { personal: checked = [] } = checkEvent({ type: 'change.requested', personal }, '')
  const reserved = checked.findIndex(({ group }) => group === REASON_GROUP)
  if (reserved < 0) return checked
  throw new DomainError('EVENT_MEMBER_VALUE', `the group ${REASON_GROUP} holds the reason: name this one otherwise`, {
    pointer: `/personal/${reserved}/group`,
  })
}

/**
 * Seals the personal parts and the reason of what somebody does, then has it recorded; again where keys changed meanwhile.
 * A reason is sealed for whoever gives it; a service's for a subject of the record's own.
 * @throws DomainError SUBJECT_UNKNOWN, SUBJECT_ERASED, GROUP_TOO_LARGE, and what `work` throws
 */
export async function withSealed<T>(
  deps: ApprovalDeps,
  by: Principal,
  { personal = [], reason }: { readonly personal?: readonly PersonalInput[]; readonly reason?: string | undefined },
  work: (sealed: SealedParts) => Promise<T>,
): Promise<T> {
  if (personal.length === 0 && reason === undefined) return work(NOTHING)
  for (let attempt = 1; ; attempt++) {
    try {
      const giver = reason === undefined ? undefined : await giverOf(deps, by)
      return await work(await sealAll(deps, by.tenant, { personal, reason, giver }))
    } catch (error) {
      if (!(error instanceof DomainError && error.code === 'KEY_EPOCH_MOVED') || attempt === ATTEMPTS) throw error
      deps.subjects.forget(by.tenant)
    }
  }
}

async function giverOf({ subjects }: ApprovalDeps, by: Principal): Promise<string> {
  return by.id.startsWith('person:') ? by.id : (await subjects.create(by.tenant)).subject
}

async function sealAll(
  { subjects, maxGroupBytes }: ApprovalDeps,
  tenant: string,
  {
    personal,
    reason,
    giver,
  }: { personal: readonly PersonalInput[]; reason: string | undefined; giver: string | undefined },
): Promise<SealedParts> {
  const refs: PersonRef[] = [...personal.map(({ subject }) => subject), ...(giver === undefined ? [] : [giver])]
  // What is too large is refused before anybody is made.
  const measure = () => {
    for (const [n, { group, data }] of personal.entries()) {
      at(`/personal/${n}/data`, () => checkedGroupBytes(group, ANY_SUBJECT, data, maxGroupBytes))
    }
  }
  const resolved = await subjects.resolve(tenant, refs, measure).catch((error: unknown) => {
    throw error instanceof SubjectUnknown ? whereNamed(error, personal) : error
  })
  const made = personal.map(({ group, subject, data }, n) => {
    const key = at(`/personal/${n}/subject`, () => resolved.of(subject))
    return at(`/personal/${n}/data`, () => seal(tenant, key, group, data, maxGroupBytes))
  })
  if (giver !== undefined && reason !== undefined) {
    made.push(seal(tenant, resolved.of(giver), REASON_GROUP, { reason }))
  }
  return {
    commitments: made.map(({ commitment }) => commitment),
    groups: made.map(({ group }) => group),
    epoch: resolved.epoch,
  }
}

const ANY_SUBJECT = `person:${'0'.repeat(26)}`

function at<T>(pointer: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw error instanceof DomainError ? new DomainError(error.code, error.message, { pointer }) : error
  }
}

function whereNamed({ code, message, subject }: SubjectUnknown, personal: readonly PersonalInput[]): DomainError {
  const n = personal.findIndex((each) => each.subject === subject)
  return new DomainError(code, message, n < 0 ? {} : { pointer: `/personal/${n}/subject` })
}
