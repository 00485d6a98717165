import { existsSync, readFileSync } from 'node:fs'
import { readKeyFile } from '../src/keyring/installation.js'
import { openAsInstallation } from '../src/keyring/set-up.js'
import { verify } from '../src/ledger/verify.js'

/** One full verification in a fresh process, which then tells the most memory it ever had. */
const [, , databaseUrl = '', keyFile = ''] = process.argv
const installation = readKeyFile(keyFile)
if (!installation) throw new Error('no key file')
const database = openAsInstallation(databaseUrl, installation, { poolSize: 1 })
const { entries, findingCount } = await verify(database)
await database.close()
process.send?.({ entries, findings: findingCount, peakMiB: peakKiB() / 1024 })
process.disconnect()

/** Linux counts a parent's memory into the `maxRSS` of a process that it started; the high-water mark is the process's own. */
function peakKiB(): number {
  const status = existsSync('/proc/self/status') ? readFileSync('/proc/self/status', 'utf8') : ''
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? process.resourceUsage().maxRSS)
}
