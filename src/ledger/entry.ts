import { parseEnvelope, type Envelope } from './envelope.js'
import type { LeafEvent } from './event.js'

/** An event as an entry shows it: people by pseudonym, personal data by commitment. */
export type EventView = LeafEvent

/** An event at its place in the log. */
export interface Entry extends Envelope {
  event: EventView
  /** The canonical bytes: what is hashed, exported and proved. */
  leaf: Buffer
  chainHash: Buffer
}

/**
 * Reads a leaf back. It trusts that the leaf is one of ours: what was tampered with is for `verify` to find.
 * @throws Error when the bytes are no leaf of version 1
 */
export function readLeaf(leaf: Uint8Array): { entry: Envelope; event: EventView } {
  const entry = parseEnvelope(leaf)
  if (entry === undefined) throw new Error('these bytes do not open as a leaf of version 1 does')
  const text = Buffer.from(leaf.buffer, leaf.byteOffset, leaf.length).toString('utf8')
  const { event } = JSON.parse(text) as { event: EventView }
  return { entry, event }
}

/** The entry that a row holds. */
export function readEntry(leaf: Buffer, chainHash: Buffer): Entry {
  const { entry, event } = readLeaf(leaf)
  return { ...entry, event, leaf, chainHash }
}
