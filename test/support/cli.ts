import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { join } from 'node:path'
import { root } from './root.js'

export interface Ran {
  code: number | null
  stdout: string
  stderr: string
  /** Standard output as JSON. */
  json: () => Answer
}

export type Answer = Record<string, unknown>

export interface RunOptions {
  env?: Record<string, string>
  cwd?: string
  input?: string
  /** Another checkout than this one. */
  root?: string
}

/** A running command line. */
export interface Running {
  process: ChildProcessWithoutNullStreams
  /** What it has written so far, to both. */
  output: () => string
  ended: Promise<Ran>
}

/** Starts the compiled command line, in an environment without settings but those given. */
export function start(words: readonly string[], options: RunOptions = {}): Running {
  const { env = {}, cwd = root, input = '', root: checkout = root } = options
  const main = JSON.stringify(join(checkout, 'dist', 'src', 'cli', 'main.js'))
  const program = `import { main } from ${main}; process.exitCode = await main(process.argv.slice(1))`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, '--', ...words], {
    cwd,
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => (said[name] += text))
  }
  const ended = new Promise<Ran>((done, fail) => {
    child.once('error', fail)
    child.once('close', (code) => done({ code, ...said, json: () => JSON.parse(said.stdout) as Answer }))
  })
  return { process: child, output: () => said.stdout + said.stderr, ended }
}

/** Runs the command line to its end. */
export async function countersign(words: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return start(words, options).ended
}
