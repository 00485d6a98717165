import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

export interface WrittenFile {
  /** 64 hexadecimal digits. */
  sha256: string
  bytes: number
}

/**
 * Writes a file that is either whole or absent: under another name beside it (mode 0600), flushed, then renamed over `path`.
 * @returns size and digest of what was written
 */
export async function writeWhole(
  path: string,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<WrittenFile> {
  const partial = `${path}.${randomBytes(6).toString('hex')}.partial`
  const hash = createHash('sha256')
  let bytes = 0
  const file = await open(partial, 'wx', 0o600)
  try {
    for await (const chunk of chunks) {
      hash.update(chunk)
      bytes += chunk.byteLength
      await file.writeFile(chunk)
    }
    await file.sync()
    await file.close()
    await rename(partial, path)
    await syncFolder(dirname(path))
  } catch (error) {
    await file.close().catch(() => undefined)
    await rm(partial, { force: true })
    throw error
  }
  return { sha256: hash.digest('hex'), bytes }
}

/** A rename survives a power cut only once the folder is flushed too. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** Size and digest of a file as it is; undefined when there is none. */
export async function digestFile(path: string): Promise<WrittenFile | undefined> {
  const hash = createHash('sha256')
  let bytes = 0
  try {
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
      hash.update(chunk)
      bytes += chunk.length
    }
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') return undefined
    throw error
  }
  return { sha256: hash.digest('hex'), bytes }
}
