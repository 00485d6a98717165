/** Reads PostgreSQL's binary form of a one-dimensional array: its element type's OID and its elements. */
export function readBinaryArray(bytes: Buffer): { type: number; elements: (Buffer | null)[] } {
  let at = 0
  const int32 = () => bytes.readInt32BE((at += 4) - 4)
  const dimensions = int32()
  const nulls = int32()
  const type = int32()
  const length = int32()
  const lowest = int32()
  const elements = Array.from({ length }, () => {
    const size = int32()
    if (size === -1) return null
    at += size
    return bytes.subarray(at - size, at)
  })
  if (dimensions !== 1 || lowest !== 1 || at !== bytes.length) throw new Error('not a binary array')
  if ((nulls === 1) !== elements.includes(null)) throw new Error('the flag for nulls is wrong')
  return { type, elements }
}
