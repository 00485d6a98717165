import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql'
import { inTenant } from '../src/db/database.js'
import { append } from '../src/ledger/append.js'
import { Appender } from '../src/ledger/appender.js'
import { prepare } from '../src/ledger/prepare.js'
import { eventOf } from './events.js'
import { alternate, callersTake, rate, type Measure } from './harness.js'
import { principal, type Store } from './store.js'

interface Shape {
  readonly name: '1' | '64' | 'batch'
  readonly callers: number
  readonly events: number
  readonly turns: { readonly quick: number; readonly full: number }
}

const SHAPES: readonly Shape[] = [
  { name: '1', callers: 1, events: 1, turns: { quick: 500, full: 2_000 } },
  { name: '64', callers: 64, events: 1, turns: { quick: 4_000, full: 12_000 } },
  { name: 'batch', callers: 1, events: 100, turns: { quick: 80, full: 300 } },
]

const GOALS = {
  emmett: { 1: [1, 1.5], 64: [2.5, 4], batch: [2, 3] },
  appender: { 1: [2, 2.5], 64: [12, 20], batch: [2.5, 4] },
} as const

let turnsTaken = 0

/** Every turn appends to a stream of its own, which must not exist yet. */
export function emmettMeasures(store: Store): Measure[] {
  const says = ({ name, callers, events }: Shape) =>
    name === 'batch'
      ? `${callers} caller, batches of ${events}`
      : `${callers} caller${callers > 1 ? 's' : ''}, single events`
  const withStream = SHAPES.map((shape) => ({
    id: `emmett-${shape.name}`,
    what: `append with stream and expected version, ${says(shape)}`,
    goals: GOALS.emmett[shape.name],
    stream: true,
    shape,
  }))
  const without = SHAPES.map((shape) => ({
    id: `appender-${shape.name}`,
    what: `the appender, no expected version, ${says(shape)}`,
    goals: GOALS.appender[shape.name],
    stream: false,
    shape,
  }))
  return [...withStream, ...without].map(({ id, what, goals: [floor, aim], stream, shape }) => ({
    id,
    what,
    against: '@event-driven-io/emmett-postgresql',
    unit: 'events/s',
    floor,
    aim,
    run: async ({ rounds, quick }) => {
      const turns = quick ? shape.turns.quick : shape.turns.full
      const { callers, events } = shape
      const appender = new Appender(store.database)
      const emmett = getPostgreSQLEventStore(store.url)
      const results = await alternate(rounds, {
        ours: async () => {
          await store.settle()
          return rate(turns * events, () => callersTake(callers, turns, () => ourTurn(appender, events, stream)))
        },
        against: async () => {
          await store.settle()
          return rate(turns * events, () =>
            callersTake(callers, turns, () =>
              emmett.appendToStream(
                `order-${turnsTaken++}`,
                Array.from({ length: events }, (_, n) => ({
                  type: 'InvoiceSent',
                  data: { ...eventOf(turnsTaken + n) },
                })),
                { expectedStreamVersion: 'STREAM_DOES_NOT_EXIST' },
              ),
            ),
          )
        },
      })
      const inTransaction = stream ? await transactionRate(store, shape, quick) : undefined
      await appender.close()
      await emmett.close()
      return {
        rounds: results,
        ...(inTransaction === undefined
          ? {}
          : { remark: `inside a transaction of the caller's: ${Math.round(inTransaction)}/s` }),
      }
    },
  }))
}

async function ourTurn(appender: Appender, events: number, stream: boolean): Promise<void> {
  const turn = turnsTaken++
  const { tenant, id: by, via } = principal(turn)
  const name = `order/${turn}`
  await appender.submit({
    tenant,
    by,
    via,
    events: eventsOf(turn, events, name),
    ...(stream ? { stream: { name, expectedVersion: 0 } } : {}),
  })
}

function eventsOf(turn: number, events: number, stream: string) {
  return Array.from({ length: events }, (_, n) => {
    const event = eventOf(turn + n)
    delete event.source
    return prepare(event, { by: principal(turn), stream }, 0)
  })
}

/** For information: the first door, whose transaction other tables may share. */
async function transactionRate(store: Store, { callers, events, turns }: Shape, quick: boolean): Promise<number> {
  const count = Math.ceil((quick ? turns.quick : turns.full) / 4)
  return rate(count * events, () =>
    callersTake(callers, count, async () => {
      const turn = turnsTaken++
      const by = principal(turn)
      const stream = `order/${turn}`
      await inTenant(store.database.command, by.tenant, (tx) =>
        append(tx, { by, stream, expectedVersion: 0 }, eventsOf(turn, events, stream)),
      )
    }),
  )
}
