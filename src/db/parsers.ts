import pg from 'pg'

/** Type OIDs of pg_type: int8, timestamptz. */
const int8 = 20
const timestamptz = 1184

/** int8 as a number: PostgreSQL's range is wider than JavaScript's, so what does not fit throws instead of losing digits. */
function parseInt8(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new RangeError(`int8 ${text} is beyond 2^53-1`)
  return value
}

const parseTimestamptz = pg.types.getTypeParser(timestamptz, 'text') as (text: string) => Date

/** How every pool reads values: int8 as number, timestamptz as ISO 8601 in UTC with milliseconds. */
export const parsers: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format: 'text') => {
    if (oid === int8) return parseInt8
    if (oid === timestamptz) return (text: string) => parseTimestamptz(text).toISOString()
    return pg.types.getTypeParser(oid, format)
  }) as typeof pg.types.getTypeParser,
}
