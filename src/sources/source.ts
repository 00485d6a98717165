import type { EventInput } from '../ledger/event.js'

/** What an importer could not take, and where it stands: `where` is `file:line`, or a repository and a commit. */
export interface Refusal {
  where: string
  code: string
  message: string
  /** JSON pointer into the line or record, where one place is to blame. */
  pointer?: string
}

/**
 * One event of a source, or what stands in its place and cannot be one.
 * `position` is what the source's position becomes once this item is dealt with; `bytes` is roughly its size in memory.
 */
export type SourceItem = { position: string; where: string; bytes: number } & (
  { event: EventInput } | { refused: { code: string; message: string; pointer?: string } }
)

/** A source opened behind a position: `already` items came before it, `total` counts the ones to come, where that is known. */
export interface OpenSource {
  already: number
  total: number | undefined
  /** Said to the user once, such as a history that was rewritten. */
  notes: string[]
  items: AsyncIterable<SourceItem>
}

/**
 * Something that events are read from, always in the same order, each with a position to go on from.
 * `name` identifies the content, not the path: what was moved or renamed is still the same source.
 */
export interface Source {
  name: string
  /** What a person calls it, for progress and messages. */
  label: string
  /**
   * @param after the position recorded last, or null for a source that was never read
   * @throws DomainError SOURCE_REWRITTEN when what was imported up to `after` is no longer what the source holds there
   */
  open(after: string | null): Promise<OpenSource>
}
