import type pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { newLendingSocket } from '../../src/db/lending-socket.js'
import { copyRows } from '../../src/ledger/copy.js'
import { testDatabase, type TestDatabase } from '../support/database.js'

let own: TestDatabase

beforeAll(async () => {
  own = await testDatabase()
})

afterAll(() => own.close())

const sockets = [
  { socket: 'a lending socket', options: { stream: newLendingSocket } },
  { socket: 'a usual socket', options: {} },
]

async function withClient(options: pg.ClientConfig, work: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = own.db.client('operator', options)
  client.on('error', () => undefined)
  await client.connect()
  try {
    await work(client)
  } finally {
    await client.end().catch(() => undefined)
  }
}

test.each(sockets)('rows of any size come whole through $socket, and queries work behind them', ({ options }) =>
  withClient(options, async (client) => {
    // From 1 byte to more than is read at a time: rows straddle the pieces of the wire wherever they can.
    const select = `select n, repeat(chr(97 + n % 26), n * n * n) from generate_series(1, 90) n`
    for (let again = 0; again < 2; again++) {
      const wrong: number[] = []
      let next = 1
      const rows = await copyRows(client, select, 2, ({ bytes, view, starts, lengths }) => {
        const n = view.getInt32(starts[0] ?? 0)
        const [start = 0, length = 0] = [starts[1], lengths[1]]
        const letter = 97 + (n % 26)
        const whole = length === n ** 3 && bytes.subarray(start, start + length).every((byte) => byte === letter)
        if (n !== next++ || !whole) wrong.push(n)
      })
      expect({ rows, wrong }).toEqual({ rows: 90, wrong: [] })
      const { rows: answers } = await client.query(
        'select n, repeat($1, 5000) as text from generate_series(1, 100) n',
        ['xyz'],
      )
      expect(answers.map(({ n, text }: { n: number; text: string }) => [n, text])).toEqual(
        Array.from({ length: 100 }, (_, n) => [n + 1, 'xyz'.repeat(5000)]),
      )
    }
  }),
)

test.each(sockets)('an error among the rows is told through $socket, and queries work behind it', ({ options }) =>
  withClient(options, async (client) => {
    let rows = 0
    const select = 'select 1 / (50000 - n) from generate_series(1, 60000) n'
    await expect(copyRows(client, select, 1, () => rows++)).rejects.toMatchObject({ code: '22012' })
    expect(rows).toBe(49_999)
    expect((await client.query('select 7 as seven')).rows).toEqual([{ seven: 7 }])
  }),
)

test.each(sockets)('a connection that is cut among the rows is told through $socket', ({ options }) =>
  withClient(options, async (client) => {
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
    const superuser = await own.superuser()
    let cut: Promise<unknown> | undefined
    const select = `select repeat('x', 1000), generate_series(1, 100000000)`
    const reading = copyRows(client, select, 2, () => {
      cut ??= superuser.query('select pg_terminate_backend($1)', [rows[0]?.pid])
    })
    await expect(reading).rejects.toThrow(/terminat/)
    await cut
  }),
)
