import type { Json, PartyInput } from '../ledger/event.js'
import { isObject, isService, type JsonObject } from './cloudtrail-fields.js'

/** Who acted, by what AWS calls them. */
export interface Actor {
  party: PartyInput | undefined
  /** Whose the record's sealed members are: the person who acted, or the account where no person did. */
  subject: { kind: string; value: string }
  /** Strings that name this person, so that nothing that contains one stands in clear. */
  names: string[]
}

/** What CloudTrail writes for the name in a failed sign-in. It is nobody's. */
const HIDDEN = 'HIDDEN_DUE_TO_SECURITY_REASONS'

/**
 * The actor of a record. Users, roots and sessions of roles are persons, known by their ARN (a session's name is often a
 * person's address); services are not, nor are the sessions that a service opens under its own service-linked role.
 */
export function actorOf(record: JsonObject): Actor {
  const identity = isObject(record['userIdentity']) ? record['userIdentity'] : {}
  const account = text(identity['accountId']) ?? text(record['recipientAccountId'])
  const ofAccount = { kind: 'aws-account', value: account ?? 'unknown' }
  const invoker = identity['invokedBy']
  const type = partyType(text(identity['type']))
  const names = namesOf(record, identity)
  const person = isServiceLinked(identity) && isService(invoker) ? undefined : personOf(identity, account)
  if (person !== undefined) return { party: { ...person, type }, subject: person, names }
  if (isService(invoker)) {
    return { party: { id: `aws-service:${invoker}`, type: 'service' }, subject: ofAccount, names }
  }
  const party = account === undefined ? undefined : { id: `aws-account:${account}`, type: 'account' }
  return { party, subject: ofAccount, names }
}

/** Whether an ARN is a person's: a user's or a session's, at IAM, STS or any service that has users of its own. */
export function isPersonArn(arn: string): boolean {
  const [, , service, , , ...rest] = arn.split(':')
  const resource = rest.join(':')
  if (service === 'sts') return /^(assumed-role|federated-user)\//.test(resource)
  if (service === 'iam') return /^(root$|user\/|mfa\/|u2f\/|sms-mfa\/|access-key)/.test(resource)
  return /^(db-?)?user[/:]/.test(resource) || arn.includes('@')
}

function personOf(identity: JsonObject, account: string | undefined): { kind: string; value: string } | undefined {
  const arn = text(identity['arn'])
  if (arn !== undefined) return { kind: 'aws-arn', value: arn }
  const userName = text(identity['userName'])
  if (userName !== undefined && userName !== HIDDEN) return { kind: 'aws-user', value: `${account ?? ''}/${userName}` }
  const onBehalfOf = isObject(identity['onBehalfOf']) ? text(identity['onBehalfOf']['userId']) : undefined
  if (onBehalfOf !== undefined) return { kind: 'aws-identity-center-user', value: onBehalfOf }
  const principal = text(identity['principalId'])
  return principal === undefined || principal === account ? undefined : { kind: 'aws-principal', value: principal }
}

function isServiceLinked(identity: JsonObject): boolean {
  const session = identity['sessionContext']
  const issuer = isObject(session) ? session['sessionIssuer'] : undefined
  return isObject(issuer) && (text(issuer['arn'])?.includes(':role/aws-service-role/') ?? false)
}

function namesOf(record: JsonObject, identity: JsonObject): string[] {
  const arn = text(identity['arn'])
  const principal = text(identity['principalId'])
  const address = [record['sourceIPAddress'], record['userAgent']].filter((value) => !isService(value))
  // A machine's session is called by the machine's id, which names nobody.
  const session = [arn?.split('/').at(-1), principal?.split(':').at(-1)].filter(
    (name) => !/^i-[0-9a-f]+$/.test(name ?? ''),
  )
  // Shorter ones are found in anything: they name nobody either.
  return [text(identity['userName']), arn, principal, text(identity['accessKeyId']), ...session, ...address.map(text)]
    .filter((name) => name !== undefined)
    .filter((name) => name.length > 2 && name !== HIDDEN)
}

/** `IAMUser` is simply a user; the others keep their names: `assumed-role`, `root`. */
function partyType(type: string | undefined): string {
  if (type === undefined || type === 'IAMUser') return 'user'
  return type.replaceAll(/([a-z])([A-Z])/g, '$1-$2').toLowerCase()
}

function text(value: Json | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
