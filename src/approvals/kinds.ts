import { Type } from 'typebox'
import { DomainError } from '../errors.js'
import type { Json } from '../ledger/event.js'
import { covers, EMERGENCY_STREAM, policyOf, policyStream, policyVersion, type Governance } from './governance.js'
import { Kinds, type ChangeKind } from './kind.js'
import { checkPolicy, DEFAULT_POLICY, type Policy } from './policy.js'

/** All kinds of change there are: those of other domains, and those by which the rules of changes themselves change. */
export function allKinds(others: readonly ChangeKind[]): Kinds {
  const kinds: Kinds = new Kinds([...approvalKinds((name) => kinds.find(name)), ...others])
  return kinds
}

const KindName = Type.String({ minLength: 3, maxLength: 128, description: 'A kind of change, such as role.grant' })
const Groups = Type.Array(
  Type.Object(
    {
      name: Type.String(),
      count: Type.Integer(),
      roles: Type.Optional(Type.Array(Type.String())),
      people: Type.Optional(Type.Array(Type.String())),
    },
    { additionalProperties: false },
  ),
)
/** A policy as callers write it: what is left out is as in the default. `checkPolicy` knows the limits. */
export const PolicyBody = Type.Object(
  {
    groups: Type.Optional(Groups),
    denyQuorum: Type.Optional(Type.Integer({ description: 'So many rejections close a change' })),
    ttlMs: Type.Optional(Type.Integer({ description: 'How long votes may be waited for' })),
    coolingOffMs: Type.Optional(
      Type.Integer({ description: 'How long an approved change rests before it is applied' }),
    ),
    reasonRequired: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
)

interface SetPolicy {
  readonly kind: string
  readonly policy: unknown
}

interface EmergencyList {
  readonly people: readonly string[]
  readonly kinds: readonly string[]
}

/** Areas whose changes nobody makes by breaking glass. */
const NEVER = /^(?:approvals|emergency|policy|principal|role|token)\./

/** Whether changes of a kind may be made in an emergency at all, whatever the list says. */
export function mayBeEmergency(kind: ChangeKind, name: string): boolean {
  return kind.neverInEmergency !== true && !NEVER.test(name)
}

/** @param find throws for what is no kind of change */
function approvalKinds(find: (name: string) => ChangeKind): ChangeKind[] {
  const nobody = () => []
  const policyBase = (payload: Json, governance: Governance) => {
    const { kind } = payload as unknown as SetPolicy
    return { [policyStream(kind)]: policyVersion(governance, kind) }
  }
  return [
    {
      name: 'policy.set',
      what: 'say who has to agree to changes of one kind',
      payload: Type.Object({ kind: KindName, policy: PolicyBody }, { additionalProperties: false }),
      beneficiaries: nobody,
      base: policyBase,
      diff: (payload, governance) => {
        const { kind, policy } = payload as unknown as SetPolicy
        find(kind)
        return { before: asJson(policyOf(governance, kind)), after: asJson(checkPolicy(policy, '/policy')) }
      },
      effects: (payload) => {
        const { kind, policy } = payload as unknown as SetPolicy
        find(kind)
        const data = { kind, policy: asJson(checkPolicy(policy, '/policy')) }
        return [{ stream: policyStream(kind), events: [{ type: 'policy.set', data }] }]
      },
      alsoPolicies: (payload, governance) => {
        const { kind, policy } = payload as unknown as SetPolicy
        return [policyOf(governance, kind), checkPolicy(policy, '/policy')]
      },
      neverInEmergency: true,
    },
    {
      name: 'policy.remove',
      what: 'go back to the default policy for changes of one kind',
      payload: Type.Object({ kind: KindName }, { additionalProperties: false }),
      beneficiaries: nobody,
      base: policyBase,
      diff: (payload, governance) => ({
        before: asJson(removable(payload, governance)),
        after: asJson(DEFAULT_POLICY),
      }),
      effects: (payload, { governance }) => {
        removable(payload, governance)
        const { kind } = payload as unknown as SetPolicy
        return [{ stream: policyStream(kind), events: [{ type: 'policy.removed', data: { kind } }] }]
      },
      alsoPolicies: (payload, governance) => [
        policyOf(governance, (payload as unknown as SetPolicy).kind),
        DEFAULT_POLICY,
      ],
      neverInEmergency: true,
    },
    {
      name: 'emergency.list',
      what: 'say who may break glass, and for which kinds of change',
      payload: Type.Object(
        {
          people: Type.Array(Type.String(), { maxItems: 64, description: 'By pseudonym; an empty list means nobody' }),
          kinds: Type.Array(KindName, { maxItems: 64 }),
        },
        { additionalProperties: false },
      ),
      // Who is on it already gains where it comes to cover more kinds.
      beneficiaries: (payload, { emergency }) => {
        const { people, kinds } = payload as unknown as EmergencyList
        const wider = kinds.some((kind) => !covers(emergency?.kinds ?? [], kind))
        return people.filter((person) => wider || !emergency?.people.includes(person))
      },
      base: (_, { emergencyVersion }) => ({ [EMERGENCY_STREAM]: emergencyVersion }),
      diff: (payload, governance) => ({
        before: governance.emergency ? asJson(governance.emergency) : null,
        after: asJson(checkedList(payload, governance, find)),
      }),
      effects: (payload, { governance }) => {
        const list = checkedList(payload, governance, find)
        const data = { people: [...list.people], kinds: [...list.kinds] }
        return [{ stream: EMERGENCY_STREAM, events: [{ type: 'emergency.listed', data }] }]
      },
      neverInEmergency: true,
    },
  ]
}

function removable(payload: Json, governance: Governance): Policy {
  const { kind } = payload as unknown as SetPolicy
  const policy = governance.policies.get(kind)?.policy
  if (policy) return policy
  throw new DomainError('POLICY_UNKNOWN', `${kind} has no policy of its own`, { pointer: '/kind' })
}

function checkedList(
  payload: Json,
  { access }: Governance,
  find: (name: string) => ChangeKind,
): { people: string[]; kinds: string[] } {
  const { people, kinds } = payload as unknown as EmergencyList
  for (const [n, person] of people.entries()) {
    if (access.principals[person]?.kind === 'person') continue
    throw new DomainError('EMERGENCY_LIST_INVALID', `${JSON.stringify(person.slice(0, 80))} is no registered person`, {
      pointer: `/people/${n}`,
    })
  }
  for (const [n, name] of kinds.entries()) {
    const pointer = `/kinds/${n}`
    if (mayBeEmergency(find(name.replace(/\.\*$/, '.any')), name)) continue
    throw new DomainError('EMERGENCY_LIST_INVALID', `changes of the kind ${name} are never made by breaking glass`, {
      pointer,
    })
  }
  return { people: [...new Set(people)].sort(), kinds: [...new Set(kinds)].sort() }
}

const asJson = (value: object) => ({ ...value }) as Json
