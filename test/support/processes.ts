import { spawn, type ChildProcess } from 'node:child_process'
import { readdirSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** A Node process of the test's own that runs a module's text, and what it has printed so far. */
export interface Child {
  process: ChildProcess
  output(): string
  /** Resolves when the output matches; rejects when the process ends before that. */
  said(pattern: RegExp): Promise<RegExpExecArray>
  ended: Promise<number | null>
}

/** @param code the text of an ES module; absolute file URLs in its imports */
export function runModule(code: string, env: Record<string, string> = {}): Child {
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (output += bytes.toString()))
  let closed = false
  const ended = new Promise<number | null>((done) => {
    child.once('close', (code) => {
      closed = true
      done(code)
    })
  })
  return {
    process: child,
    output: () => output,
    ended,
    async said(pattern) {
      for (;;) {
        const match = pattern.exec(output)
        if (match !== null) return match
        if (closed) throw new Error(`the process ended without saying ${pattern}: ${output}`)
        await sleep(10)
      }
    },
  }
}

/** Resolves when `holds` does; rejects after `timeoutMs`. */
export async function eventually(holds: () => boolean | Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not so after ${timeoutMs} ms`)
    await sleep(20)
  }
}

/** @returns processes whose working folder is `folder`, as it is for a PostgreSQL server and its children; Linux only */
export function processesIn(folder: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/cwd`) === folder
      } catch {
        return false
      }
    })
    .map(Number)
}
