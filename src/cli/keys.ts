import { resolve } from 'node:path'
import { readConfig } from '../config.js'
import { backUpKeyFile } from '../keyring/backup.js'
import { restoreKeys } from '../keyring/restore.js'
import { host as hostPrincipal, SYSTEM_TENANT } from '../principal.js'
import { leaf, type Cli, type Frame } from './cli.js'
import { withHost } from './host.js'

export function keysCommands(frame: Frame): void {
  const keys = frame.program.command('keys').description('look after the key file')
  leaf(frame, keys, {
    usage: 'backup <destination>',
    what: 'copy the key file and the signing keys, and put on record that they were copied',
    more: `The destination is a new file or a folder, which is made when its name ends with a slash; nothing is overwritten, and
only its owner may read it. It lies outside the home folder, away from the database and its backups: who has both can
read all personal data, who loses the key file can read none.`,
    examples: ['keys backup /media/safe/', 'keys backup /media/safe/countersign-keys.json'],
    run: backup,
  })
  leaf(frame, keys, {
    usage: 'restore <backup>',
    what: 'put the key file and the signing keys of a backup back where they were',
    more: 'Only what is missing is written; a key file of another installation is left alone, and refused.',
    examples: ['keys restore /media/safe/countersign-1a2b3c4d-keys.json'],
    run: restore,
  })
}

async function backup(cli: Cli, _: object, destination = ''): Promise<void> {
  await withHost(cli, async (host) => {
    const made = await backUpKeyFile(host.deps, hostPrincipal(SYSTEM_TENANT), {
      keyFile: host.config.keyFile,
      signingKeysDir: host.config.signingKeysDir,
      home: host.config.home,
      destination: resolve(destination),
      folder: destination.endsWith('/'),
    })
    cli.result(
      made,
      () => `copied ${host.config.keyFile} to ${made.file}\nrecorded as entry ${made.seq} of tenant system\n`,
    )
  })
}

async function restore(cli: Cli, _: object, backup = ''): Promise<void> {
  const { keyFile, signingKeysDir } = readConfig()
  const restored = restoreKeys(resolve(backup), { keyFile, signingKeysDir })
  cli.result(restored, () => {
    const { written } = restored
    return written.length === 0 ? 'nothing was missing\n' : written.map((path) => `wrote ${path}\n`).join('')
  })
}
