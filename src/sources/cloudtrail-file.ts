import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { DomainError } from '../errors.js'
import { checkEvent } from '../ledger/event.js'
import { parseStrict } from '../ledger/gate.js'
import { canonicalize } from '../ledger/jcs.js'
import { cloudtrailEvent } from './cloudtrail.js'
import { isObject } from './cloudtrail-fields.js'
import { fileSource, type FileOptions } from './files.js'
import type { Source } from './source.js'
import type { Json } from '../ledger/event.js'

/** CloudTrail records: one a line, or a file as CloudTrail delivers it, `{"Records": […]}`; gzipped or not. */
export async function cloudtrailSource(options: FileOptions): Promise<Source> {
  return fileSource(
    {
      kind: 'cloudtrail',
      map: (record) => checkEvent(cloudtrailEvent(parseStrict(record)), ''),
      split: (opening) => (/^\s*\{\s*"Records"\s*:/.test(opening.toString('latin1')) ? splitRecords : undefined),
    },
    options,
  )
}

/** The files to import under `path`, in the order of their names, which is that of time as CloudTrail delivers them. */
export async function cloudtrailFiles(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path]
  const found = await readdir(path, { recursive: true, withFileTypes: true })
  return found
    .filter((entry) => entry.isFile() && /\.(json|ndjson|jsonl)(\.gz)?$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
}

function splitRecords(document: Buffer): { pointer: string; bytes: Buffer }[] {
  const parsed = parseStrict(document) as Json
  const records = isObject(parsed) ? parsed['Records'] : undefined
  const others = isObject(parsed) ? Object.keys(parsed).filter((member) => member !== 'Records') : []
  if (!Array.isArray(records) || others.length > 0) {
    throw new DomainError(
      'CLOUDTRAIL_NOT_A_RECORD',
      `a CloudTrail file holds nothing but a list called Records; this one ${others.length > 0 ? `also holds ${others.join(', ')}` : 'holds none'}`,
      { pointer: others[0] === undefined ? '/Records' : `/${others[0]}` },
    )
  }
  return records.map((record, index) => ({ pointer: `/Records/${index}`, bytes: Buffer.from(canonicalize(record)) }))
}
