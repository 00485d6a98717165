import { readLeaf, type EventView } from './entry.js'

/** A row of `entries`. */
export interface EntryRow {
  readonly seq: number
  readonly leaf: Buffer
  readonly chain_hash: Buffer
}

/** An entry as answers show it. */
export interface EntryView {
  readonly seq: number
  /** Recorded time. */
  readonly at: string
  /** The principal that submitted it, and the credential it used. */
  readonly by: string
  readonly via: string
  /** Only entries of commands have a stream and a version in it. */
  readonly stream?: string
  readonly version?: number
  /** Somebody reported it: the log says that they said so, and acts on nothing of it. */
  readonly reported: boolean
  readonly event: EventView
  /** Hex. */
  readonly chainHash: string
}

export function viewOf({ leaf, chain_hash: chainHash }: EntryRow): EntryView {
  const { entry, event } = readLeaf(leaf)
  return {
    seq: entry.seq,
    at: entry.at,
    by: entry.by,
    via: entry.via,
    ...(entry.stream === undefined ? {} : { stream: entry.stream }),
    ...(entry.version === undefined ? {} : { version: entry.version }),
    reported: event.source !== undefined,
    event,
    chainHash: chainHash.toString('hex'),
  }
}
