import { setTimeout as delay } from 'node:timers/promises'
import { CompiledQuery } from 'kysely'
import { readKeyFile } from '../../src/keyring/installation.js'
import { openAsInstallation } from '../../src/keyring/set-up.js'
import { Follower, type Consumer } from '../../src/ledger/subscribe.js'

/** Writes each entry into the table `applied`, in the order of applying. */
export function applying(name: string, by: string, act?: Consumer['act']): Consumer {
  return {
    name,
    ...(act ? { act } : {}),
    async write(tx, slices) {
      const rows = slices.flatMap(({ tenant, entries }) => entries.map(({ seq }) => ({ tenant, seq })))
      await tx.executeQuery(
        CompiledQuery.raw(
          `insert into applied (consumer, tenant, seq, by) select $1, tenant, seq, $2 from unnest($3::text[], $4::int8[])
           with ordinality as e(tenant, seq, nth) order by nth`,
          [name, by, rows.map((row) => row.tenant), rows.map((row) => row.seq)],
        ),
      )
    },
  }
}

/** Run by itself, this is a follower in a process of its own; `stuck` keeps it at its first entries for good. */
const [, , url, keyFile, name, by, mode] = process.argv
if (process.send && url && keyFile && name && by) {
  const installation = readKeyFile(keyFile)
  if (!installation) throw new Error('no key file')
  const act = async (): Promise<void> => {
    process.send?.('acting')
    if (mode === 'stuck') await delay(3_600_000)
  }
  new Follower(openAsInstallation(url, installation), applying(name, by, act), { pollMs: 50, leaseMs: 1_000 }).start()
}
