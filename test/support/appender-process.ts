import { fork, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import type { Opening, Operations } from './appender-worker.js'
import type { TestDatabase } from './database.js'
import { root } from './root.js'

/** Another process with an appender of its own. */
export interface AppenderProcess {
  readonly process: ChildProcess
  /** @throws the error's code and stack, as `ProcessError` */
  run<Name extends keyof Operations>(
    does: Name,
    given: Parameters<Operations[Name]>[0],
  ): Promise<Awaited<ReturnType<Operations[Name]>>>
  /** Resolves when the process holds this tenant's head. */
  holds(tenant: string): Promise<void>
  close(): Promise<void>
}

export class ProcessError extends Error {
  readonly code: string | undefined
  constructor(code: string | undefined, message: string) {
    super(message)
    this.code = code
  }
}

export async function appenderProcess(
  { url, keyFile }: Pick<TestDatabase, 'url' | 'keyFile'>,
  options: Omit<Opening, 'url' | 'keyFile'> = {},
): Promise<AppenderProcess> {
  const child = fork(join(root, 'dist', 'test', 'support', 'appender-worker.js'), { serialization: 'advanced' })
  const open = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>()
  let asked = 0
  child.on('message', ({ id, result, code, error }: { id?: number; result: never; code?: string; error?: string }) => {
    const asking = id === undefined ? undefined : open.get(id)
    if (!asking || id === undefined) return
    open.delete(id)
    if (error === undefined) asking.resolve(result)
    else asking.reject(new ProcessError(code, error))
  })
  const ended = new Promise<void>((done) => {
    child.once('exit', (code, signal) => {
      for (const { reject } of open.values()) reject(new ProcessError('ENDED', `the process ended: ${signal ?? code}`))
      done()
    })
  })
  const run: AppenderProcess['run'] = (does, given) =>
    new Promise((resolve, reject) => {
      const id = asked++
      open.set(id, { resolve, reject })
      child.send({ id, does, given }, (error) => {
        if (error) reject(error)
      })
    })
  await run('open', { url, keyFile, ...options })
  return {
    process: child,
    run,
    holds: (tenant) =>
      new Promise((resolve) => {
        child.on('message', ({ holding }: { holding?: string }) => {
          if (holding === tenant) resolve()
        })
      }),
    async close() {
      const closing = run('close', undefined).catch(() => undefined)
      await Promise.race([closing, ended])
      await ended
    },
  }
}

/** So many of them, and a way to close them all. */
export async function appenderProcesses(
  server: Pick<TestDatabase, 'url' | 'keyFile'>,
  count: number,
  options: Omit<Opening, 'url' | 'keyFile'> = {},
): Promise<AppenderProcess[]> {
  return Promise.all(Array.from({ length: count }, () => appenderProcess(server, options)))
}
