import type { Json } from '../ledger/event.js'

export type JsonObject = { [name: string]: Json }

/**
 * The members of a record that go into the leaf in clear, each only where its value fits this form. The forms leave no
 * room for a name, an address or an ARN: what does not fit is sealed, and so is every member that is not listed.
 */
const CLEAR: Readonly<Record<string, RegExp>> = {
  eventVersion: /^\d{1,3}\.\d{1,3}$/,
  eventSource: /^[a-z][a-z0-9-]{0,60}(\.[a-z][a-z0-9-]{0,60}){0,4}$/,
  eventName: /^[A-Za-z][A-Za-z0-9_-]{0,99}(\.[A-Za-z0-9_-]{1,60}){0,3}$/,
  eventType: /^Aws[A-Za-z]{1,40}$/,
  eventCategory: /^[A-Z][A-Za-z]{1,30}$/,
  awsRegion: /^(aws-global|[a-z]{2}(-[a-z]{2,12}){1,3}-\d)$/,
  apiVersion: /^\d{4}[-_]?\d{2}[-_]?\d{2}$/,
  readOnly: /^(true|false)$/,
  managementEvent: /^(true|false)$/,
  recipientAccountId: /^\d{12}$/,
  requestID: /^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[A-Z0-9]{16})$/,
  sharedEventID: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
  sessionCredentialFromConsole: /^(true|false)$/,
  vpcEndpointId: /^vpce-[0-9a-f]{8,17}$/,
  vpcEndpointAccountId: /^\d{12}$/,
  'tlsDetails.tlsVersion': /^(TLS|SSL)v\d(\.\d)?$/,
  'tlsDetails.cipherSuite': /^[A-Z0-9]+([-_][A-Z0-9]+){1,9}$/,
  'userIdentity.type': /^[A-Z][A-Za-z]{1,30}$/,
  'userIdentity.accountId': /^\d{12}$/,
  'userIdentity.sessionContext.ec2RoleDelivery': /^\d\.\d$/,
  'userIdentity.sessionContext.attributes.creationDate': /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/,
  'userIdentity.sessionContext.attributes.mfaAuthenticated': /^(true|false)$/,
  'userIdentity.sessionContext.sessionIssuer.type': /^[A-Z][A-Za-z]{1,30}$/,
  'userIdentity.sessionContext.sessionIssuer.accountId': /^\d{12}$/,
}

/** Members that name a caller: in clear only where that is a service of AWS, and no person's machine. */
const SERVICE_OR_SEALED = new Set(['sourceIPAddress', 'userAgent', 'userIdentity.invokedBy'])

/** Objects whose members are looked at one by one; any other is sealed whole. */
const OPENED = new Set([
  'userIdentity',
  'userIdentity.sessionContext',
  'userIdentity.sessionContext.attributes',
  'userIdentity.sessionContext.sessionIssuer',
  'userIdentity.sessionContext.webIdFederationData',
  'tlsDetails',
])

/** Top-level members that CloudTrail leaves null or empty: that they are is no personal data. */
const MAY_BE_EMPTY = new Set(['requestParameters', 'responseElements', 'additionalEventData', 'serviceEventDetails'])

/** Which group a sealed member belongs to: the first prefix that fits. */
const GROUPS: readonly (readonly [prefix: string, group: string])[] = [
  ['userIdentity.userName', 'name'],
  ['userIdentity.accessKeyId', 'credential'],
  ['userIdentity.credentialId', 'credential'],
  ['userIdentity', 'identity'],
  ['sourceIPAddress', 'address'],
  ['userAgent', 'agent'],
  ['tlsDetails', 'host'],
  ['errorCode', 'error'],
  ['errorMessage', 'error'],
  ['requestParameters', 'request'],
  ['responseElements', 'response'],
  ['additionalEventData', 'details'],
  ['serviceEventDetails', 'details'],
]

/** A record, taken apart: what may stand in clear, and what is sealed, by group. Merged again, the parts are the record. */
export interface Parted {
  clear: JsonObject
  sealed: Map<string, JsonObject>
}

/** Takes a record apart by the allowlist. `without` names top-level members that have places of their own. */
export function part(record: JsonObject, without: ReadonlySet<string>): Parted {
  const parted: Parted = { clear: {}, sealed: new Map() }
  const walk = (value: Json, path: string[]): void => {
    const name = path.join('.')
    if (isObject(value) && OPENED.has(name) && Object.keys(value).length > 0) {
      for (const [member, inner] of Object.entries(value)) walk(inner, [...path, member])
    } else if (mayBeClear(value, name, record)) put(parted.clear, path, value)
    else put(groupOf(parted.sealed, name), path, value)
  }
  for (const [member, value] of Object.entries(record)) if (!without.has(member)) walk(value, [member])
  return parted
}

/** Whether a member that may stand in clear has the form for it. */
export function fits(name: string, value: Json | undefined): value is string {
  return typeof value === 'string' && Object.hasOwn(CLEAR, name) && CLEAR[name]?.test(value) === true
}

/** Whether `text` is how CloudTrail writes that a service of AWS called, and neither a host nor an address. */
export function isService(text: Json | undefined): text is string {
  return (
    typeof text === 'string' && (text === 'AWS Internal' || /^[a-z][a-z0-9]*(-[a-z]+)*\.amazonaws\.com$/.test(text))
  )
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function mayBeClear(value: Json, name: string, record: JsonObject): boolean {
  if (value === null || (isObject(value) && Object.keys(value).length === 0)) {
    return Object.hasOwn(CLEAR, name) || OPENED.has(name) || MAY_BE_EMPTY.has(name)
  }
  if (typeof value === 'boolean') return Object.hasOwn(CLEAR, name) && CLEAR[name]?.test(String(value)) === true
  if (typeof value !== 'string') return false
  if (SERVICE_OR_SEALED.has(name)) return isService(value)
  if (name === 'tlsDetails.clientProvidedHostHeader') return isEndpoint(value, record)
  return fits(name, value)
}

/** The called service's own public endpoint, and so no name that a customer chose. */
function isEndpoint(host: string, record: JsonObject): boolean {
  const { eventSource, awsRegion } = record
  if (!isService(eventSource) || typeof awsRegion !== 'string') return false
  return host === eventSource || host === eventSource.replace('.amazonaws.com', `.${awsRegion}.amazonaws.com`)
}

function groupOf(sealed: Map<string, JsonObject>, name: string): JsonObject {
  const group = GROUPS.find(([prefix]) => name === prefix || name.startsWith(`${prefix}.`))?.[1] ?? 'other'
  const known = sealed.get(group)
  if (known !== undefined) return known
  const made: JsonObject = {}
  sealed.set(group, made)
  return made
}

function put(into: JsonObject, path: readonly string[], value: Json): void {
  let at = into
  for (const member of path.slice(0, -1)) {
    const next = Object.hasOwn(at, member) ? at[member] : undefined
    if (isObject(next)) at = next
    else at = define(at, member, {}) as JsonObject
  }
  define(at, path.at(-1) ?? '', value)
}

/** A plain assignment would lose a member called `__proto__`. */
function define(into: JsonObject, member: string, value: Json): Json {
  Object.defineProperty(into, member, { value, enumerable: true, configurable: true, writable: true })
  return value
}
