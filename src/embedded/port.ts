import { createServer } from 'node:net'

/** Everything embedded listens here and nowhere else. */
export const HOST = '127.0.0.1'

/** @returns a port of this machine that nobody listens on at the moment */
export function freePort(): Promise<number> {
  return new Promise((found, failed) => {
    const probe = createServer()
    probe.once('error', failed)
    probe.listen(0, HOST, () => {
      const address = probe.address()
      probe.close(() => found(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}

/** @returns whether nobody listens on `port` of this machine at the moment */
export function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const probe = createServer()
    probe.once('error', () => done(false))
    probe.listen(port, HOST, () => probe.close(() => done(true)))
  })
}
