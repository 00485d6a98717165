import { expect, test } from 'vitest'
import { parseStrict } from '../../src/ledger/gate.js'
import { canonicalBytes, rfc8785 } from '../../src/ledger/jcs.js'
import { readVectors } from './vectors.js'

const { vectors } = readVectors('jcs.json') as {
  vectors: { name: string; inputBase64: string; canonicalHex: string }[]
}
/** Holds numbers that RFC 8785 writes and the gate refuses. */
const BEYOND_THE_GATE = 'values'

test.each(vectors)('RFC 8785: $name', ({ inputBase64, canonicalHex }) => {
  const value: unknown = JSON.parse(Buffer.from(inputBase64, 'base64').toString())
  expect(Buffer.from(rfc8785(value)).toString('hex')).toBe(canonicalHex)
})

test.each(vectors.filter(({ name }) => name !== BEYOND_THE_GATE))(
  'as we hash it: $name',
  ({ inputBase64, canonicalHex }) => {
    expect(canonicalBytes(parseStrict(Buffer.from(inputBase64, 'base64'))).toString('hex')).toBe(canonicalHex)
  },
)

test('what the gate refuses, the canonicaliser refuses too', () => {
  const input = vectors.find(({ name }) => name === BEYOND_THE_GATE)?.inputBase64 ?? ''
  const refused = expect.objectContaining({ code: 'JSON_UNSAFE_NUMBER' })
  expect(() => parseStrict(Buffer.from(input, 'base64'))).toThrow(refused)
  expect(() => canonicalBytes(JSON.parse(Buffer.from(input, 'base64').toString()))).toThrow(refused)
})
