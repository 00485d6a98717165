import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { root } from './root.js'

export interface Ran {
  code: number | null
  stdout: string
  stderr: string
  /** Standard output as JSON. */
  json: <T = Record<string, unknown>>() => T
}

export interface RunOptions {
  env?: Record<string, string>
  cwd?: string
  input?: string
  /** Another checkout than this one. */
  root?: string
}

/** Runs the compiled command line to its end, in an environment without settings but those given. */
export async function countersign(words: readonly string[], options: RunOptions = {}): Promise<Ran> {
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
  const code = await new Promise<number | null>((done, fail) => {
    child.once('error', fail)
    child.once('close', done)
  })
  return { code, ...said, json: <T>() => JSON.parse(said.stdout) as T }
}
