import { allKinds } from '../../src/approvals/kinds.js'
import { readKeyFile } from '../../src/keyring/installation.js'
import { openAsInstallation } from '../../src/keyring/set-up.js'
import { noteKind } from './changes.js'
import type { TestDatabase } from './database.js'
import { movingChanges } from './moving.js'

// A worker in a process of its own that gets stuck where a change takes effect, inside the transaction.
const [, , url, keyFile, address, namespace, taskQueue] = process.argv
if (process.send && url && keyFile && address && namespace && taskQueue) {
  const installation = readKeyFile(keyFile)
  if (!installation) throw new Error('no key file')
  const db = openAsInstallation(url, installation)
  const kinds = allKinds([
    {
      ...noteKind,
      async write() {
        process.send?.('applying')
        await new Promise(() => setInterval(() => undefined, 1_000))
      },
    },
  ])
  const server = { db, installation, home: '.' } as TestDatabase
  movingChanges({ server, deps: { kinds } as never }, { address, namespace }, { taskQueue })
}
