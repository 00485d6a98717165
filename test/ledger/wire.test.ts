import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BinaryArray, elementTypes, timestamptz, timestamptzParameter, wideTimestamptz } from '../../src/ledger/wire.js'
import { readBinaryArray } from '../support/binary-array.js'
import { testDatabase, type TestDatabase } from '../support/database.js'

let server: TestDatabase
let admin: pg.Client

beforeAll(async () => {
  server = await testDatabase()
  admin = await server.superuser()
})

afterAll(async () => {
  await server.close()
})

/** What PostgreSQL reads of an array, each element as text. */
async function read(array: BinaryArray, type: string): Promise<(string | null)[]> {
  const { rows } = await admin.query<{ value: string | null }>(
    `select value::text from unnest($1::${type}[]) with ordinality as a(value, n) order by n`,
    [array.parameter()],
  )
  return rows.map(({ value }) => value)
}

describe('PostgreSQL reads what was written', () => {
  test('bytes, of any length, and nulls', async () => {
    const array = new BinaryArray(elementTypes.bytea)
    const values = [Buffer.alloc(0), Buffer.from([0, 1, 255]), null, Buffer.alloc(70_000, 7), Buffer.from([9])]
    for (const value of values) {
      if (value) array.bytes(value)
      else array.null()
    }
    expect(await read(array, 'bytea')).toEqual(values.map((value) => value && `\\x${value.toString('hex')}`))
  })

  test('text of one to four bytes a character', async () => {
    const array = new BinaryArray(elementTypes.text)
    const values = ['', 'acme', 'Größe', '漢字', '\u{1F600}'.repeat(2_000), '\'\\"{},']
    for (const value of values) array.text(value)
    expect(await read(array, 'text')).toEqual(values)
  })

  test('int4 and int8 up to their limits', async () => {
    const four = new BinaryArray(elementTypes.int4)
    for (const value of [0, 1, -1, 2 ** 31 - 1]) four.int4(value)
    expect(await read(four, 'int4')).toEqual(['0', '1', '-1', '2147483647'])
    const eight = new BinaryArray(elementTypes.int8)
    const values = [0, 1, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER, -1n, 2n ** 63n - 1n]
    for (const value of values) eight.int8(value)
    expect(await read(eight, 'int8')).toEqual(values.map(String))
  })

  test('times', async () => {
    const array = new BinaryArray(elementTypes.timestamptz)
    array.int8(timestamptz(Date.parse('2026-11-20T10:00:00.123Z')))
    array.int8(timestamptz(Date.parse('2000-01-01T00:00:00Z')))
    array.int8(wideTimestamptz(BigInt(Date.parse('0001-01-01T00:00:00Z')) * 1000n + 5n))
    await admin.query(`set time zone 'UTC'`)
    expect(await read(array, 'timestamptz')).toEqual([
      '2026-11-20 10:00:00.123+00',
      '2000-01-01 00:00:00+00',
      '0001-01-01 00:00:00.000005+00',
    ])
    const { rows } = await admin.query<{ time: string }>('select $1::timestamptz::text as time', [
      timestamptzParameter(1_000_001n),
    ])
    expect(rows[0]?.time).toBe('1970-01-01 00:00:01.000001+00')
  })

  test('nothing at all', async () => {
    expect(await read(new BinaryArray(elementTypes.text), 'text')).toEqual([])
  })
})

test('an element is written in place, and ends where its writer says', () => {
  const array = new BinaryArray(elementTypes.bytea)
  array.bytes(Buffer.from('before'))
  const { memory, start } = array.claim(10_000)
  // Its writer may use the byte before it.
  memory[start - 1] = 0xff
  array.claimed(start + memory.write('in place', start))
  array.bytes(Buffer.from('after'))
  expect(readBinaryArray(array.parameter()).elements.map(String)).toEqual(['before', 'in place', 'after'])
})

test('memory is used again, and that of an exceptional batch is given back', () => {
  const array = new BinaryArray(elementTypes.bytea)
  array.bytes(Buffer.alloc(100_000))
  const { buffer } = array.parameter()
  array.reset()
  expect(readBinaryArray(array.parameter()).elements).toEqual([])
  array.bytes(Buffer.from('x'))
  expect(array.parameter().buffer).toBe(buffer)
  array.bytes(Buffer.alloc(9_000_000))
  array.reset()
  expect(array.parameter().buffer.byteLength).toBeLessThan(100_000)
})

test('a null in one batch leaves no trace in the next', () => {
  const array = new BinaryArray(elementTypes.bytea)
  array.null()
  expect(readBinaryArray(array.parameter()).elements).toEqual([null])
  array.reset()
  array.bytes(Buffer.from('x'))
  expect(readBinaryArray(array.parameter()).elements.map(String)).toEqual(['x'])
})
