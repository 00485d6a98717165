import fc from 'fast-check'

/** Names that JavaScript treats specially, integer-like ones, non-ASCII ones. */
export const memberName = fc
  .oneof(
    fc.string({ unit: 'grapheme', maxLength: 6 }),
    fc.constantFrom(
      '__proto__',
      'constructor',
      'toJSON',
      '10',
      '2',
      '',
      '\r',
      '\u0080',
      '\u20ac',
      '\u{1f602}',
      '\ufb33',
    ),
  )
  .filter((name) => !name.includes('\0'))

const text = fc
  .oneof(
    fc.string({ unit: 'grapheme' }),
    fc.string({
      unit: fc.constantFrom('"', '\\', '\n', '\u001f', '\u007f', '\u2028', 'a', '\u00e9', '\u{1f602}', '/'),
    }),
  )
  .filter((value) => !value.includes('\0'))

const number = fc.oneof(
  fc.maxSafeInteger(),
  fc.integer({ min: -1000, max: 1000 }),
  fc.double({ noNaN: true, noDefaultInfinity: true, min: -(2 ** 53) + 1, max: 2 ** 53 - 1 }).map((value) => value || 0),
)

/** JSON values that the gate takes, at most a few levels deep. */
export const gateValue: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  value: fc.oneof({ maxDepth: 5 }, fc.constantFrom(null, true, false), number, text, tie('array'), tie('object')),
  array: fc.array(tie('value'), { maxLength: 6 }),
  object: fc.array(fc.tuple(memberName, tie('value')), { maxLength: 8 }).map((members) => {
    const object: Record<string, unknown> = {}
    // Assigning to `__proto__` would set the prototype.
    for (const [name, value] of members) {
      Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true })
    }
    return object
  }),
})).value
