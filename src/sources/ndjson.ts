import { checkEvent, type EventInput } from '../ledger/event.js'
import { parseStrict } from '../ledger/gate.js'
import { fileSource, type FileOptions } from './files.js'
import type { Source } from './source.js'

/** A file with one event a line, in the form that `POST /v1/events` takes. Blank lines are passed over. */
export async function ndjsonSource(options: FileOptions): Promise<Source> {
  return fileSource({ kind: 'ndjson', map: readEvent }, options)
}

function readEvent(line: Buffer): EventInput {
  return checkEvent(parseStrict(line), '')
}
