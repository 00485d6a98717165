/**
 * RFC 8785 in its plainest form, for tests to hold the product's canonicaliser against: sort the keys by UTF-16 code
 * units, leave numbers and strings to ECMAScript. Checks nothing.
 */
export function plainCanonical(value: unknown): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(plainCanonical).join(',')}]`
  const members = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${plainCanonical((value as Record<string, unknown>)[key])}`)
  return `{${members.join(',')}}`
}
