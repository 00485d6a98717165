/** Reads lines and exact counts of bytes from a stream of chunks. Not for several readers at once. */
export class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>
  #rest: Buffer = Buffer.alloc(0)

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#chunks = stream[Symbol.asyncIterator]()
  }

  /** The next line without its line feed, or undefined at the end. A last line needs no line feed. */
  async line(): Promise<Buffer | undefined> {
    let searched = 0
    for (;;) {
      const at = this.#rest.indexOf(0x0a, searched)
      if (at >= 0) return this.#take(at, 1)
      searched = this.#rest.length
      if (!(await this.#more())) return this.#rest.length === 0 ? undefined : this.#take(this.#rest.length, 0)
    }
  }

  /** Exactly `count` bytes, or undefined when the stream ends before. */
  async exactly(count: number): Promise<Buffer | undefined> {
    if (this.#rest.length < count) {
      const parts = [this.#rest]
      let length = this.#rest.length
      while (length < count) {
        const next = await this.#chunks.next()
        if (next.done === true) return undefined
        parts.push(Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength))
        length += next.value.byteLength
      }
      this.#rest = Buffer.concat(parts)
    }
    return this.#take(count, 0)
  }

  #take(count: number, dropped: number): Buffer {
    const taken = this.#rest.subarray(0, count)
    this.#rest = this.#rest.subarray(count + dropped)
    return taken
  }

  async #more(): Promise<boolean> {
    const next = await this.#chunks.next()
    if (next.done === true) return false
    this.#rest = Buffer.concat([this.#rest, next.value])
    return true
  }
}
