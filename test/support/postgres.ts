import { rmSync } from 'node:fs'
import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startPostgres, type RunningPostgres } from '../../src/embedded/postgres.js'
import { processIdentity } from '../../src/embedded/process-identity.js'

/**
 * One PostgreSQL for a whole run of the tests, under the address COUNTERSIGN_TEST_PG (that of a superuser). Which one it
 * is says COUNTERSIGN_TEST_SERVER: `embedded` (the default), a folder with another PostgreSQL's programs, or an address.
 */
let server: RunningPostgres | undefined
let folder: string | undefined

const FOLDER = 'countersign-test-'

export async function setup(): Promise<void> {
  const wanted = process.env['COUNTERSIGN_TEST_SERVER'] ?? 'embedded'
  if (wanted.includes('://')) {
    process.env['COUNTERSIGN_TEST_PG'] = wanted
    process.stdout.write(`Tests meet the PostgreSQL at ${wanted.replace(/\/\/.*@/, '//')}\n`)
    return
  }
  await sweep()
  folder = await mkdtemp(join(tmpdir(), `${FOLDER}${process.pid}-`))
  await chmod(folder, 0o711)
  process.once('exit', removeFolder) // a Ctrl-C tears nothing down
  server = await startPostgres({
    dataDir: join(folder, 'data'),
    binDir: wanted === 'embedded' ? undefined : wanted,
    settings: { max_connections: '300' },
    log: (line) => process.stdout.write(`${line}\n`),
  })
  process.env['COUNTERSIGN_TEST_PG'] = server.url
  process.stdout.write(
    `Tests meet PostgreSQL ${server.version} (${wanted === 'embedded' ? 'embedded' : `from ${wanted}`})\n`,
  )
}

export async function teardown(): Promise<void> {
  await server?.stop()
  process.off('exit', removeFolder)
  if (folder !== undefined) await rm(folder, { recursive: true, force: true })
}

function removeFolder(): void {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
}

/** Removes what runs that were killed have left. */
async function sweep(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = new RegExp(`^${FOLDER}(\\d+)-`).exec(name)?.[1]
    if (pid !== undefined && processIdentity(Number(pid)) === undefined) {
      await rm(join(tmpdir(), name), { recursive: true, force: true })
    }
  }
}
