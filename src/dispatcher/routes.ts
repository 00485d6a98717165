import type { ChangeEventType } from '../approvals/change.js'
import { leafType, parseEnvelope } from '../ledger/envelope.js'
import type { Json } from '../ledger/event.js'
import type { Slice } from '../ledger/subscriptions.js'

/**
 * What an entry means for the process that its stream stands for:
 * - `start`: the process begins here; its workflow is started
 * - `nudge`: the workflow is told to look again
 * - `end`: the same, and with this entry the process is over: no workflow need run any more
 * - `park`, `retry`: the dispatcher's own, see parked.ts
 * - `nothing`
 */
export type Route = 'start' | 'nudge' | 'end' | 'park' | 'retry' | 'nothing'

/** Streams of one kind. */
export interface Area {
  /** The workflow that runs for each of them. */
  readonly workflow?: { readonly name: string; readonly input: (tenant: string, id: string) => Json }
  readonly types: Readonly<Record<string, Route>>
}

/** By the stream's prefix, its slash included. */
export type Routes = Readonly<Record<string, Area>>

/** The types of entries on the streams of each kind. A new type goes here, and then into the table. */
interface StreamEvents {
  'approvals/': 'approvals.enforced' | 'emergency.listed' | 'emergency.used' | 'emergency.reviewed'
  'change/': ChangeEventType
  'dispatch/': 'dispatch.parked' | 'dispatch.retried'
  'keys/': 'signing-key.made' | 'signing-key.retired'
  'policy/': 'policy.set' | 'policy.removed'
  'principal/':
    | 'principal.registered'
    | 'principal.linked'
    | 'principal.unlinked'
    | 'principal.disabled'
    | 'role.granted'
    | 'role.revoked'
  'role/': 'role.defined' | 'role.removed'
  'run/':
    | 'run.requested'
    | 'run.started'
    | 'run.completed'
    | 'run.failed'
    | 'run.announced'
    | 'run.announcement-failed'
    | 'verification.completed'
  'schedule/': 'schedule.set' | 'schedule.removed'
  'setting/': 'setting.set'
  'subject/': 'subject.key.destroyed'
  'token/': 'token.created' | 'token.revoked'
  'webhook/': 'webhook.set' | 'webhook.removed'
}

/** The one table of what starts what: it does not compile while a type is missing. */
export const routes = {
  'approvals/': {
    types: {
      'approvals.enforced': 'nothing',
      'emergency.listed': 'nothing',
      'emergency.used': 'nothing',
      'emergency.reviewed': 'nothing',
    },
  },
  'change/': {
    workflow: { name: 'changeApproval', input: (tenant, change) => ({ tenant, change }) },
    types: {
      'change.requested': 'start',
      'change.voted': 'nudge',
      'change.approved': 'nudge',
      'change.reopened': 'nudge',
      'change.rejected': 'end',
      'change.withdrawn': 'end',
      'change.expired': 'end',
      'change.reminded': 'nothing',
      'change.escalated': 'nothing',
      'change.emergency-used': 'nudge',
      'change.reviewed': 'nothing',
      'change.applying': 'nudge',
      'change.applied': 'end',
      'change.failed': 'end',
      'change.granted': 'nothing',
      'change.redeemed': 'nudge',
      'change.delivered': 'nudge',
      'change.delivery-failed': 'nothing',
    },
  },
  'dispatch/': { types: { 'dispatch.parked': 'park', 'dispatch.retried': 'retry' } },
  'keys/': { types: { 'signing-key.made': 'nothing', 'signing-key.retired': 'nothing' } },
  'policy/': { types: { 'policy.set': 'nothing', 'policy.removed': 'nothing' } },
  'principal/': {
    types: {
      'principal.registered': 'nothing',
      'principal.linked': 'nothing',
      'principal.unlinked': 'nothing',
      'principal.disabled': 'nothing',
      'role.granted': 'nothing',
      'role.revoked': 'nothing',
    },
  },
  'role/': { types: { 'role.defined': 'nothing', 'role.removed': 'nothing' } },
  // What is scheduled is kept in step with Temporal's schedules by a follower of its own: src/schedules/keep.ts.
  'run/': {
    types: {
      'run.requested': 'nothing',
      'run.started': 'nothing',
      'run.completed': 'nothing',
      'run.failed': 'nothing',
      'run.announced': 'nothing',
      'run.announcement-failed': 'nothing',
      'verification.completed': 'nothing',
    },
  },
  'schedule/': { types: { 'schedule.set': 'nothing', 'schedule.removed': 'nothing' } },
  'setting/': { types: { 'setting.set': 'nothing' } },
  'subject/': { types: { 'subject.key.destroyed': 'nothing' } },
  'token/': { types: { 'token.created': 'nothing', 'token.revoked': 'nothing' } },
  'webhook/': { types: { 'webhook.set': 'nothing', 'webhook.removed': 'nothing' } },
} satisfies {
  readonly [Prefix in keyof StreamEvents]: Area & { readonly types: Readonly<Record<StreamEvents[Prefix], Route>> }
}

/** An entry of a stream that the table knows. */
export interface Routed {
  readonly seq: number
  readonly stream: string
  readonly type: string
  readonly route: Exclude<Route, 'nothing'>
  readonly area: Area
  /** Recorded time. */
  readonly at: string
}

/** The entries of a slice that mean something: place and type are read from the ends of the leaf, the rest is not parsed. */
export function routedOf(table: Routes, { entries }: Pick<Slice, 'entries'>): Routed[] {
  return entries.flatMap(({ leaf }) => {
    const envelope = parseEnvelope(leaf)
    if (envelope?.stream === undefined) return []
    const { seq, stream, at } = envelope
    const area = areaOf(table, stream)
    const type = leafType(leaf)
    if (area === undefined || type === undefined) return []
    const route = routeOf(area, type)
    return route === 'nothing' ? [] : [{ seq, stream, type, route, area, at }]
  })
}

export function areaOf(table: Routes, stream: string): Area | undefined {
  const prefix = stream.slice(0, stream.indexOf('/') + 1)
  return Object.hasOwn(table, prefix) ? table[prefix] : undefined
}

/** What a newer version has written is not known here: its workflow looks at the log by itself. */
function routeOf({ types, workflow }: Area, type: string): Route {
  if (Object.hasOwn(types, type)) return types[type] ?? 'nothing'
  return workflow ? 'nudge' : 'nothing'
}

/** What a slice asks of Temporal for one stream. */
export interface Step {
  readonly stream: string
  readonly area: Area
  /** Of the first entry that asks for it. */
  readonly seq: number
  readonly type: string
  readonly start: boolean
  readonly nudge: boolean
  /** The log says that the process is over. */
  readonly ended: boolean
  /** Somebody asked to try again what was parked. */
  readonly retried: boolean
}

/** One step for each stream, in the order of their first entries: a workflow that looks at the log sees all of them. */
export function stepsOf(table: Routes, routed: readonly Routed[]): Step[] {
  const steps = new Map<string, Step>()
  for (const { seq, stream: named, type, route } of routed) {
    if (route === 'park') continue
    const retried = route === 'retry'
    const stream = retried ? parkedIn(named) : named
    const area = areaOf(table, stream)
    if (area?.workflow === undefined) continue
    const before = steps.get(stream)
    steps.set(stream, {
      stream,
      area,
      seq: before?.seq ?? seq,
      type: before?.type ?? type,
      start: route === 'start' || before?.start === true,
      nudge: route !== 'start' || before?.nudge === true,
      ended: route === 'end' || before?.ended === true,
      retried: retried || before?.retried === true,
    })
  }
  return [...steps.values()]
}

const PARKED = 'dispatch/'
/** The stream that tells what became of the entries of `stream` that could not be dispatched. */
export const parkedStream = (stream: string): string => PARKED + stream
/** The other way round. */
export const parkedIn = (stream: string): string => stream.slice(PARKED.length)

/** Types with which a process is over. */
export function endingTypes({ types }: Area): string[] {
  return Object.entries(types).flatMap(([type, route]) => (route === 'end' ? [type] : []))
}
