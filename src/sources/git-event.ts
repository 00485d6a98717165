import type { EventInput, PersonalInput } from '../ledger/event.js'
import { MAX_IDENTIFIER_BYTES } from '../ledger/check-event.js'
import { rfc3339, type Commit, type Text } from './git-commit.js'
import { countTrailers, splitTrailers, type Named, type Piece } from './git-people.js'

export interface CommitStats {
  files: number
  insertions: number
  deletions: number
}

/** Who it is, by the best that is known of them. */
export type Person = { kind: string; value: string }

type Data = PersonalInput['data']

/** A leaf holds about 300 sealed groups; whom a commit names beyond this many stays in its message. */
const MOST_PEOPLE = 120

/**
 * One commit as an event. In clear go hashes, times, counts and kinds; names, addresses and the message are sealed, each
 * for itself. Whoever a trailer names besides is cut out of the message into groups of their own: `message` says at which
 * UTF-16 offset of its remaining text each of them stands, so that the whole can be put together again.
 * @param context the repository's own id; `stats` where git counted them; `boundary`: a shallow clone cuts the history here
 */
export function commitEvent(
  commit: Commit,
  context: { repository: string; stats?: CommitStats | undefined; boundary?: boolean },
): EventInput {
  const people = new People(commit)
  const author = people.enter('author', commit.author)
  if (!sameText(commit.author.name, commit.committer.name) || !sameText(commit.author.email, commit.committer.email)) {
    people.enter('committer', commit.committer)
  }
  const merge = commit.parents.length > 1
  const occurredAt = rfc3339(commit.author.when)
  const message = sealMessage(commit.message, people)
  const personal: PersonalInput[] = [
    ...people.groups,
    ...(message === undefined ? [] : [{ group: 'message', subject: author, data: message }]),
  ]
  return {
    type: merge ? 'git.merged' : 'git.committed',
    id: commit.sha,
    actor: { ...author, type: 'user' },
    ...(occurredAt === undefined ? {} : { occurredAt }),
    outcome: 'success',
    targets: [
      { id: `commit:${commit.sha}`, type: 'commit' },
      { id: context.repository, type: 'repository' },
    ],
    data: clearData(commit, context, people.count),
    ...(personal.length > 0 ? { personal } : {}),
  }
}

/** Who a name and an address stand for: the address where it is one, else the name. */
export function personOf({ name, email }: Named): Person | undefined {
  if (/^[^\s@]+@[^\s@]+$/.test(email) && fitsIdentifier(email)) return { kind: 'email', value: email }
  if (fitsIdentifier(email)) return { kind: 'username', value: email }
  return fitsIdentifier(name) ? { kind: 'name', value: name } : undefined
}

function fitsIdentifier(value: string): boolean {
  return value.trim() !== '' && Buffer.byteLength(value) <= MAX_IDENTIFIER_BYTES && !/\p{Cc}/u.test(value)
}

function clearData(
  commit: Commit,
  context: { stats?: CommitStats | undefined; boundary?: boolean },
  people: number,
): NonNullable<EventInput['data']> {
  const { stats } = context
  const trailers = countTrailers(commit.message.text)
  const undecoded = [commit.message, ...texts(commit)].some(({ bytes }) => bytes !== undefined)
  return {
    tree: commit.tree,
    parents: commit.parents,
    committedAt: rfc3339(commit.committer.when) ?? commit.committer.when,
    ...(rfc3339(commit.author.when) === undefined ? { authoredAt: commit.author.when } : {}),
    ...(stats === undefined
      ? {}
      : { filesChanged: stats.files, insertions: stats.insertions, deletions: stats.deletions }),
    ...(commit.signature === undefined ? {} : { signature: commit.signature }),
    ...(commit.headers.length === 0 ? {} : { headers: commit.headers }),
    ...(commit.encoding === undefined ? {} : { encoding: commit.encoding }),
    ...(undecoded ? { undecoded: true } : {}),
    ...(trailers === 0 ? {} : { trailers }),
    ...(people === 0 ? {} : { peopleNamed: people }),
    ...(context.boundary === true ? { shallow: true } : {}),
  }
}

function texts(commit: Commit): Text[] {
  return [commit.author.name, commit.author.email, commit.committer.name, commit.committer.email]
}

/** The text where it was text; with what its bytes became where it was not. */
function sealText(text: Text): Data {
  return text.bytes === undefined ? text.text : { text: text.text, bytes: text.bytes }
}

function sealMessage(message: Text, people: People): Data | undefined {
  if (message.text === '') return undefined
  const persons: { at: number; group: string }[] = []
  let text = ''
  const pieces: Piece[] = message.bytes === 'base64' ? [{ text: message.text }] : splitTrailers(message.text)
  for (const piece of pieces) {
    if ('text' in piece) {
      text += piece.text
      continue
    }
    const group = people.groupOf(piece.role, piece.person, piece.part, message.bytes)
    if (group === undefined) text += piece.person[piece.part]
    else persons.push({ at: text.length, group })
  }
  const bytes = message.bytes === undefined ? {} : { bytes: message.bytes }
  return { text, ...(persons.length > 0 ? { persons } : {}), ...bytes }
}

/** The persons of one commit and their groups: whoever is named twice has them once. */
class People {
  readonly groups: PersonalInput[] = []
  /** How many persons the trailers name besides author and committer. */
  count = 0
  readonly #commit: Commit
  readonly #known = new Map<string, string>()
  readonly #perRole = new Map<string, number>()

  constructor(commit: Commit) {
    this.#commit = commit
  }

  enter(prefix: string, { name, email }: { name: Text; email: Text }): Person {
    // Nobody is known by nothing: such a commit's unknown author is one of its own.
    const subject = personOf({ name: name.text, email: email.text }) ?? { kind: 'git-commit', value: this.#commit.sha }
    this.#known.set(identity({ name: name.text, email: email.text }, name.bytes), prefix)
    for (const [part, text] of [['name', name] as const, ['email', email] as const]) {
      if (text.text !== '') this.groups.push({ group: `${prefix}-${part}`, subject, data: sealText(text) })
    }
    return subject
  }

  /** The group that holds this part of the person, made when they are named first; undefined when it is to stay in the message. */
  groupOf(role: string, person: Named, part: 'name' | 'email', bytes: Text['bytes']): string | undefined {
    const known = this.#known.get(identity(person, bytes))
    if (known !== undefined) return `${known}-${part}`
    if (this.count >= MOST_PEOPLE || personOf(person) === undefined) return undefined
    this.count += 1
    const number = (this.#perRole.get(role) ?? 0) + 1
    this.#perRole.set(role, number)
    const marked = bytes === undefined ? {} : { bytes }
    this.enter(`${role}-${number}`, {
      name: { text: person.name, ...marked },
      email: { text: person.email, ...marked },
    })
    return `${role}-${number}-${part}`
  }
}

function identity(person: Named, bytes: Text['bytes']): string {
  return JSON.stringify([person.name, person.email, bytes ?? 'text'])
}

function sameText(a: Text, b: Text): boolean {
  return a.text === b.text && a.bytes === b.bytes
}
