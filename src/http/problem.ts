import { DomainError } from '../errors.js'
import type { FastifyReply, FastifyRequest } from 'fastify'

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8'

interface Meaning {
  readonly status: number
  readonly title: string
  /** What the caller can do about it. */
  readonly help: string
}

const meaning = (status: number, title: string, help: string): Meaning => ({ status, title, help })

const ASK_AGAIN = 'Send the request again after Retry-After seconds, with the same Idempotency-Key.'
const RESEND = 'Correct the place that pointer names and send the whole request again: nothing of it was stored.'
const LOOK_UP = 'Check the address, and that the credential is of the tenant that the resource belongs to.'

/** What each code means over HTTP: the one table from code to status. `docs/errors.md` carries it for readers. */
export const meanings: Readonly<Record<string, Meaning>> = {
  JSON_MALFORMED: meaning(400, 'This is not JSON', RESEND),
  JSON_BAD_UTF8: meaning(400, 'The text is not UTF-8', 'Encode the text as UTF-8 and send the whole request again.'),
  JSON_DUPLICATE_KEY: meaning(400, 'A member stands twice in an object', RESEND),
  JSON_UNSAFE_NUMBER: meaning(
    400,
    'A number would not survive',
    'Send 0 for -0, and as a string any other number that double precision cannot hold.',
  ),
  JSON_TOO_DEEP: meaning(400, 'Nested too deeply', 'Flatten the value to at most 64 levels.'),
  JSON_LONE_SURROGATE: meaning(400, 'Half a character', RESEND),
  JSON_NUL: meaning(400, 'U+0000 in the text', RESEND),
  JSON_NOT_A_VALUE: meaning(400, 'This has no form in JSON', RESEND),
  EVENT_UNKNOWN_MEMBER: meaning(400, 'Unknown member', RESEND),
  EVENT_MEMBER_MISSING: meaning(400, 'A member is missing', RESEND),
  EVENT_MEMBER_TYPE: meaning(400, 'A member has the wrong type', RESEND),
  EVENT_MEMBER_VALUE: meaning(400, 'A member has a value it cannot have', RESEND),
  EVENT_TYPE_GRAMMAR: meaning(400, 'The event type is not dotted words', RESEND),
  EVENT_ID: meaning(400, 'An id that cannot be kept', RESEND),
  EVENT_TIME: meaning(400, 'A time that is not RFC 3339 with an offset', RESEND),
  EVENT_TOO_LARGE: meaning(413, 'The event is too large', 'Keep large content elsewhere and report its digest.'),
  CLOUDEVENT_INVALID: meaning(400, 'Not a CloudEvent 1.0', RESEND),
  BATCH_EMPTY: meaning(400, 'No event in the request', 'Send at least one event.'),
  BATCH_TOO_LARGE: meaning(413, 'Too many events in one request', 'Send at most 1,000 events per request.'),
  BODY_TOO_LARGE: meaning(413, 'The request body is too large', 'Split the request; of events the limit is a setting.'),
  GROUP_TOO_LARGE: meaning(413, 'A group of personal data is too large', 'Keep large content elsewhere.'),
  SUBJECT_UNKNOWN: meaning(422, 'Nobody has this pseudonym', 'Name the person by kind and value instead.'),
  SUBJECT_ERASED: meaning(410, 'Erased', 'The key was destroyed: this cannot be undone.'),
  IDEMPOTENCY_KEY_INVALID: meaning(
    400,
    'The Idempotency-Key cannot be used',
    'Send 1 to 255 printable ASCII characters.',
  ),
  IDEMPOTENCY_IN_FLIGHT: meaning(409, 'The first request is still being answered', ASK_AGAIN),
  IDEMPOTENCY_KEY_REUSED: meaning(
    422,
    'This key came with another body',
    'Use a new Idempotency-Key for a new request.',
  ),
  SOURCE_MOVED: meaning(409, 'The source has moved on', 'Read its position and go on from there.'),
  LEDGER_STREAM_VERSION_CONFLICT: meaning(409, 'Somebody else was faster', 'Read the current state and decide again.'),
  KEY_EPOCH_MOVED: meaning(503, 'Keys changed meanwhile', ASK_AGAIN),
  QUEUE_FULL: meaning(503, 'More is being written than the database takes', ASK_AGAIN),
  STORE_UNAVAILABLE: meaning(503, 'The database cannot be reached', ASK_AGAIN),
  OUTCOME_UNKNOWN: meaning(503, 'It is not known whether this was written', ASK_AGAIN),
  CLOCK_AHEAD: meaning(503, "The server's clock is ahead", 'Set the clock of the server that answers.'),
  SHUTTING_DOWN: meaning(503, 'The service is shutting down', ASK_AGAIN),
  TENANT_UNKNOWN: meaning(404, 'No such tenant', LOOK_UP),
  ENTRY_UNKNOWN: meaning(404, 'No such entry', LOOK_UP),
  GROUP_UNKNOWN: meaning(404, 'No such group of personal data', 'Name a group that the entry lists under sealed.'),
  REASON_MISSING: meaning(400, 'No reason was given', 'Say why: the reason is kept, sealed, with the record.'),
  DECRYPTION_FAILED: meaning(500, 'A sealed value does not open', 'Tell the operator: this is a finding.'),
  KEY_UNKNOWN: meaning(500, 'A key is missing', 'Tell the operator: the key file lacks a key that was used.'),
  REPORT_PERIOD_INVALID: meaning(400, 'Not a period', RESEND),
  REPORT_TIME_ZONE_UNKNOWN: meaning(400, 'No such time zone', 'Send an IANA name, such as Europe/Berlin or UTC.'),
  REPORT_FILTER_INVALID: meaning(400, 'The filter cannot match anything', RESEND),
  REPORT_UNKNOWN: meaning(404, 'No such report', LOOK_UP),
  REPORT_FILE_MISSING: meaning(404, 'No such file', 'Name a file that exists.'),
  REPORT_NOT_REPRODUCIBLE: meaning(500, 'The file is gone, and made again it differs', 'Make the report anew.'),
  REPORT_FONT_UNUSABLE: meaning(500, 'A font of the settings cannot be used', 'Tell the operator: COUNTERSIGN_FONTS.'),
  REPORTS_BUSY: meaning(503, 'Too many reports are being made', 'Send the request again after Retry-After seconds.'),
  REPORT_KIND_UNKNOWN: meaning(400, 'No such kind of report', 'Name a kind of report that the message lists.'),
  REPORT_PARAMETERS_INVALID: meaning(400, 'The report cannot have these parameters', RESEND),
  SCHEDULE_INVALID: meaning(400, 'Not a schedule', RESEND),
  SCHEDULE_CRON_INVALID: meaning(400, 'Not a line of cron', RESEND),
  SCHEDULE_CALENDAR_INVALID: meaning(400, 'Not a calendar', RESEND),
  SCHEDULE_NEVER_DUE: meaning(422, 'The schedule would never be due', 'Name a day that the calendar has.'),
  SCHEDULE_TOO_FREQUENT: meaning(
    422,
    'The schedule would be due too often',
    'Leave at least 15 minutes between two runs.',
  ),
  SCHEDULE_UNKNOWN: meaning(404, 'No such schedule', LOOK_UP),
  SCHEDULE_RESERVED: meaning(
    422,
    'The schedule belongs to the service',
    'Choose another id, or pause it and choose its recipients.',
  ),
  SCHEDULES_TOO_MANY: meaning(422, 'Too many schedules', 'Remove one first.'),
  RUN_UNKNOWN: meaning(404, 'No such run', LOOK_UP),
  SETTING_UNKNOWN: meaning(422, 'No such setting', 'Name a setting that the message lists.'),
  SETTING_INVALID: meaning(422, 'The setting cannot be that', RESEND),
  FILTER_INVALID: meaning(400, 'The filter cannot be used', 'Correct the parameter that pointer names.'),
  RANGE_INVALID: meaning(400, 'Not a range', 'Correct the parameter that pointer names.'),
  CURSOR_INVALID: meaning(
    400,
    'Not a cursor of this query',
    'Send what the answer before gave: next of a page with the same parameters, or the id of a feed.',
  ),
  INDEX_BEHIND: meaning(503, 'The index has not caught up', 'Send the request again after Retry-After seconds.'),
  TOKEN_MISSING: meaning(401, 'No credential', 'Send Authorization: Bearer cs_<tenant>.<secret>.'),
  TOKEN_INVALID: meaning(401, 'The token is not known', 'Use a valid token; it is shown once, when it is made.'),
  TOKEN_EXPIRED: meaning(401, 'The token has expired', 'Make a new token.'),
  TOKEN_REVOKED: meaning(401, 'The token was revoked', 'Make a new token.'),
  PERMISSION_MISSING: meaning(403, 'Not permitted', 'Use a token that has the permission which detail names.'),
  TENANT_MISMATCH: meaning(403, 'Another tenant was named', 'Leave the tenant out: the credential names it.'),
  TOKEN_UNKNOWN: meaning(404, 'No such token', LOOK_UP),
  TOKEN_EXPIRY_INVALID: meaning(400, 'The expiry cannot be used', 'Send a future time: RFC 3339 with an offset.'),
  TOKEN_DESCRIPTION_INVALID: meaning(400, 'The description cannot be kept', RESEND),
  PRINCIPAL_INVALID: meaning(400, 'Not a principal', RESEND),
  PRINCIPAL_RESERVED: meaning(422, 'A reserved principal', 'Choose another service name.'),
  PERMISSION_INVALID: meaning(400, 'Not a permission', RESEND),
  PERMISSION_ESCALATION: meaning(403, 'More than your own permissions', 'Grant only what you have yourself.'),
  ROLE_INVALID: meaning(400, 'Not a role', RESEND),
  ROLE_UNKNOWN: meaning(404, 'No such role', 'Define the role first, or correct its name.'),
  ROLE_CYCLE: meaning(422, 'A role would inherit from itself', 'Leave out the role that pointer names.'),
  ROLE_IN_USE: meaning(409, 'The role is in use', 'Revoke it from everybody and take it out of other roles first.'),
  PRINCIPAL_UNKNOWN: meaning(404, 'No such principal', 'Register the principal first, or correct its name.'),
  PRINCIPAL_DISABLED: meaning(409, 'The principal was disabled', 'Register it again first.'),
  PRINCIPAL_LINKED: meaning(409, 'Linked to somebody else', 'Unlink it first.'),
  PRINCIPAL_NOT_A_PERSON: meaning(422, 'Not a person', 'Only people are linked: name a person by pseudonym.'),
  PRINCIPAL_OWNER_INVALID: meaning(
    422,
    'Not an owner',
    'Name another registered principal as owner, of a service only.',
  ),
  TOKEN_BEYOND_ROLES: meaning(
    422,
    'More than the principal may do',
    'Have the principal given a role that allows it first.',
  ),
  WEBHOOK_TARGET_REFUSED: meaning(
    422,
    'This address is not called',
    'Name a public https:// address, or ask the operator.',
  ),
  WEBHOOK_TARGET_UNRESOLVED: meaning(
    422,
    'The host has no address',
    'Check its name, and that the name service knows it.',
  ),
  WEBHOOK_UNREACHABLE: meaning(502, 'The receiver cannot be reached', 'Check that it answers at this address.'),
  WEBHOOK_TIMEOUT: meaning(502, 'The receiver does not answer in time', 'Let it answer first, and work afterwards.'),
  CHANGE_NOT_CLAIMABLE: meaning(409, 'Nothing is claimed of this change', 'Claim of changes token.create.'),
  CLAIM_TAKEN: meaning(
    409,
    'The token has been claimed',
    'Whoever claimed it was shown it; request another if it is lost.',
  ),
  CLAIM_NOT_YOURS: meaning(403, 'This token is for somebody else', 'Let the principal claim it that it is for.'),
  CLAIM_HAS_CREDENTIAL: meaning(409, 'The principal can claim it alone', 'Let it claim with the token that it has.'),
  WEBHOOK_STATUS: meaning(502, 'The receiver did not answer 2xx', 'Look at what it answers, and why.'),
  WEBHOOK_INVALID: meaning(400, 'This is no webhook', RESEND),
  WEBHOOK_UNKNOWN: meaning(404, 'No such webhook', LOOK_UP),
  CHANGE_NOT_READY: meaning(
    409,
    'The change is not approved, or rests',
    'Look at the change: it says what it waits for.',
  ),
  CHANGE_NOT_GRANTABLE: meaning(409, 'There are no grants for this change', 'Look at how the change is delivered.'),
  GRANT_INVALID: meaning(422, 'This is no grant of this change', 'Ask the requester for another grant.'),
  GRANT_EXPIRED: meaning(422, 'The grant has expired', 'Ask the requester for another grant.'),
  GRANT_REDEEMED: meaning(
    409,
    'A grant of this change has been redeemed',
    'Do nothing: whoever redeemed it has it done.',
  ),
  GRANTS_SPENT: meaning(409, 'Too many grants were given out', 'Request the change again.'),
  SIGNING_KEY_MISSING: meaning(500, 'The signing key is not there', 'Tell the operator: restore or rotate it.'),
  SIGNING_KEY_FILE_INVALID: meaning(500, 'The file of signing keys cannot be used', 'Tell the operator to restore it.'),
  CHANGE_KIND_UNKNOWN: meaning(404, 'No such kind of change', 'Name a kind that detail lists.'),
  CHANGE_PAYLOAD_INVALID: meaning(400, 'The payload does not fit its kind', RESEND),
  CHANGE_PAYLOAD_TOO_LARGE: meaning(
    413,
    'The payload is too large',
    'Refer to larger things by their digest: a payload has at most 32 KiB.',
  ),
  CHANGE_PAYLOAD_SECRET: meaning(
    400,
    'A secret in clear',
    'Name the secret by reference: the log keeps the payload for good.',
  ),
  CHANGE_EXPIRY_INVALID: meaning(
    400,
    'The times of the change cannot be used',
    'Send future times within the limits that detail names: RFC 3339 with an offset.',
  ),
  CHANGE_REASON_MISSING: meaning(400, 'No reason was given', 'Say why: the reason is kept, sealed, with the record.'),
  CHANGE_PARTY_INVALID: meaning(400, 'Not somebody a change can name', RESEND),
  CHANGE_UNKNOWN: meaning(404, 'No such change', LOOK_UP),
  CHANGE_CLOSED: meaning(
    409,
    'The change does not wait for this any more',
    'Read the change; request it again where it is still wanted.',
  ),
  CHANGE_NOT_YOURS: meaning(403, 'Somebody else asked for it', 'Vote against it instead, or ask whoever requested it.'),
  CHANGE_REQUIRED: meaning(409, 'Two people have to agree', 'Request a change of the kind that detail names.'),
  CHANGE_BASE_MOVED: meaning(409, 'What it rests on has changed', 'Request it again, against what is there now.'),
  CHANGE_PAYLOAD_DIFFERS: meaning(500, 'The payload is not what was approved', 'Tell the operator: this is a finding.'),
  VOTE_HASH_DIFFERS: meaning(409, 'Another version was seen', 'Read the change again, and decide on that.'),
  VOTE_REPEATED: meaning(409, 'You have voted already', 'Nothing: the first vote stands.'),
  VOTE_FINAL: meaning(409, 'A rejection is not taken back', 'Request the change again where it is still wanted.'),
  VOTE_NOT_A_PERSON: meaning(403, 'Only people vote', 'Use a token of a registered person.'),
  VOTE_NOT_ENTITLED: meaning(
    403,
    'Not entitled to vote on this',
    'Have a role and a token that both allow approving this kind of change.',
  ),
  VOTE_BY_REQUESTER: meaning(403, 'Your own request', 'Let others decide.'),
  VOTE_BY_PRINCIPAL: meaning(403, 'On your behalf', 'Let others decide.'),
  VOTE_BY_BENEFICIARY: meaning(403, 'You gain by it', 'Let others decide.'),
  VOTE_BY_OWNER: meaning(403, 'Your own service asked for it', 'Let others decide.'),
  VOTE_CREDENTIAL_RELATED: meaning(
    403,
    'The token is not independent',
    'Vote with a token that no other party to this change had a hand in making.',
  ),
  VOTE_CREDENTIAL_REVOKED: meaning(
    403,
    'The token does not hold',
    'Use a token of your own that is neither revoked nor expired.',
  ),
  VOTE_CREDENTIAL_UNKNOWN: meaning(403, 'The log knows nothing of this token', 'Tell the operator: this is a finding.'),
  VOTE_SAME_PERSON: meaning(403, 'The same person has voted', 'Let others decide.'),
  VOTE_STATEMENT_DIFFERS: meaning(409, 'The vote is not about this', 'Tell the operator: this is a finding.'),
  POLICY_INVALID: meaning(400, 'Not a policy', RESEND),
  POLICY_UNKNOWN: meaning(404, 'No such policy', 'List the policies there are.'),
  POLICY_UNSATISFIABLE: meaning(
    422,
    'Nobody could approve any more',
    'Give more people the right to approve, or ask for fewer.',
  ),
  EMERGENCY_OFF: meaning(403, 'Nobody may break glass', 'Request the change and have it approved.'),
  EMERGENCY_NOT_LISTED: meaning(
    403,
    'Not on the emergency list',
    'Have the change approved, or ask somebody on the list.',
  ),
  EMERGENCY_KIND_NEVER: meaning(403, 'Never by breaking glass', 'Have the change approved.'),
  EMERGENCY_REVIEW_DUE: meaning(
    409,
    'The last emergency use was not reviewed',
    'Have somebody review it who neither used it nor asked for that change.',
  ),
  EMERGENCY_NOT_USED: meaning(409, 'Nobody broke glass for it', 'Name a change for which somebody did.'),
  EMERGENCY_REVIEWED: meaning(409, 'Reviewed already', 'Nothing: the first review stands.'),
  EMERGENCY_LIST_INVALID: meaning(422, 'Not an emergency list', RESEND),
  REQUEST_INVALID: meaning(400, 'The request does not fit the API description', RESEND),
  REQUEST_MALFORMED: meaning(400, 'The request cannot be read', 'Send a well-formed HTTP/1.1 request.'),
  REQUEST_TIMEOUT: meaning(408, 'The request took too long to arrive', 'Send the request again, at once and whole.'),
  HEADERS_TOO_LARGE: meaning(431, 'The headers are too large', 'Send fewer or shorter headers.'),
  URL_TOO_LONG: meaning(414, 'A part of the address is too long', LOOK_UP),
  CONTENT_TYPE_UNSUPPORTED: meaning(415, 'This content type is not taken', 'Send a content type that detail lists.'),
  ROUTE_UNKNOWN: meaning(404, 'Nothing is at this address', 'See /docs for the addresses there are.'),
  METHOD_NOT_ALLOWED: meaning(405, 'Not with this method', 'Use a method that the Allow header lists.'),
  RATE_LIMITED: meaning(429, 'Too many requests', 'Wait for Retry-After seconds.'),
}

/** An RFC 9457 problem document, with our members beside its own. */
export interface Problem {
  type: string
  title: string
  status: number
  detail: string
  code: string
  /** JSON pointer into what was sent; of a header its name in lower case, `/idempotency-key`. */
  pointer?: string
  /** 0-based index of the event that is to blame. */
  index?: number
  /** What the caller can do. */
  help: string
  requestId?: string
}

const internal = meaning(500, 'Something went wrong here', 'Send it again later; name requestId to the operator.')

/** The header that is to blame, for codes of which the domain knows no place. */
const headers: Readonly<Record<string, string>> = {
  CONTENT_TYPE_UNSUPPORTED: '/content-type',
  IDEMPOTENCY_KEY_INVALID: '/idempotency-key',
  IDEMPOTENCY_KEY_REUSED: '/idempotency-key',
  IDEMPOTENCY_IN_FLIGHT: '/idempotency-key',
}

export function problemOf(error: DomainError): Problem {
  const { status, title, help } = meanings[error.code] ?? internal
  const pointer = error.pointer ?? headers[error.code]
  return {
    type: `urn:countersign:error:${error.code}`,
    title,
    status,
    detail: error.message,
    code: error.code,
    ...(pointer !== undefined && { pointer }),
    ...(error.index !== undefined && { index: error.index }),
    help,
  }
}

/** For what is a bug: the caller is told nothing more. */
export function internalProblem(): Problem {
  const { status, title, help } = internal
  return {
    type: 'about:blank',
    title,
    status,
    detail: "The request failed for a reason that is the service's own.",
    code: 'INTERNAL',
    help,
  }
}

/** Fastify's own refusals in our words. */
export function fromFastify(
  { code, statusCode = 500 }: { code?: unknown; statusCode?: number },
  request: FastifyRequest,
): DomainError | undefined {
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return bodyTooLarge(request)
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new DomainError(
        'CONTENT_TYPE_UNSUPPORTED',
        `this takes application/json, not ${JSON.stringify((request.headers['content-type'] ?? 'nothing').slice(0, 80))}`,
      )
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new DomainError('REQUEST_MALFORMED', 'the body is not as long as Content-Length says')
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return new DomainError('JSON_MALFORMED', 'the body is empty: send JSON', { pointer: '' })
    case 'FST_ERR_BAD_URL':
      return new DomainError('REQUEST_MALFORMED', 'the address holds a percent sign that encodes nothing')
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new DomainError('URL_TOO_LONG', 'a part of the address is longer than any name there is')
    default:
      return statusCode >= 400 && statusCode < 500
        ? new DomainError('REQUEST_MALFORMED', 'the request cannot be read')
        : undefined
  }
}

function bodyTooLarge({ headers, routeOptions }: FastifyRequest): DomainError {
  const told = headers['content-length']
  const size = told === undefined ? 'the body is larger' : `the body of ${told} bytes is larger`
  return new DomainError('BODY_TOO_LARGE', `${size} than ${routeOptions.bodyLimit} bytes, the limit here`)
}

/** Outages of the database, as drivers tell them. */
export function isOutage(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  if (/^(?:ECONN|EPIPE|ENOTFOUND|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|ENOENT|EAI_)/.test(code)) return true
  if (/^(?:08|53|57P|58)/.test(code) && code.length === 5) return true
  return /^(?:timeout exceeded when trying to connect|Connection terminated|Client has encountered a connection error|Query read timeout|Cannot use a pool after)/.test(
    error.message,
  )
}

export async function sendProblem(
  request: FastifyRequest,
  reply: FastifyReply,
  problem: Problem,
  retryAfterS?: number,
): Promise<void> {
  if (retryAfterS !== undefined) void reply.header('retry-after', Math.max(1, Math.ceil(retryAfterS)))
  if (problem.status === 401) void reply.header('www-authenticate', 'Bearer realm="countersign"')
  problem.requestId = request.id
  await reply
    .code(problem.status)
    .header('content-type', PROBLEM_TYPE)
    .serializer((payload: unknown) => JSON.stringify(payload))
    .send(problem)
}
