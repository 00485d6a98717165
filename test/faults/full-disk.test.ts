import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { root } from '../support/root.js'
import { say } from '../support/say.js'
import type { FullDiskCounts } from './full-disk-scenario.js'

const SIZE = '224m'

/** Runs a command in a folder that is a small disk of its own, seen by nobody else. */
async function onSmallDisk(folder: string, command: readonly string[]): Promise<{ code: number | null; said: string }> {
  const mount = `mount -t tmpfs -o size=${SIZE},mode=0711 none "$0"`
  // Without root a namespace of one's own users may mount; PostgreSQL runs in another one, where nobody is root.
  const words =
    process.getuid?.() === 0
      ? ['-m', '--propagation', 'private', 'sh', '-c', `${mount} && exec "$@"`, folder, ...command]
      : ['-Urm', 'sh', '-c', `${mount} && exec unshare -U --map-user=1000 "$@"`, folder, ...command]
  const child = spawn('unshare', words, { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (said += bytes.toString()))
  const code = await new Promise<number | null>((done) => {
    child.once('error', (error) => {
      said += String(error)
      done(null)
    })
    child.once('close', done)
  })
  return { code, said }
}

test('a full disk refuses what cannot be written, whole, until there is room again', { timeout: 180_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), `countersign-test-${process.pid}-`))
  try {
    const possible = await onSmallDisk(folder, ['true'])
    if (possible.code !== 0) {
      say(`no small disk can be had on this machine, so that none was filled: ${possible.said.trim()}`)
      return
    }
    const scenario = join(root, 'dist', 'test', 'faults', 'full-disk-scenario.js')
    const { code, said } = await onSmallDisk(folder, [process.execPath, scenario, folder])
    expect({ code, said }).toMatchObject({ code: 0 })
    const { accepted, refused, retryAfter, acceptedAgain, restarted } = JSON.parse(
      said.trim().split('\n').at(-1) ?? '',
    ) as FullDiskCounts
    expect(retryAfter).toBeGreaterThanOrEqual(refused)
    say(
      `disk of ${SIZE} full: ${accepted} requests accepted before and, where there was room, meanwhile, ${refused} answered 503, ` +
        `nothing of those written; ${acceptedAgain} accepted when there was room again` +
        (restarted ? ', after PostgreSQL, which had ended itself, was started again' : ''),
    )
  } finally {
    await rm(folder, { recursive: true })
  }
})
