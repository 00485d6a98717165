import type { TSchema } from 'typebox'
import { Compile, type Validator } from 'typebox/compile'
import { DomainError } from '../errors.js'
import type { Json } from '../ledger/event.js'
import { canonicalBytes } from '../ledger/jcs.js'
import { pointerTo } from '../ledger/pointer.js'
import type { ChangeKind } from './kind.js'
import { MAX_PAYLOAD_BYTES } from './payload.js'
import { secretIn } from './secrets.js'

const compiled = new WeakMap<TSchema, Validator>()

/**
 * Holds a payload against its kind's schema and the limits of all payloads.
 * @param pointer of the payload in what the caller sent
 * @throws DomainError CHANGE_PAYLOAD_INVALID, CHANGE_PAYLOAD_TOO_LARGE, CHANGE_PAYLOAD_SECRET, and what the gate refuses
 */
export function checkPayload(kind: ChangeKind, payload: Json, pointer = '/payload'): void {
  const bytes = canonicalBytes(payload, pointer).length
  if (bytes > MAX_PAYLOAD_BYTES) {
    throw new DomainError(
      'CHANGE_PAYLOAD_TOO_LARGE',
      `the payload has ${bytes} bytes as canonical JSON, and the limit is ${MAX_PAYLOAD_BYTES}: refer to larger things by their digest`,
      { pointer },
    )
  }
  const check = compiled.get(kind.payload) ?? Compile(kind.payload)
  compiled.set(kind.payload, check)
  if (!check.Check(payload)) throw misshapen(kind, check.Errors(payload), pointer)
  const secret = secretIn(payload, pointer)
  if (secret !== undefined) {
    throw new DomainError(
      'CHANGE_PAYLOAD_SECRET',
      'this looks like a secret, and the log keeps it for good: name it by reference, {"ref": "vault:billing/key#3"}',
      { pointer: secret },
    )
  }
}

interface Fault {
  readonly keyword: string
  readonly instancePath: string
  readonly message: string
  readonly params: object
}

function misshapen(kind: ChangeKind, faults: readonly Fault[], pointer: string): DomainError {
  const unknown = faults.find(({ keyword }) => keyword === 'additionalProperties')
  const missing = faults.find(({ keyword }) => keyword === 'required')
  const fault = unknown ?? missing ?? faults.at(-1)
  if (!fault) throw new Error('a refusal without a reason')
  const { additionalProperties, requiredProperties } = fault.params as Record<string, readonly string[] | undefined>
  const [name] = additionalProperties ?? requiredProperties ?? []
  const said = unknown
    ? `${JSON.stringify(name)} is not known there`
    : missing
      ? `${String(name)} is missing`
      : `${fault.instancePath === '' ? 'it' : fault.instancePath.slice(1)} ${fault.message}`
  return new DomainError('CHANGE_PAYLOAD_INVALID', `this is no payload of a ${kind.name}: ${said}`, {
    pointer: name === undefined ? pointer + fault.instancePath : pointerTo(pointer + fault.instancePath, name),
  })
}
