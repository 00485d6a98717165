/** A person that a trailer names. Either part may be empty. */
export interface Named {
  name: string
  email: string
}

/** A piece of a message: text that stays, or a part of a person that a trailer names. */
export type Piece = { text: string } | { role: string; person: Named; part: 'name' | 'email' }

const ROLES: Readonly<Record<string, string>> = {
  'co-authored-by': 'co-author',
  'signed-off-by': 'signer',
  'reviewed-by': 'reviewer',
  'tested-by': 'tester',
  'reported-by': 'reporter',
  'acked-by': 'acker',
  cc: 'copied',
}
const FURTHER = new Set(['from', 'author', 'authors', 'reviewer', 'reviewers', 'approver', 'contributor', 'thanks'])

/**
 * Splits a commit's message into what stays and the persons whom its trailers name, in order; joined again, the pieces
 * are the message. A trailer is any line after the subject that reads `Key: …`, where the key ends in `-by` or is one of
 * a few more (`Cc`, `Author`, …): people write them above the last paragraph too.
 */
export function splitTrailers(message: string): Piece[] {
  const pieces: Piece[] = []
  const subjectEnd = message.indexOf('\n')
  let kept = 0
  const trailer = /^([A-Za-z][A-Za-z0-9-]*)[ \t]*:[ \t]*(.*)$/gm
  trailer.lastIndex = subjectEnd < 0 ? message.length : subjectEnd + 1
  for (let match = trailer.exec(message); match !== null; match = trailer.exec(message)) {
    const [line, key = '', value = ''] = match
    const role = roleOf(key.toLowerCase())
    if (role === undefined) continue
    const start = match.index + line.length - value.length
    for (const mention of mentions(value)) {
      for (const { part, at, text } of mention.parts) {
        if (text === '') continue
        pieces.push({ text: message.slice(kept, start + at) }, { role, person: mention.person, part })
        kept = start + at + text.length
      }
    }
  }
  pieces.push({ text: message.slice(kept) })
  return pieces
}

/** How many lines of the last paragraph read `Key: value`, if that paragraph is not the subject. */
export function countTrailers(message: string): number {
  const paragraphs = message.trimEnd().split(/\n[ \t]*\n/)
  if (paragraphs.length < 2) return 0
  return (paragraphs.at(-1) ?? '').split('\n').filter((line) => /^[A-Za-z][A-Za-z0-9-]*[ \t]*:/.test(line)).length
}

function roleOf(key: string): string | undefined {
  return ROLES[key] ?? (key.endsWith('-by') || FURTHER.has(key) ? 'named' : undefined)
}

interface Mention {
  person: Named
  /** Where its parts stand in the value, in UTF-16 units, in order. */
  parts: { part: 'name' | 'email'; at: number; text: string }[]
}

/** The persons in a trailer's value: `Name <address>, …`, bare addresses, or a list of names (as OpenJDK writes them). */
function mentions(value: string): Mention[] {
  const bracketed = value.includes('<')
  return [...value.matchAll(/(?:"[^"]*"|<[^<>]*>|[^,])+/g)].flatMap((item) => {
    const [text] = item
    const full = [...text.matchAll(/((?:"[^"]*"|[^<>"])*)<([^<>]*)>/g)].map((match) => {
      const [, name = '', email = ''] = match
      const at = item.index + match.index
      return mention({ text: name, at }, { text: email, at: at + name.length + 1 })
    })
    return full.length > 0 ? full : alone(text.replace(/[ \t]#.*$/, ''), item.index, !bracketed)
  })
}

function alone(text: string, at: number, mayBeName: boolean): Mention[] {
  if (/^\s*[^\s@]+@[^\s@]+\s*$/.test(text)) return [mention({ text: '', at }, { text, at })]
  return mayBeName && !/^\s*(https?:|$)/.test(text) ? [mention({ text, at }, { text: '', at })] : []
}

function mention(name: { text: string; at: number }, email: { text: string; at: number }): Mention {
  const [called, address] = [trimmed(name), trimmed(email)]
  return {
    person: { name: called.text, email: address.text },
    parts: [
      { part: 'name', ...called },
      { part: 'email', ...address },
    ],
  }
}

function trimmed({ text, at }: { text: string; at: number }): { text: string; at: number } {
  return { text: text.trim(), at: at + text.length - text.trimStart().length }
}
