import type { EventInput, Json } from '../../src/ledger/event.js'
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
