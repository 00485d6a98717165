import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DomainError } from '../errors.js'
import { readKeyFile } from './installation.js'
import { readSigningKeys, thumbprint, writeSigningKeys, type StoredKey } from './signing-key-file.js'

/**
 * Puts back what a backup holds and this place lacks: the key file, and each tenant's signing keys. Nothing is overwritten.
 * @returns the files that were written
 * @throws DomainError KEY_FILE_MISSING where there is no backup, KEY_FILE_INVALID, KEY_FILE_FOREIGN where the key file that
 * is there is another installation's, SIGNING_KEY_FILE_INVALID
 */
export function restoreKeys(
  backup: string,
  { keyFile, signingKeysDir }: { keyFile: string; signingKeysDir: string },
): { readonly written: readonly string[] } {
  const saved = readKeyFile(backup)
  if (saved === undefined) throw new DomainError('KEY_FILE_MISSING', `there is no backup ${backup}`)
  const present = readKeyFile(keyFile)
  if (present !== undefined && present.id !== saved.id) {
    const message = `${keyFile} is of installation ${present.id}, the backup of ${saved.id}: move it away first`
    throw new DomainError('KEY_FILE_FOREIGN', message)
  }
  const { signingKeys, ...own } = JSON.parse(readFileSync(backup, 'utf8')) as {
    signingKeys?: Record<string, StoredKey[]>
  }
  const tenants = Object.entries(signingKeys ?? {}).map(([tenant, keys]) => ({ tenant, keys: keys.map(opened) }))
  const written: string[] = []
  if (present === undefined) {
    mkdirSync(dirname(keyFile), { recursive: true, mode: 0o700 })
    writeFileSync(keyFile, `${JSON.stringify(own, null, 2)}\n`, { mode: 0o600, flag: 'wx' })
    written.push(keyFile)
  }
  for (const { tenant, keys } of tenants) {
    const path = join(signingKeysDir, `${tenant}.json`)
    if (existsSync(path)) {
      readSigningKeys(signingKeysDir, tenant)
    } else {
      writeSigningKeys(signingKeysDir, tenant, keys)
      written.push(path)
    }
  }
  return { written }
}

function opened({ kid, x, d }: StoredKey): { kid: string; x: Buffer; d: Buffer } {
  const key = { kid, x: Buffer.from(x, 'base64url'), d: Buffer.from(d, 'base64url') }
  if (thumbprint(key.x) === kid && key.d.length === 32) return key
  throw new DomainError('SIGNING_KEY_FILE_INVALID', `the backup holds a signing key that is not {kid, x, d}`)
}
