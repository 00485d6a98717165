import { resolve } from 'node:path'
import { readFile, realpath } from 'node:fs/promises'
import { DomainError } from '../errors.js'
import { checkEvent, type EventInput } from '../ledger/event.js'
import { ByteReader } from './byte-reader.js'
import { parseCommit } from './git-commit.js'
import { commitEvent, type CommitStats } from './git-event.js'
import { askGit, gitAgrees, gitEnvironment, startGit, type Git, type Running } from './git-process.js'
import type { OpenSource, Source, SourceItem } from './source.js'

export interface GitOptions {
  /** What git may see of the environment; by default little more than where programs are. */
  env?: Record<string, string>
  /** Names the source, instead of its root commit: how a rewritten history is begun anew. */
  name?: string | undefined
  /** Whether `path` must be the top of a repository of its own, and not a folder somewhere inside another. */
  own?: boolean
}

/**
 * A repository's history as audit events: every commit that HEAD reaches, parents before children. The source is named
 * by the root commit (that of the first parents), so a clone, a moved folder and a renamed one are the same source.
 * @throws DomainError GIT_NOT_FOUND, GIT_NOT_A_REPOSITORY, GIT_NO_COMMITS; GIT_FAILED with what git said
 */
export async function gitSource(path: string, options: GitOptions = {}): Promise<Source> {
  const git: Git = { path: resolve(path), env: options.env ?? gitEnvironment() }
  const top = await askGit(git, ['rev-parse', '--show-cdup'])
  if (options.own === true && top !== '') {
    throw new DomainError('GIT_NOT_A_REPOSITORY', `${git.path} lies inside another repository and is none of its own`)
  }
  if (!(await gitAgrees(git, ['rev-parse', '--quiet', '--verify', 'HEAD^{commit}']))) {
    throw new DomainError('GIT_NO_COMMITS', `the repository ${git.path} has no commit yet: nothing can be imported`)
  }
  const root = (await askGit(git, ['rev-list', '--first-parent', '--max-parents=0', 'HEAD'])).split('\n').at(-1) ?? ''
  const name = options.name ?? `git:${root}`
  return { name, label: `git history of ${git.path}`, open: async (after) => openHistory(git, name, root, after) }
}

/**
 * How far a repository has been imported: every commit that `tips` reach, and of the walk towards `towards` the first
 * `count` commits, the last of which is `at`. Several tips stay where branches were imported that do not contain each other.
 */
interface Position {
  tips: string[]
  walk?: { towards: string; count: number; at: string }
}

async function openHistory(git: Git, name: string, root: string, after: string | null): Promise<OpenSource> {
  const head = await askGit(git, ['rev-parse', '--verify', 'HEAD^{commit}'])
  const position = parsePosition(name, after)
  await expectPresent(git, name, head, position)
  const notes: string[] = []
  const walks: Walk[] = []
  let tips = position.tips
  if (position.walk !== undefined) {
    const walk = await walkHistory(git, tips, position.walk.towards)
    if (walk.commits[position.walk.count - 1] !== position.walk.at) throw rewritten(name, position.walk.at, head)
    walks.push({ ...walk, from: position.walk.count })
    tips = walk.tipsAfter
  }
  const walk = await walkHistory(git, tips, head)
  if (walk.commits.length > 0) walks.push(walk)
  const [tip] = tips
  if (
    tip !== undefined &&
    walk.commits.length > 0 &&
    !(await gitAgrees(git, ['merge-base', '--is-ancestor', tip, head]))
  ) {
    notes.push(
      `${short(head)} does not continue from ${short(tip)}, imported before: another branch, or a history rewritten since. ` +
        `What is new in it is imported beside what was.`,
    )
  }
  const repository = await describe(git, root)
  if (repository.boundary.size > 0) notes.push('a shallow clone: the history before its oldest commits is not here')
  const total = walks.reduce((sum, { commits, from }) => sum + commits.length - from, 0)
  const reached = Number(await askGit(git, ['rev-list', '--count', head]))
  return { already: Math.max(0, reached - total), total, notes, items: readWalks(git, name, repository, walks) }
}

/** Commits in the order of import, from the one at index `from` on, and the tips once all of them are imported. */
interface Walk {
  tips: string[]
  towards: string
  commits: string[]
  from: number
  tipsAfter: string[]
}

async function walkHistory(git: Git, tips: string[], towards: string): Promise<Walk> {
  // Topological order: no parent after its child, and the same graph always in the same order.
  const range = [towards, ...tips.map((tip) => `^${tip}`)]
  const listed = await askGit(git, ['rev-list', '--topo-order', '--reverse', '--stdin'], range)
  const commits = listed === '' ? [] : listed.split('\n')
  const tipsAfter =
    commits.length === 0 ? tips : (await askGit(git, ['merge-base', '--independent', towards, ...tips])).split('\n')
  return { tips, towards, commits, from: 0, tipsAfter }
}

interface Repository {
  id: string
  path: string
  /** Commits whose parents a shallow clone left out. */
  boundary: ReadonlySet<string>
  /** Whether counts of changed lines can be had without fetching what a partial clone left out. */
  counted: boolean
}

async function describe(git: Git, root: string): Promise<Repository> {
  const shallowFile = resolve(git.path, await askGit(git, ['rev-parse', '--git-path', 'shallow']))
  const shallow = await readFile(shallowFile, 'utf8').catch(() => '')
  const partial = await gitAgrees(git, ['config', '--get-regexp', '^remote\\..*\\.promisor$'])
  const path = await realpath(git.path)
  return { id: `git:${root}`, path, boundary: new Set(shallow.split('\n').filter(Boolean)), counted: !partial }
}

async function* readWalks(git: Git, name: string, repository: Repository, walks: Walk[]): AsyncGenerator<SourceItem> {
  for (const walk of walks) {
    const shas = walk.commits.slice(walk.from)
    const objects = startGit(git, ['cat-file', '--batch', '--buffer'], shas)
    const counts = repository.counted ? startGit(git, COUNT, shas) : undefined
    try {
      const statsOf = counts === undefined ? undefined : statsReader(counts)
      const reader = new ByteReader(objects.output)
      for (const [index, sha] of shas.entries()) {
        const object = await readObject(reader, sha, objects.end)
        const stats = await statsOf?.(sha)
        yield {
          ...toItem(name, repository, sha, object, stats),
          position: positionAt(walk, walk.from + index),
          where: `${repository.path}: commit ${sha}`,
          bytes: object.length + 1000,
        }
      }
      await Promise.all([objects.end, counts?.end])
    } finally {
      objects.stop()
      counts?.stop()
    }
  }
}

// Prints each commit's id and, unless it changes nothing or merges, one line of counts. No path is printed.
const COUNT = 'diff-tree --stdin --root -r --always --shortstat --no-renames --no-ext-diff --no-textconv'.split(' ')

function toItem(
  name: string,
  repository: Repository,
  sha: string,
  object: Buffer,
  stats: CommitStats | undefined,
): { event: EventInput } | { refused: { code: string; message: string; pointer?: string } } {
  try {
    const commit = parseCommit(sha, object)
    const boundary = repository.boundary.has(sha)
    const counted = commit.parents.length < 2 && !boundary ? (stats ?? NOTHING) : undefined
    const event = commitEvent(commit, {
      repository: repository.id,
      stats: repository.counted ? counted : undefined,
      boundary,
    })
    const source = { name, delivery: 'at-least-once', replayable: true } as const
    return { event: checkEvent({ ...event, source }, '') }
  } catch (error) {
    if (error instanceof RangeError) return { refused: { code: 'GIT_COMMIT_UNREADABLE', message: error.message } }
    if (!(error instanceof DomainError)) throw error
    const at = error.pointer === undefined ? {} : { pointer: error.pointer }
    return { refused: { code: error.code, message: error.message, ...at } }
  }
}

const NOTHING: CommitStats = { files: 0, insertions: 0, deletions: 0 }

async function readObject(reader: ByteReader, sha: string, end: Promise<void>): Promise<Buffer> {
  const header = (await reader.line())?.toString('latin1') ?? ''
  const size = /^[0-9a-f]+ commit (\d+)$/.exec(header)?.[1]
  const object = size === undefined ? undefined : await reader.exactly(Number(size))
  await reader.exactly(1)
  if (object !== undefined) return object
  await end
  throw new DomainError('GIT_FAILED', `git cat-file gave no commit ${sha}${header === '' ? '' : `: ${header}`}`)
}

/** Hands out the counts of one commit after the other, in the order that they were asked for. */
function statsReader({ output, end }: Running): (sha: string) => Promise<CommitStats | undefined> {
  const reader = new ByteReader(output)
  let ahead: string | undefined
  const next = async (): Promise<string | undefined> => (await reader.line())?.toString('latin1')
  return async (sha) => {
    const line = ahead ?? (await next())
    ahead = undefined
    if (line !== sha) {
      await end
      throw new DomainError('GIT_FAILED', `git diff-tree gave no counts for commit ${sha}`)
    }
    for (;;) {
      const counts = await next()
      if (counts === undefined || /^[0-9a-f]{40,64}$/.test(counts)) {
        ahead = counts
        return undefined
      }
      const files = /^ (\d+) files? changed/.exec(counts)?.[1]
      if (files === undefined) continue
      const [insertions, deletions] = [/ (\d+) insertion/.exec(counts)?.[1], / (\d+) deletion/.exec(counts)?.[1]]
      return { files: Number(files), insertions: Number(insertions ?? 0), deletions: Number(deletions ?? 0) }
    }
  }
}

function positionAt(walk: Walk, index: number): string {
  if (index === walk.commits.length - 1) return walk.tipsAfter.join(',')
  return `${walk.tips.join(',')}..${walk.towards}#${index + 1}:${walk.commits[index] ?? ''}`
}

function parsePosition(name: string, text: string | null): Position {
  if (text === null) return { tips: [] }
  const match = /^([0-9a-f,]*)(?:\.\.([0-9a-f]+)#(\d+):([0-9a-f]+))?$/.exec(text)
  if (match === null) {
    throw new DomainError(
      'SOURCE_POSITION_UNKNOWN',
      `the position of source ${name} is not one of a git history: ${text}`,
    )
  }
  const [, tips = '', towards, count, at] = match
  return {
    tips: tips.split(',').filter(Boolean),
    ...(towards === undefined || at === undefined ? {} : { walk: { towards, count: Number(count), at } }),
  }
}

/** A commit that was imported and is gone cannot tell what came before it. */
async function expectPresent(git: Git, name: string, head: string, { tips, walk }: Position): Promise<void> {
  const needed = [...tips, ...(walk === undefined ? [] : [walk.towards])]
  if (needed.length === 0) return
  const answers = (await askGit(git, ['cat-file', '--batch-check'], needed)).split('\n')
  const missing = needed.find((_, index) => !/ commit \d+$/.test(answers[index] ?? ''))
  if (missing !== undefined) throw rewritten(name, missing, head)
}

function rewritten(name: string, imported: string, head: string): DomainError {
  return new DomainError(
    'SOURCE_REWRITTEN',
    `source ${name} was imported up to commit ${imported}, which this repository (HEAD ${head}) does not hold: its history ` +
      `was rewritten, or this clone is not complete. Fetch that commit, or import the history anew under another source name.`,
  )
}

const short = (sha: string): string => sha.slice(0, 12)
