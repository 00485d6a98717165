import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { root } from './root.js'

/** The API in a process of its own, as `countersign serve` runs it. */
export interface Served {
  readonly url: string
  /** Ends it at once, as a crash would. */
  kill(): Promise<void>
  /** Ends it in good order. @returns its exit code */
  end(): Promise<number | null>
}

/** @param env settings; DATABASE_URL and COUNTERSIGN_HOME among them */
export async function serve(env: Readonly<Record<string, string>>): Promise<Served> {
  const main = JSON.stringify(join(root, 'dist', 'src', 'cli', 'main.js'))
  const program = `import { main } from ${main}; process.exitCode = await main(['serve', '--json'])`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    env: { PATH: process.env['PATH'] ?? '', COUNTERSIGN_HTTP_PORT: '0', COUNTERSIGN_LOG_LEVEL: 'error', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = new Promise<number | null>((done) => child.once('close', done))
  const said = { stdout: '', stderr: '' }
  child.stderr.on('data', (bytes: Buffer) => (said.stderr += bytes.toString()))
  const url = await new Promise<string>((found, failed) => {
    child.stdout.on('data', (bytes: Buffer) => {
      said.stdout += bytes.toString()
      try {
        found((JSON.parse(said.stdout) as { url: string }).url)
      } catch {
        // Not all of it has arrived yet.
      }
    })
    void ended.then(() => failed(new Error(`the API ended: ${said.stdout}${said.stderr}`)))
  })
  return {
    url,
    async kill() {
      child.kill('SIGKILL')
      await ended
    },
    end() {
      child.kill('SIGTERM')
      return ended
    },
  }
}
