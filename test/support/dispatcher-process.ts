import { Workflows } from '../../src/dispatcher/workflows.js'
import { readKeyFile } from '../../src/keyring/installation.js'
import { openAsInstallation } from '../../src/keyring/set-up.js'
import { openTemporal } from '../../src/temporal/connection.js'
import type { TestDatabase } from './database.js'
import { jobFollower, TEST_QUEUE } from './jobs.js'

// A dispatcher in a process of its own that never gets past its first start: Temporal has taken it, the cursor stays.
const [, , url, keyFile, address, namespace] = process.argv
if (process.send && url && keyFile && address && namespace) {
  const installation = readKeyFile(keyFile)
  if (!installation) throw new Error('no key file')
  const db = openAsInstallation(url, installation)
  const temporal = openTemporal({ address, namespace })
  class Stuck extends Workflows {
    override async start(...words: Parameters<Workflows['start']>): Promise<'running' | 'over'> {
      await super.start(...words)
      process.send?.('started')
      return new Promise(() => setInterval(() => undefined, 1_000))
    }
  }
  const workflows = new Stuck(temporal, { installation: installation.id, taskQueue: TEST_QUEUE })
  jobFollower({ db, installation } as TestDatabase, temporal, { workflows, follow: { leaseMs: 1_000 } }).start()
}
