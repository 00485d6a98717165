import { expect, test } from 'vitest'
import { instantMs, timeFault } from '../../src/ledger/rfc3339.js'

test.each([
  { text: '2026-11-20T10:00:00Z', ms: Date.UTC(2026, 10, 20, 10) },
  { text: '2026-11-20t10:00:00z', ms: Date.UTC(2026, 10, 20, 10) },
  { text: '2026-11-20T10:00:00.1Z', ms: Date.UTC(2026, 10, 20, 10, 0, 0, 100) },
  { text: '2026-11-20T10:00:00.123456789+00:00', ms: Date.UTC(2026, 10, 20, 10, 0, 0, 123) },
  { text: '2026-11-20T10:00:00.9999+05:30', ms: Date.UTC(2026, 10, 20, 4, 30, 0, 999) },
  { text: '2026-11-20T10:00:00-00:00', ms: Date.UTC(2026, 10, 20, 10) },
  { text: '2026-11-20T23:59:59-23:59', ms: Date.UTC(2026, 10, 21, 23, 58, 59) },
  { text: '2024-02-29T00:00:00Z', ms: Date.UTC(2024, 1, 29) },
  { text: '2000-02-29T00:00:00Z', ms: Date.UTC(2000, 1, 29) },
  { text: '0001-01-01T00:00:00Z', ms: -62135596800000 },
  { text: '0050-06-01T00:00:00Z', ms: Date.parse('0050-06-01T00:00:00Z') },
  { text: '9999-12-31T23:59:59.999999999Z', ms: 253402300799999 },
])('$text is a time', ({ text, ms }) => {
  expect(timeFault(text)).toBeUndefined()
  expect(instantMs(text)).toBe(ms)
})

test.each([
  { text: '', why: /RFC 3339/ },
  { text: '2026-11-20', why: /RFC 3339/ },
  { text: '2026-11-20T10:00:00', why: /offset/ },
  { text: '2026-11-20 10:00:00', why: /offset/ },
  { text: '2026-11-20 10:00:00Z', why: /RFC 3339/ },
  { text: '2026-11-20T10:00Z', why: /RFC 3339/ },
  { text: '2026-11-20T10:00:00.Z', why: /RFC 3339/ },
  { text: '2026-11-20T10:00:00,5Z', why: /RFC 3339/ },
  { text: '2026-11-20T10:00:00.1234567890Z', why: /9 digits/ },
  { text: '2026-11-20T10:00:00+0100', why: /RFC 3339/ },
  { text: '2026-11-20T10:00:00+01', why: /RFC 3339/ },
  { text: '2026-11-20T10:00:00+24:00', why: /offset/ },
  { text: '2026-11-20T10:00:00+01:60', why: /offset/ },
  { text: '2026-11-20T10:00:00Z\n', why: /RFC 3339/ },
  { text: ' 2026-11-20T10:00:00Z', why: /RFC 3339/ },
  { text: '+02026-11-20T10:00:00Z', why: /RFC 3339/ },
  { text: '0000-01-01T00:00:00Z', why: /year 0000/ },
  { text: '2026-00-20T10:00:00Z', why: /month/ },
  { text: '2026-13-20T10:00:00Z', why: /month/ },
  { text: '2026-11-00T10:00:00Z', why: /calendar/ },
  { text: '2026-11-31T10:00:00Z', why: /calendar/ },
  { text: '2026-02-29T10:00:00Z', why: /calendar/ },
  { text: '1900-02-29T10:00:00Z', why: /calendar/ },
  { text: '2026-11-20T24:00:00Z', why: /hour/ },
  { text: '2026-11-20T10:60:00Z', why: /minute/ },
  { text: '2026-11-20T10:00:61Z', why: /second/ },
  { text: '2016-12-31T23:59:60Z', why: /leap second/ },
])('$text is none', ({ text, why }) => expect(timeFault(text)).toMatch(why))
