import type { EventInput, Json } from '../../src/ledger/event.js'

type JsonObject = { [name: string]: Json }

/** Puts a record together again from its event: what is missing then was dropped. */
export function recordOf(event: EventInput): JsonObject {
  const { resources: clearResources, ...data } = event.data ?? {}
  const record: JsonObject = structuredClone(data)
  const groups = structuredClone(event.personal ?? [])
  const hidden = new Map<number, JsonObject>()
  for (const { group, data } of groups) {
    const number = /^resource-(\d+)$/.exec(group)?.[1]
    if (number !== undefined) hidden.set(Number(number), data as JsonObject)
    else if (group === 'resources') {
      for (const [number, resource] of Object.entries(data as JsonObject))
        hidden.set(Number(number), resource as JsonObject)
    } else merge(record, data as JsonObject)
  }
  if (clearResources !== undefined) {
    record['resources'] = (clearResources as JsonObject[]).map(({ target, ...clear }, index) => {
      const party = typeof target === 'number' ? event.targets?.[target] : undefined
      const arn = party !== undefined && 'id' in party ? { ARN: party.id } : {}
      return { ...clear, ...arn, ...hidden.get(index + 1) }
    })
  }
  if (event.id !== undefined) record['eventID'] = event.id
  if (event.occurredAt !== undefined) record['eventTime'] = event.occurredAt
  if (event.reason !== undefined) record['errorCode'] = event.reason
  return record
}

function merge(into: JsonObject, from: JsonObject): void {
  for (const [name, value] of Object.entries(from)) {
    const known = Object.hasOwn(into, name) ? into[name] : undefined
    if (isObject(known) && isObject(value)) merge(known, value)
    else if (!Object.hasOwn(into, name)) {
      Object.defineProperty(into, name, { value, enumerable: true, configurable: true, writable: true })
    } else throw new Error(`${name} stands in two places`)
  }
}

/** Every text of a record that names who called, from where and with what. */
export function personalTexts(record: JsonObject): string[] {
  const identity = (record['userIdentity'] ?? {}) as JsonObject
  const members = ['userName', 'arn', 'principalId', 'accessKeyId'].map((name) => identity[name])
  const issuer = ((identity['sessionContext'] ?? {}) as JsonObject)['sessionIssuer'] as JsonObject | undefined
  const service = /^(AWS Internal|[a-z0-9-]+\.amazonaws\.com)$/
  const callers = ['sourceIPAddress', 'userAgent']
    .map((name) => record[name])
    .filter((text) => typeof text === 'string' && !service.test(text))
  const all = [...members, issuer?.['userName'], issuer?.['arn'], issuer?.['principalId'], ...callers]
  // A root's principal is its account.
  return all.filter((text) => typeof text === 'string').filter((text) => text.length > 2 && !/^\d{12}$/.test(text))
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
