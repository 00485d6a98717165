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
process.send?.({ entries, findings: findingCount, peakMiB: process.resourceUsage().maxRSS / 1024 })
process.disconnect()
