import { sql } from 'kysely'
import { parseDatabaseUrl } from '../db/address.js'
import { openDatabase, type Database } from '../db/database.js'
import { ensureLogins, migrateSchema, openAdmin, type Admin } from '../db/migrate.js'
import { DomainError } from '../errors.js'
import { createKeyFile, currentKey, loginOf, readKeyFile, type Installation } from './installation.js'

export interface SetUp {
  readonly installation: Installation
  /** Names of the migrations that ran now. */
  readonly migrations: string[]
}

/**
 * Migrates the database, makes or checks the key file, and creates the installation's logins.
 * @param url the operator's own credentials; nothing but this uses them
 * @throws DomainError KEY_FILE_MISSING, KEY_FILE_FOREIGN when the database was set up with another key file
 */
export async function setUp(url: string, keyFile: string): Promise<SetUp> {
  const admin = await openAdmin(url)
  try {
    const migrations = await migrateSchema(admin)
    const installation = await agreeOnInstallation(admin, keyFile)
    await ensureLogins(admin, (role) => loginOf(installation, role))
    return { installation, migrations }
  } finally {
    await admin.close()
  }
}

/** Under the migration lock: the first set-up makes the key file, every later one must bring the same. */
async function agreeOnInstallation(admin: Admin, keyFile: string): Promise<Installation> {
  return admin.db.transaction().execute(async (tx) => {
    await sql`set local role countersign_owner`.execute(tx)
    const { rows } = await sql<{ id: string; key_ids: string[] }>`select id, key_ids from installation`.execute(tx)
    const known = rows[0]
    const present = readKeyFile(keyFile)
    if (!known) {
      const installation = present ?? createKeyFile(keyFile)
      await sql`insert into installation (id, key_ids)
        values (${installation.id}, ${installation.keys.map((key) => key.id)})`.execute(tx)
      return installation
    }
    if (!present) {
      throw new DomainError(
        'KEY_FILE_MISSING',
        `the key file ${keyFile} is missing; this database belongs to installation ${known.id}, key ${known.key_ids.join(', ')}: restore that file from its backup`,
      )
    }
    const missing = known.key_ids.filter((id) => !present.keys.some((key) => key.id === id))
    if (present.id !== known.id || missing.length > 0) {
      throw new DomainError(
        'KEY_FILE_FOREIGN',
        `the key file ${keyFile} is of installation ${present.id} (key ${currentKey(present).id}); this database expects installation ${known.id}, key ${known.key_ids.join(', ')}`,
      )
    }
    await sql`update installation set key_ids = ${present.keys.map((key) => key.id)}`.execute(tx)
    return present
  })
}

/**
 * Opens the database as this installation's services do, with the logins of its key file.
 * @param url only its place is used, not its credentials
 */
export function openAsInstallation(
  url: string,
  installation: Installation,
  options: { poolSize?: number } = {},
): Database {
  return openDatabase({
    address: parseDatabaseUrl(url).address,
    credentials: (role) => loginOf(installation, role),
    ...options,
  })
}
