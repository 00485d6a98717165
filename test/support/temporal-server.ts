import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readConfig } from '../../src/config.js'
import { withLock } from '../../src/embedded/lock.js'
import { obtainTemporal } from '../../src/embedded/temporal-program.js'
import { startTemporalServer, type RunningTemporalServer } from '../../src/embedded/temporal-server.js'
import { messageOf } from '../../src/errors.js'

/**
 * One Temporal for a whole run of the tests, found or made as `countersign up` does it, under the address
 * COUNTERSIGN_TEST_TEMPORAL, with its program in COUNTERSIGN_TEST_TEMPORAL_PROGRAM and the time-skipping server in
 * COUNTERSIGN_TEST_TEMPORAL_JAVA. Where there is none, *_PROBLEM says why, and the tests that need it fail by name.
 */
let server: RunningTemporalServer | undefined
let folder: string | undefined

const say = (line: string) => process.stdout.write(`${line}\n`)

export async function setup(): Promise<void> {
  process.env['COUNTERSIGN_TEST_TEMPORAL_JAVA'] = await timeSkippingServer()
  try {
    const { program, version, how } = await obtainTemporal({ cacheDir: readConfig().temporalCacheDir, log: say })
    folder = await mkdtemp(join(tmpdir(), `countersign-test-${process.pid}-`))
    process.once('exit', removeFolder)
    server = await startTemporalServer({ program, dbFile: join(folder, 'temporal.db'), namespace: 'countersign' })
    process.env['COUNTERSIGN_TEST_TEMPORAL'] = server.address
    process.env['COUNTERSIGN_TEST_TEMPORAL_PROGRAM'] = program
    say(`Tests meet Temporal ${version} (${how === 'path' ? 'on the PATH' : how})`)
  } catch (error) {
    process.env['COUNTERSIGN_TEST_TEMPORAL_PROBLEM'] = messageOf(error)
    say(`Tests that meet Temporal will fail: ${messageOf(error)}`)
  }
}

export async function teardown(): Promise<void> {
  await server?.stop()
  process.off('exit', removeFolder)
  if (folder !== undefined) await rm(folder, { recursive: true, force: true })
}

function removeFolder(): void {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
}

const JAVA_VERSION = '1.34.0'
const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>countersign</groupId><artifactId>temporal-test-server</artifactId><version>1</version>
<dependencies><dependency>
<groupId>io.temporal</groupId><artifactId>temporal-test-server</artifactId><version>${JAVA_VERSION}</version>
</dependency></dependencies></project>
`

/** @returns a program that takes its port as the only word; empty where it cannot be had: then the SDK downloads its own */
async function timeSkippingServer(): Promise<string> {
  const { temporalCacheDir } = readConfig()
  const home = join(temporalCacheDir, `test-server-${JAVA_VERSION}`)
  const program = join(home, 'run')
  if (existsSync(program)) return program
  if (
    [
      ['java', '-version'],
      ['mvn', '--version'],
    ].some(([name = '', word = '']) => spawnSync(name, [word]).status !== 0)
  ) {
    say('No Java and Maven: the time-skipping Temporal is the download of its SDK')
    return ''
  }
  mkdirSync(temporalCacheDir, { recursive: true })
  return withLock(join(temporalCacheDir, 'test-server.lock'), { waitMs: 600_000 }, async () => {
    if (existsSync(program)) return program
    say(`fetching Temporal's time-skipping test server ${JAVA_VERSION} with Maven, once`)
    const draft = await mkdtemp(join(temporalCacheDir, 'test-server-'))
    try {
      writeFileSync(join(draft, 'pom.xml'), POM)
      const words = ['-q', '-B', '-f', join(draft, 'pom.xml'), 'dependency:copy-dependencies', '-DincludeScope=runtime']
      const { status, stdout } = spawnSync('mvn', [...words, `-DoutputDirectory=${join(draft, 'lib')}`], {
        encoding: 'utf8',
      })
      if (status !== 0) {
        say(`Maven could not fetch it: ${stdout.trim().split('\n').slice(0, 3).join('; ')}`)
        return ''
      }
      const java = spawnSync('sh', ['-c', 'command -v java'], { encoding: 'utf8' }).stdout.trim()
      const script = `#!/bin/sh\nexec "${java}" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$(dirname "$0")/lib/*" io.temporal.testserver.TestServer "$1"\n`
      writeFileSync(join(draft, 'run'), script)
      chmodSync(join(draft, 'run'), 0o755)
      await rm(home, { recursive: true, force: true })
      await rename(draft, home)
      return program
    } finally {
      await rm(draft, { recursive: true, force: true })
    }
  })
}
