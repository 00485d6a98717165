import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { PassThrough, Readable, type Writable } from 'node:stream'
import { passedOn } from '../config.js'
import { DomainError } from '../errors.js'

/** What git may see of our environment: where programs and its own configuration are, and nothing that holds a secret. */
const PASSED_ON = ['PATH', 'HOME', 'XDG_CONFIG_HOME', 'TMPDIR', 'SystemRoot', 'USERPROFILE']

/** The least that git needs to run. Replaced objects are ignored: they show a history that is not the one hashed. */
export function gitEnvironment(environment?: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return {
    ...passedOn(PASSED_ON, environment),
    LC_ALL: 'C',
    GIT_TERMINAL_PROMPT: '0',
    GIT_OPTIONAL_LOCKS: '0',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_NO_LAZY_FETCH: '1',
  }
}

export interface Git {
  /** Folder that git runs in. */
  path: string
  env: Record<string, string>
}

// A repository may be someone else's: nothing that its configuration names is to be run.
const SAFE = ['--no-pager', '-c', 'core.fsmonitor=false', '-c', 'core.hooksPath=/dev/null', '-c', 'core.quotePath=true']

type Child = ChildProcessByStdio<Writable, Readable, Readable>

/** A running git: its output as bytes, and `end`, which settles when it has closed and rejects when it failed. */
export interface Running {
  output: AsyncIterable<Uint8Array>
  end: Promise<void>
  stop: () => void
}

/** Starts git with `lines` on its standard input, one a line. No shell is involved. */
export function startGit(git: Git, args: readonly string[], lines: Iterable<string> = []): Running {
  const child: Child = spawn('git', [...SAFE, ...args], {
    cwd: git.path,
    env: git.env,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let complaint = ''
  let stopped = false
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    if (complaint.length < 2000) complaint += text
  })
  const end = new Promise<void>((resolve, reject) => {
    child.on('error', (error: NodeJS.ErrnoException) => reject(startError(error)))
    child.on('close', (code, signal) => {
      if (code === 0 || stopped) resolve()
      else reject(failure(args, complaint, code === null ? `signal ${signal ?? '?'}` : `exit ${code}`))
    })
  })
  end.catch(() => undefined) // whoever reads the output awaits it afterwards
  // git closes its input early only when it fails, and then says why itself
  child.stdin.on('error', () => undefined)
  Readable.from(chunks(lines)).pipe(child.stdin)
  const stop = (): void => {
    stopped = true
    child.kill()
  }
  // Once the process is gone, Node throws away what nobody has begun to read.
  return { output: child.stdout.pipe(new PassThrough()), end, stop }
}

/** Runs git to its end and returns what it printed, without the last line feed. For short answers. */
export async function askGit(git: Git, args: readonly string[], lines: Iterable<string> = []): Promise<string> {
  const running = startGit(git, args, lines)
  const parts: Uint8Array[] = []
  for await (const part of running.output) parts.push(part)
  await running.end
  return Buffer.concat(parts).toString('utf8').replace(/\n$/, '')
}

/** Whether git ends well; what it prints is dropped. Only a missing program is an error. */
export async function gitAgrees(git: Git, args: readonly string[]): Promise<boolean> {
  try {
    await askGit(git, args)
    return true
  } catch (error) {
    if (error instanceof DomainError && error.code === 'GIT_FAILED') return false
    throw error
  }
}

function* chunks(lines: Iterable<string>): Generator<string> {
  let chunk = ''
  for (const line of lines) {
    chunk += `${line}\n`
    if (chunk.length > 32_768) {
      yield chunk
      chunk = ''
    }
  }
  if (chunk !== '') yield chunk
}

function startError(error: NodeJS.ErrnoException): Error {
  if (error.code !== 'ENOENT') return error
  return new DomainError('GIT_NOT_FOUND', 'git could not be started: install git, or name an existing folder')
}

function failure(args: readonly string[], complaint: string, how: string): DomainError {
  const said = complaint.trim()
  if (said.includes('not a git repository')) return new DomainError('GIT_NOT_A_REPOSITORY', said)
  return new DomainError(
    'GIT_FAILED',
    `git ${args[0] ?? ''} failed (${how}): ${said === '' ? 'it said nothing' : said}`,
  )
}
