import { DomainError } from '../errors.js'

// What the gate and the canonicaliser both refuse, in the same words.

/** Deepest nesting of arrays and objects that is taken: a bare string has depth 0, `[]` has depth 1. */
export const MAX_DEPTH = 64

export function hasLoneSurrogate(text: string): boolean {
  return /\p{Surrogate}/u.test(text)
}

export function tooDeep(pointer: string): DomainError {
  return new DomainError('JSON_TOO_DEEP', `nested deeper than ${MAX_DEPTH} levels of arrays and objects: flatten it`, {
    pointer,
  })
}

export function nulCharacter(pointer: string, what: string): DomainError {
  return new DomainError('JSON_NUL', `${what} holds U+0000, which text in PostgreSQL cannot: remove it`, { pointer })
}

export function loneSurrogate(pointer: string, what: string): DomainError {
  const message = `${what} holds half of a surrogate pair, which UTF-8 cannot express: send whole characters`
  return new DomainError('JSON_LONE_SURROGATE', message, { pointer })
}

export function negativeZero(pointer: string): DomainError {
  return new DomainError('JSON_UNSAFE_NUMBER', '-0 is read as 0 by some and as -0 by others: send 0', { pointer })
}

export function beyondSafeIntegers(pointer: string, token: string): DomainError {
  const message = `${shortened(token)} lies beyond ±(2^53-1), where doubles skip integers: send it as a string`
  return new DomainError('JSON_UNSAFE_NUMBER', message, { pointer })
}

/** A token as an error message can quote it. */
export function shortened(token: string): string {
  return token.length <= 40 ? token : `${token.slice(0, 32)}… (${token.length} characters)`
}
