import { spawn, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { createWriteStream, existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { passedOn } from '../config.js'
import { DomainError, messageOf } from '../errors.js'
import { withLock } from './lock.js'
import { CHILD_ENV, dieWithParent } from './unprivileged.js'

/** Temporal's command line, which holds its server. From v1.6 on its module carries a `replace`, which `go install` refuses. */
export const TEMPORAL_VERSION = '1.5.1'
const MODULE = `github.com/temporalio/cli/cmd/temporal@v${TEMPORAL_VERSION}`
const DOWNLOADS = 'https://temporal.download/cli/archive'
/** Older ones cannot compile it. */
const OLDEST_GO = [1, 25] as const
/** Somebody else may be building it. */
const WAIT_MS = 1_800_000
const PROGRESS_EVERY_MS = 10_000

export interface TemporalProgram {
  readonly program: string
  /** Of the server in it. */
  readonly version: string
  readonly how: 'path' | 'cache' | 'built' | 'downloaded'
}

export interface FindOptions {
  /** What was built or downloaded is kept here. */
  readonly cacheDir: string
  /** Folders to look in, as PATH has them; this process's own unless given. */
  readonly path?: string
}

export interface ObtainOptions extends FindOptions {
  readonly log: (line: string) => void
  readonly signal?: AbortSignal
  /** Where archives come from. */
  readonly downloads?: string
}

/** @returns a `temporal` that runs: the one on the PATH, else the one in our cache; undefined when there is neither */
export function findTemporal({ cacheDir, path = ownPath() }: FindOptions): TemporalProgram | undefined {
  const there = onPath('temporal', path)
  const installed = there === undefined ? undefined : versionOf(there)
  if (there !== undefined && installed !== undefined) return { program: there, version: installed, how: 'path' }
  const cached = cachedProgram(cacheDir)
  const version = existsSync(cached) ? versionOf(cached) : undefined
  return version === undefined ? undefined : { program: cached, version, how: 'cache' }
}

/** @returns the Go that could build it, and what is wrong with it where it is too old; undefined when there is none */
export function findGo(path = ownPath()): { program: string; version: string; tooOld: boolean } | undefined {
  const program = onPath('go', path)
  if (program === undefined) return undefined
  const { status, stdout } = spawnSync(program, ['env', 'GOVERSION'], { encoding: 'utf8', env: goEnvironment(path) })
  const [, version = '', major = '0', minor = '0'] = /^go((\d+)\.(\d+)\S*)/.exec(stdout ?? '') ?? []
  if (status !== 0 || version === '') return undefined
  const [wantedMajor, wantedMinor] = OLDEST_GO
  const enough = Number(major) > wantedMajor || (Number(major) === wantedMajor && Number(minor) >= wantedMinor)
  return { program, version, tooOld: !enough }
}

/**
 * Finds a `temporal` or makes one, in this order: the PATH, our cache, a build with Go, a download.
 * @throws DomainError TEMPORAL_MISSING, saying what was tried and how to get one
 */
export async function obtainTemporal(options: ObtainOptions): Promise<TemporalProgram> {
  const found = findTemporal(options)
  if (found !== undefined) return found
  const { cacheDir, path = ownPath(), log, signal, downloads = DOWNLOADS } = options
  await mkdir(versionDir(cacheDir), { recursive: true })
  const onWait = (pid: number) => log(`waiting for process ${pid}, which is getting Temporal`)
  return withLock(join(cacheDir, 'temporal.lock'), { waitMs: WAIT_MS, onWait }, async () => {
    const meanwhile = findTemporal(options)
    if (meanwhile !== undefined) return meanwhile
    const failures: string[] = []
    const tries = {
      built: () => build(cacheDir, path, log, signal),
      downloaded: () => download(cacheDir, downloads, log, signal),
    }
    for (const how of ['built', 'downloaded'] as const) {
      try {
        const program = await tries[how]()
        const version = versionOf(program)
        if (version === undefined) throw new Error(`${program} does not run`)
        return { program, version, how }
      } catch (error) {
        signal?.throwIfAborted()
        failures.push(messageOf(error))
      }
    }
    throw new DomainError('TEMPORAL_MISSING', `there is no Temporal server: ${failures.join('; ')}. ${HOW_TO_GET}`)
  })
}

export const HOW_TO_GET =
  'Install the command line `temporal` (https://docs.temporal.io/cli) or Go 1.25 or newer, or set TEMPORAL_ADDRESS'

/** Where a program that was built or downloaded lies. */
export function cachedProgram(cacheDir: string): string {
  return join(versionDir(cacheDir), 'temporal')
}

function versionDir(cacheDir: string): string {
  return join(cacheDir, TEMPORAL_VERSION)
}

function ownPath(): string {
  return passedOn(['PATH'])['PATH'] ?? ''
}

function onPath(name: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find((file) => existsSync(file))
}

/** `temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)` */
function versionOf(program: string): string | undefined {
  const { status, stdout } = spawnSync(program, ['--version'], { encoding: 'utf8', cwd: '/', env: CHILD_ENV })
  return status === 0 ? /Server (\d[\w.-]*)/.exec(stdout)?.[1] : undefined
}

/** Where Go finds modules and puts what it compiled, and how it gets out; no credential of ours. */
const GO_VARIABLES = [
  'HOME USER TMPDIR XDG_CACHE_HOME XDG_CONFIG_HOME SSL_CERT_FILE SSL_CERT_DIR',
  'GOROOT GOPATH GOCACHE GOMODCACHE GOENV GOFLAGS GOPROXY GONOPROXY GOSUMDB GONOSUMDB GOPRIVATE GOTOOLCHAIN GOMAXPROCS',
  'HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy',
].flatMap((names) => names.split(' '))

function goEnvironment(path: string): Record<string, string> {
  return { ...passedOn(GO_VARIABLES), PATH: path }
}

async function build(
  cacheDir: string,
  path: string,
  log: (line: string) => void,
  signal: AbortSignal | undefined,
): Promise<string> {
  const go = findGo(path)
  const wanted = OLDEST_GO.join('.')
  if (go === undefined) throw new Error(`Go ${wanted} or newer, which could build it, is not there`)
  if (go.tooOld) throw new Error(`Go ${go.version} is too old to build it, which takes ${wanted}`)
  const bin = join(versionDir(cacheDir), `building-${randomUUID()}`)
  log(`building Temporal ${TEMPORAL_VERSION} with Go ${go.version}, once: some four minutes on two cores`)
  try {
    await runQuietly({
      program: go.program,
      words: ['install', '-v', '-ldflags=-s -w', MODULE],
      env: { ...goEnvironment(path), GOBIN: bin },
      signal,
      progress: (said, seconds) => {
        const compiled = said.filter((line) => !line.startsWith('go: ')).length
        const what = compiled > 0 ? `${compiled} packages compiled` : `${said.length} modules downloaded`
        log(`building Temporal: ${what}, ${seconds} s`)
      },
    })
    await rename(join(bin, 'temporal'), cachedProgram(cacheDir))
  } catch (error) {
    throw new Error(`the build with Go failed: ${messageOf(error)}`, { cause: error })
  } finally {
    await rm(bin, { recursive: true, force: true })
  }
  return cachedProgram(cacheDir)
}

/** What Temporal's own installer fetches. */
async function download(
  cacheDir: string,
  from: string,
  log: (line: string) => void,
  signal: AbortSignal | undefined,
): Promise<string> {
  const platform = process.platform
  const arch = process.arch === 'x64' ? 'amd64' : process.arch
  const url = `${from}/v${TEMPORAL_VERSION}?platform=${platform}&arch=${arch}`
  const folder = join(versionDir(cacheDir), `downloading-${randomUUID()}`)
  log(`downloading Temporal ${TEMPORAL_VERSION} from ${new URL(from).host}`)
  try {
    await mkdir(folder)
    const response = await fetch(url, signal === undefined ? {} : { signal })
    if (!response.ok || response.body === null) throw new Error(`${new URL(from).host} answers ${response.status}`)
    const archive = join(folder, 'archive.tar.gz')
    // The web's types and Node's say the same of a stream in different words.
    await pipeline(
      Readable.fromWeb(response.body as Parameters<typeof Readable.fromWeb>[0]),
      createWriteStream(archive),
    )
    const env = CHILD_ENV
    await runQuietly({ program: 'tar', words: ['-xzf', archive, '-C', folder, 'temporal'], env, signal })
    await rename(join(folder, 'temporal'), cachedProgram(cacheDir))
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? ` (${messageOf(error.cause)})` : ''
    throw new Error(`the download from ${new URL(from).host} failed: ${messageOf(error)}${cause}`, { cause: error })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  return cachedProgram(cacheDir)
}

interface QuietRun {
  program: string
  words: string[]
  env: Record<string, string>
  signal: AbortSignal | undefined
  progress?: (said: readonly string[], seconds: number) => void
}

/** @throws Error with the last lines that it wrote */
async function runQuietly({ program, words, env, signal, progress }: QuietRun): Promise<void> {
  signal?.throwIfAborted()
  const [file = '', ...rest] = [...dieWithParent('TERM'), program, ...words]
  // A group of its own: what it runs ends with it.
  const child = spawn(file, rest, { env, cwd: '/', stdio: ['ignore', 'ignore', 'pipe'], detached: true })
  const began = Date.now()
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
  const lines = () => said.split('\n').filter((line) => line !== '')
  const timer = setInterval(() => progress?.(lines(), Math.round((Date.now() - began) / 1000)), PROGRESS_EVERY_MS)
  const end = () => {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGTERM')
  }
  signal?.addEventListener('abort', end, { once: true })
  process.once('exit', end)
  try {
    const status = await new Promise<number | string>((done, fail) => {
      child.once('error', fail)
      child.once('close', (code, signal) => done(code ?? signal ?? ''))
    })
    signal?.throwIfAborted()
    if (status !== 0) throw new Error(lines().slice(-3).join('; ') || `${program} ended with ${status}`)
  } finally {
    clearInterval(timer)
    signal?.removeEventListener('abort', end)
    process.off('exit', end)
  }
}
