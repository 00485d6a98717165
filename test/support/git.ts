import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Who {
  name: string
  email: string
}

/** A small repository in a folder of its own; commits have fixed times, one minute apart. */
export class TestRepository {
  readonly path: string
  #minutes = 0

  constructor() {
    this.path = mkdtempSync(join(tmpdir(), 'countersign-test-git-'))
    this.git(['init', '-q', '-b', 'main'])
  }

  /** Runs git and returns what it printed. */
  git(args: readonly string[], input?: Uint8Array | string, env: Record<string, string> = {}): string {
    const { status, stdout, stderr } = spawnSync('git', args, {
      cwd: this.path,
      input,
      env: {
        PATH: process.env['PATH'] ?? '',
        GIT_CONFIG_GLOBAL: '/dev/null',
        GIT_CONFIG_NOSYSTEM: '1',
        GIT_AUTHOR_NAME: 'Ada Lovelace',
        GIT_AUTHOR_EMAIL: 'ada@example.org',
        GIT_COMMITTER_NAME: 'Ada Lovelace',
        GIT_COMMITTER_EMAIL: 'ada@example.org',
        ...env,
      },
      encoding: 'utf8',
    })
    if (status !== 0) throw new Error(`git ${args.join(' ')}: ${stderr}`)
    return stdout.trim()
  }

  /** Commits on the current branch, changing a file unless told not to; returns the commit's id. */
  commit(
    message: string,
    options: { author?: Who; committer?: Who; file?: string; content?: string; when?: string; args?: string[] } = {},
  ): string {
    if (options.file !== undefined) {
      writeFileSync(join(this.path, options.file), options.content ?? `${this.#minutes}\n`)
      this.git(['add', '.'])
    }
    const when = options.when ?? this.#next()
    const { author, committer } = options
    const env = {
      GIT_AUTHOR_DATE: when,
      GIT_COMMITTER_DATE: when,
      ...(author === undefined ? {} : { GIT_AUTHOR_NAME: author.name, GIT_AUTHOR_EMAIL: author.email }),
      ...(committer === undefined ? {} : { GIT_COMMITTER_NAME: committer.name, GIT_COMMITTER_EMAIL: committer.email }),
    }
    const args = ['--allow-empty', '--allow-empty-message', '--cleanup=verbatim', '-q', '-F', '-']
    this.git(['commit', ...args, ...(options.args ?? [])], message, env)
    return this.head()
  }

  /** Commits raw bytes as a commit object, as old or foreign tools wrote them, and moves the branch there. */
  commitObject(lines: (string | Uint8Array)[]): string {
    const bytes = Buffer.concat(lines.map((line) => (typeof line === 'string' ? Buffer.from(line) : line)))
    const sha = this.git(['hash-object', '-t', 'commit', '-w', '--stdin', '--literally'], bytes)
    this.git(['update-ref', 'HEAD', sha])
    return sha
  }

  /** A file's worth of tree, for commit objects. */
  tree(): string {
    return this.git(['write-tree'])
  }

  head(): string {
    return this.git(['rev-parse', 'HEAD'])
  }

  remove(): void {
    rmSync(this.path, { recursive: true })
  }

  #next(): string {
    this.#minutes += 1
    return `${1_700_000_000 + 60 * this.#minutes} +0100`
  }
}
