import type { EventInput, Json } from '../../src/ledger/event.js'
import { DomainError } from '../../src/errors.js'
import type { ImportDeps } from '../../src/sources/import.js'
import type { Source, SourceItem } from '../../src/sources/source.js'

export async function readAll(source: Source, after: string | null = null): Promise<SourceItem[]> {
  const { items } = await source.open(after)
  const all: SourceItem[] = []
  for await (const item of items) all.push(item)
  return all
}

/** The events of a source that refuses none. */
export async function eventsOf(source: Source, after: string | null = null): Promise<EventInput[]> {
  return (await readAll(source, after)).map((item) => {
    if ('refused' in item) throw new Error(`${item.where}: ${item.refused.code} ${item.refused.message}`)
    return item.event
  })
}

/** What an event shows to everybody: all of it but the sealed groups and the identifiers that become pseudonyms. */
export function inClear(event: EventInput): string {
  const { personal, actor, targets, ...rest } = event
  const parties = [actor, ...(targets ?? [])].map((party) =>
    party === undefined || 'id' in party ? party : { type: party.type },
  )
  const groups = personal?.map(({ group }) => group)
  return JSON.stringify({ ...rest, parties, groups })
}

export function groupsOf(event: EventInput): Record<string, Json> {
  return Object.fromEntries((event.personal ?? []).map(({ group, data }) => [group, data]))
}

/** The driver's view of a store, in memory: for what concerns reading order and positions. The database's part is tested with it. */
export class MemoryStore implements ImportDeps {
  readonly events: EventInput[] = []
  readonly positions = new Map<string, string>()
  /** Runs before each append: what another importer does in between. */
  before: (() => Promise<void>) | undefined

  position = async (source: string): Promise<string | null> => this.positions.get(source) ?? null

  ingest: ImportDeps['ingest'] = async (events, { source, after, now }) => {
    const intruder = this.before
    this.before = undefined
    await intruder?.()
    if ((this.positions.get(source) ?? null) !== after) throw new DomainError('SOURCE_MOVED', 'moved')
    const blamed = events.findIndex(({ type }) => type === 'too.large')
    if (blamed >= 0) throw new DomainError('EVENT_TOO_LARGE', 'too large', { index: blamed })
    if (events.some(({ actor }) => actor !== undefined && 'id' in actor && actor.id === 'person:nobody')) {
      throw new DomainError('SUBJECT_UNKNOWN', 'person:nobody is nobody')
    }
    this.positions.set(source, now)
    return { entries: events.map((event) => ({ seq: this.events.push(event) - 1 })) }
  }
}
