import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { spawnSync } from 'node:child_process'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  cachedProgram,
  findGo,
  findTemporal,
  obtainTemporal,
  TEMPORAL_VERSION,
} from '../../src/embedded/temporal-program.js'
import { eventually } from '../support/processes.js'

let folder: string
let cacheDir: string
let path: string
let lines: string[]
let servers: Server[]

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'countersign-test-'))
  cacheDir = join(folder, 'cache')
  path = join(folder, 'bin')
  mkdirSync(path)
  lines = []
  servers = []
})
afterEach(() => {
  for (const server of servers) server.close()
  rmSync(folder, { recursive: true })
})

const ANSWER = (version: string) => `echo "temporal version 1.5.1 (Server ${version}, UI 2.42.1)"`

/** A program that says what it is, as Temporal's and Go's do. */
function script(file: string, body: string): void {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, `#!/bin/sh\n${body}\n`)
  chmodSync(file, 0o755)
}

/** A Go of some version, whose `install` runs `body`; it notes its words in `calls`. */
function go(version: string, body = 'exit 1'): void {
  script(
    join(path, 'go'),
    `if [ "$1" = env ]; then echo go${version}; exit; fi
    echo "$@" >> ${folder}/calls
    env > ${folder}/environment
    ${body}`,
  )
}

const GO_MAKES_IT = `/bin/mkdir -p "$GOBIN"
  printf '#!/bin/sh\\n${ANSWER('1.29.1')}\\n' > "$GOBIN/temporal"
  /bin/chmod +x "$GOBIN/temporal"`

const obtain = (more: { downloads?: string; signal?: AbortSignal } = {}) =>
  obtainTemporal({ cacheDir, path, log: (line) => lines.push(line), downloads: 'http://127.0.0.1:1/cli', ...more })

describe('a temporal that is there', () => {
  test('on the PATH comes before the one in the cache', async () => {
    script(cachedProgram(cacheDir), ANSWER('1.29.1'))
    expect(findTemporal({ cacheDir, path })).toEqual({
      program: cachedProgram(cacheDir),
      version: '1.29.1',
      how: 'cache',
    })
    script(join(path, 'temporal'), ANSWER('1.30.0'))
    const installed = { program: join(path, 'temporal'), version: '1.30.0', how: 'path' }
    expect(findTemporal({ cacheDir, path })).toEqual(installed)
    expect(await obtain()).toEqual(installed)
    expect(lines).toEqual([])
  })

  test('but does not run, or is something else, is passed over', () => {
    script(join(path, 'temporal'), 'exit 1')
    expect(findTemporal({ cacheDir, path })).toBeUndefined()
    script(join(path, 'temporal'), 'echo "a tool for time series"')
    script(cachedProgram(cacheDir), ANSWER('1.29.1'))
    expect(findTemporal({ cacheDir, path })?.how).toBe('cache')
  })
})

describe('a build with Go', () => {
  test.each([
    ['1.24.9', true],
    ['1.25.0', false],
    ['1.26rc1', false],
    ['2.0', false],
  ])('Go %s: too old is %s', (version, tooOld) => {
    go(version)
    expect(findGo(path)).toEqual({ program: join(path, 'go'), version, tooOld })
  })

  test('is made where neither is there, once, and kept in the cache', async () => {
    go('1.26.8', GO_MAKES_IT)
    expect(await obtain()).toEqual({ program: cachedProgram(cacheDir), version: '1.29.1', how: 'built' })
    expect(lines.join()).toContain('building Temporal')
    const called = readFileSync(join(folder, 'calls'), 'utf8')
    expect(called).toContain(`github.com/temporalio/cli/cmd/temporal@v${TEMPORAL_VERSION}`)
    expect(await obtain()).toMatchObject({ how: 'cache' })
    expect(readFileSync(join(folder, 'calls'), 'utf8')).toBe(called)
    expect(readdirSync(join(cacheDir, TEMPORAL_VERSION))).toEqual(['temporal'])
  })

  test('is made once by two at the same time', async () => {
    go('1.26.8', `/bin/sleep 0.3; ${GO_MAKES_IT}`)
    const both = await Promise.all([obtain(), obtain()])
    expect(both.map(({ how }) => how).sort()).toEqual(['built', 'cache'])
  })

  test('sees nothing of our environment that it does not need', async () => {
    process.env['POSTGRES_PASSWORD'] = 'hush'
    try {
      go('1.26.8', GO_MAKES_IT)
      await obtain()
      expect(readFileSync(join(folder, 'environment'), 'utf8')).not.toContain('hush')
    } finally {
      delete process.env['POSTGRES_PASSWORD']
    }
  })

  test('ends when it is no more wanted, and leaves nothing', async () => {
    go('1.26.8', `echo $$ > ${folder}/pid; /bin/sleep 60`)
    const stop = new AbortController()
    const build = obtain({ signal: stop.signal })
    const outcome = build.catch((error: unknown) => error)
    await eventually(() => existsSync(join(folder, 'pid')))
    stop.abort()
    expect(await outcome).toMatchObject({ name: 'AbortError' })
    expect(readdirSync(join(cacheDir, TEMPORAL_VERSION))).toEqual([])
  })
})

describe('a download', () => {
  /** Serves an archive as Temporal's makers do. @returns where from */
  async function served(status: number, archive: Buffer): Promise<{ downloads: string; asked: string[] }> {
    const asked: string[] = []
    const server = createServer((request, response) => {
      asked.push(request.url ?? '')
      response.writeHead(status).end(archive)
    })
    servers.push(server)
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    return { downloads: `http://127.0.0.1:${(server.address() as AddressInfo).port}/cli/archive`, asked }
  }

  function archiveOf(body: string): Buffer {
    script(join(folder, 'made', 'temporal'), body)
    writeFileSync(join(folder, 'made', 'LICENSE'), 'MIT')
    return spawnSync('tar', ['-czf', '-', '-C', join(folder, 'made'), 'temporal', 'LICENSE']).stdout
  }

  test('follows where there is no Go, and is kept', async () => {
    const { downloads, asked } = await served(200, archiveOf(ANSWER('1.29.1')))
    expect(await obtain({ downloads })).toEqual({
      program: cachedProgram(cacheDir),
      version: '1.29.1',
      how: 'downloaded',
    })
    const arch = process.arch === 'x64' ? 'amd64' : process.arch
    expect(asked).toEqual([`/cli/archive/v${TEMPORAL_VERSION}?platform=${process.platform}&arch=${arch}`])
    expect(await obtain({ downloads })).toMatchObject({ how: 'cache' })
    expect(readdirSync(join(cacheDir, TEMPORAL_VERSION))).toEqual(['temporal'])
  })

  test('follows a build that failed', async () => {
    go('1.26.8', 'echo "the proxy is on fire" >&2; exit 1')
    const { downloads } = await served(200, archiveOf(ANSWER('1.29.1')))
    expect(await obtain({ downloads })).toMatchObject({ how: 'downloaded' })
  })

  test.each([
    ['answers 404', 404, () => Buffer.from('no')],
    ['is no archive', 200, () => Buffer.from('<html>')],
    ['holds what does not run', 200, () => archiveOf('exit 1')],
  ])('that %s leaves nothing, and the error says what was tried and what to do', async (_, status, archive) => {
    go('1.20.0')
    const { downloads } = await served(status, archive())
    const error = await obtain({ downloads }).catch((error: unknown) => error)
    expect(error).toMatchObject({ code: 'TEMPORAL_MISSING' })
    expect(String(error)).toMatch(/Go 1\.20\.0 is too old.*Install the command line `temporal`.*TEMPORAL_ADDRESS/s)
    expect(findTemporal({ cacheDir, path })).toBeUndefined()
  })
})
