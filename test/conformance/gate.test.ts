import { expect, test } from 'vitest'
import { DomainError } from '../../src/errors.js'
import { parseStrict } from '../../src/ledger/gate.js'
import { readVectors } from './vectors.js'

const cases = readVectors('gate.json') as { json: string; verdict: string; why: string }[]

test.each(cases)('$verdict: $why ($json)', ({ json, verdict }) => {
  const bytes = Buffer.from(json, 'base64')
  if (verdict === 'accept') expect(parseStrict(bytes)).toEqual(JSON.parse(bytes.toString()))
  else expect(() => parseStrict(bytes)).toThrow(DomainError)
})
