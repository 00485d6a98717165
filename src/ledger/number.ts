/**
 * Why a JSON number token is not taken: doubles must hold its decimal value exactly as their shortest form writes it.
 * `digits`: more of them than a double holds, or a value so small or large that none is near.
 */
export type NumberFault = 'negative-zero' | 'beyond-safe-integers' | 'digits'

const PLAIN_INTEGER = /^(?:0|-?[1-9]\d{0,14})$/

/** @param token a number in JSON's grammar */
export function numberFault(token: string): NumberFault | undefined {
  if (PLAIN_INTEGER.test(token)) return undefined
  const value = Number(token)
  const given = decimal(token)
  if (given.digits === '') return given.negative ? 'negative-zero' : undefined
  if (!(value > -(2 ** 53) && value < 2 ** 53)) return 'beyond-safe-integers'
  const shortest = decimal(String(value))
  return given.digits === shortest.digits && given.exponent === shortest.exponent ? undefined : 'digits'
}

/** A decimal number as `0.digits` times ten to the exponent: no zeros at either end of the digits, none at all for zero. */
interface Decimal {
  negative: boolean
  digits: string
  exponent: number
}

function decimal(token: string): Decimal {
  const negative = token.startsWith('-')
  const e = token.search(/[eE]/)
  const mantissa = token.slice(negative ? 1 : 0, e < 0 ? undefined : e)
  const point = mantissa.indexOf('.')
  const integer = point < 0 ? mantissa : mantissa.slice(0, point)
  const all = point < 0 ? mantissa : integer + mantissa.slice(point + 1)
  let start = 0
  while (start < all.length && all[start] === '0') start++
  let end = all.length
  while (end > start && all[end - 1] === '0') end--
  const written = e < 0 ? 0 : Number(token.slice(e + 1))
  return { negative, digits: all.slice(start, end), exponent: written + integer.length - start }
}
