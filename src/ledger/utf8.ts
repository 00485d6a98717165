const REPLACEMENT = '\ufffd'
const REPLACEMENT_BYTES = Buffer.from(REPLACEMENT)

/** Bytes at the beginning of `bytes` that are UTF-8, whole characters only: where the first bad byte stands. */
export function validUtf8Length(bytes: Buffer): number {
  const text = bytes.toString('utf8') // with a replacement character where a bad byte stands
  let offset = 0
  for (let from = 0; ;) {
    const found = text.indexOf(REPLACEMENT, from)
    if (found < 0) return bytes.length
    offset += Buffer.byteLength(text.slice(from, found))
    // A replacement character may also have been sent as one.
    if (!bytes.subarray(offset, offset + 3).equals(REPLACEMENT_BYTES)) return offset
    offset += 3
    from = found + 1
  }
}
