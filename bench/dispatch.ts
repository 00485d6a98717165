import { Follower } from '../src/ledger/subscribe.js'
import { alternate, rate, type Measure } from './harness.js'
import type { Store } from './store.js'
import { countRows, fillTo, size } from './verify.js'

export function dispatchMeasures(store: Store): Measure[] {
  return [
    {
      id: 'dispatch-idle',
      what: 'entries dispatched with nothing to start: read, matched, cursors moved durably',
      against: 'COPY to Node in the order of the logs, rows only counted',
      unit: 'entries/s',
      floor: 0.3,
      aim: 0.6,
      run: async ({ rounds, quick }) => {
        await fillTo(store, quick ? 300_000 : 1_000_000)
        const total = await size(store)
        return {
          rounds: await alternate(rounds, {
            ours: () => rate(total, () => dispatchAll(store)),
            against: () => rate(total, () => countRows(store, 'order by tenant, seq')),
          }),
          remark: `${total.toLocaleString('en')} entries`,
        }
      },
    },
  ]
}

let runs = 0
async function dispatchAll(store: Store): Promise<void> {
  const consumer = { name: `dispatch-${runs++}`, streams: true, act: async () => undefined } as const

  await new Follower(store.database, consumer, { bounds: { tenants: 100, entries: 50_000, bytes: 8e6 } }).catchUp()
}
