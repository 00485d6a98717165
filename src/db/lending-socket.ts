import { Socket, type ConnectOpts, type SocketConstructorOpts } from 'node:net'

/** A socket that can show its bytes where they were read. */
export interface LendingSocket extends Socket {
  /** Whether 'data' lends the bytes until its listeners return. Otherwise it gives each a copy, as every socket does. */
  lends: boolean
}

/**
 * A socket that reads into one piece of memory, over and over. Node's usual one takes 64 KiB for every read, most of which
 * it gives back: per row of a large COPY that costs more than hashing a link of the chain (measured).
 */
export function newLendingSocket(): LendingSocket {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
  const callback = (length: number, memory: Uint8Array): boolean => {
    const bytes = Buffer.from(memory.buffer, memory.byteOffset, length)
    socket.emit('data', socket.lends ? bytes : Buffer.from(bytes))
    return true
  }
  const options: SocketConstructorOpts & ConnectOpts = { onread: { buffer, callback } }
  const socket: LendingSocket = Object.assign(new Socket(options), { lends: false })
  return socket
}

const READ_BYTES = 256 * 1024

export function isLendingSocket(stream: object): stream is LendingSocket {
  return 'lends' in stream
}
