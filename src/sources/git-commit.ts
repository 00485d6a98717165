/** A commit object as git stores it, decoded without loss. */
export interface Commit {
  sha: string
  tree: string
  parents: string[]
  author: Signature
  committer: Signature
  /** The encoding the commit declares for its names and its message; git's default is UTF-8. */
  encoding: string | undefined
  /** What kind of signature it carries, which says nothing about whether it is good. */
  signature: 'openpgp' | 'ssh' | 'x509' | 'unknown' | undefined
  /** Names of further headers, such as `mergetag`. */
  headers: string[]
  message: Text
}

export interface Signature {
  name: Text
  email: Text
  /** Seconds since 1970 and offset as written, such as `1688990082 +0200`. */
  when: string
}

/**
 * Text that was bytes. `bytes` is absent when they were text in the declared encoding. Otherwise `latin1` says that each
 * character of `text` stands for one byte, and `base64` that `text` is base64 (they hold a NUL, which no JSON text may).
 */
export interface Text {
  text: string
  bytes?: 'latin1' | 'base64'
}

/** @throws RangeError when `object` is not a commit object */
export function parseCommit(sha: string, object: Buffer): Commit {
  const split = object.indexOf('\n\n')
  const end = split < 0 ? object.length : split
  const headers = headerLines(object.subarray(0, end))
  const first = (name: string): Buffer | undefined => headers.find((header) => header.name === name)?.value
  const [tree, author, committer] = [first('tree'), first('author'), first('committer')]
  if (tree === undefined || author === undefined || committer === undefined) {
    throw new RangeError(`commit ${sha} has no tree, author or committer`)
  }
  const encoding = first('encoding')?.toString('latin1')
  const known = ['tree', 'parent', 'author', 'committer', 'encoding', 'gpgsig', 'gpgsig-sha256']
  return {
    sha,
    tree: tree.toString('latin1'),
    parents: headers.filter(({ name }) => name === 'parent').map(({ value }) => value.toString('latin1')),
    author: parseSignature(author, encoding),
    committer: parseSignature(committer, encoding),
    encoding,
    signature: signatureKind(first('gpgsig') ?? first('gpgsig-sha256')),
    headers: [...new Set(headers.map(({ name }) => name))].filter((name) => !known.includes(name)),
    message: decode(split < 0 ? Buffer.alloc(0) : object.subarray(split + 2), encoding),
  }
}

/** Decodes without loss: what is not text in its encoding is taken byte by byte, and says so. */
export function decode(bytes: Buffer, encoding: string | undefined): Text {
  if (bytes.includes(0)) return { text: bytes.toString('base64'), bytes: 'base64' }
  const text = tryDecode(bytes, encoding ?? 'utf-8')
  return text === undefined || text.includes('\0') ? { text: bytes.toString('latin1'), bytes: 'latin1' } : { text }
}

/**
 * RFC 3339 with the offset as written, from git's `seconds offset`.
 * @returns undefined where RFC 3339 has no form for it: a year outside 0001 to 9999, or an offset that is none
 */
export function rfc3339(when: string): string | undefined {
  const match = /^(-?\d{1,12}) ([+-])(\d\d)(\d\d)$/.exec(when)
  if (match === null) return undefined
  const [, seconds = '', sign = '', hours = '', minutes = ''] = match
  if (Number(hours) > 23 || Number(minutes) > 59) return undefined
  const offsetS = (sign === '-' ? -1 : 1) * (Number(hours) * 3600 + Number(minutes) * 60)
  const local = new Date((Number(seconds) + offsetS) * 1000)
  if (!(local.getUTCFullYear() >= 1 && local.getUTCFullYear() <= 9999)) return undefined
  return `${local.toISOString().slice(0, 19)}${sign}${hours}:${minutes}`
}

function headerLines(block: Buffer): { name: string; value: Buffer }[] {
  const found: { name: string; value: Buffer }[] = []
  for (let at = 0; at < block.length;) {
    const feed = block.indexOf(0x0a, at)
    const line = block.subarray(at, feed < 0 ? block.length : feed)
    at += line.length + 1
    const last = found.at(-1)
    if (line[0] === 0x20 && last !== undefined) {
      last.value = Buffer.concat([last.value, Buffer.from('\n'), line.subarray(1)])
      continue
    }
    const space = line.indexOf(0x20)
    found.push({
      name: line.subarray(0, space < 0 ? line.length : space).toString('latin1'),
      value: space < 0 ? Buffer.alloc(0) : line.subarray(space + 1),
    })
  }
  return found
}

/** `Name <email> seconds offset`, where old repositories hold more brackets, no name or no address. */
function parseSignature(line: Buffer, encoding: string | undefined): Signature {
  const open = line.indexOf(0x3c)
  const close = line.lastIndexOf(0x3e)
  if (open < 0 || close < open) return { name: decode(line, encoding), email: { text: '' }, when: '' }
  const nameEnd = open > 0 && line[open - 1] === 0x20 ? open - 1 : open
  return {
    name: decode(line.subarray(0, nameEnd), encoding),
    email: decode(line.subarray(open + 1, close), encoding),
    when: line
      .subarray(close + 1)
      .toString('latin1')
      .trim(),
  }
}

function signatureKind(block: Buffer | undefined): Commit['signature'] {
  if (block === undefined) return undefined
  const opening = block.subarray(0, 64).toString('latin1')
  if (opening.includes('BEGIN PGP')) return 'openpgp'
  if (opening.includes('BEGIN SSH')) return 'ssh'
  return opening.includes('BEGIN SIGNED MESSAGE') ? 'x509' : 'unknown'
}

function tryDecode(bytes: Buffer, encoding: string): string | undefined {
  try {
    return new TextDecoder(encoding, { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}
