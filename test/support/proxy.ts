import { connect, createServer, type Server, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'

interface Passing {
  readonly client: Socket
  readonly server: Socket
  /** Takes what the client asks; without it, it passes. */
  question?: (bytes: Buffer) => void
  /** The same for what the server answers. */
  answer?: (bytes: Buffer) => void
}

/** Gives a client the time to ask all it has to ask at once. */
const GRACE_MS = 20

/** A way to the database that a test can hold up and cut. */
export class Proxy {
  readonly url: string
  private readonly listener: Server
  private readonly passing = new Set<Passing>()
  private refusing = false
  private target: URL

  private constructor(listener: Server, target: URL) {
    this.listener = listener
    this.target = target
    listener.on('connection', (client: Socket) => this.accept(client, this.target))
    const url = new URL(target)
    url.hostname = '127.0.0.1'
    url.port = String((listener.address() as AddressInfo).port)
    this.url = url.href
  }

  /** @param target a database's address */
  static async to(target: string): Promise<Proxy> {
    const listener = createServer()
    await new Promise<void>((done) => listener.listen(0, '127.0.0.1', done))
    return new Proxy(listener, new URL(target))
  }

  private accept(client: Socket, { hostname, port }: URL): void {
    client.on('error', () => undefined)
    if (this.refusing) {
      client.destroy()
      return
    }
    const server = connect(Number(port), hostname)
    server.on('error', () => undefined)
    const passing: Passing = { client, server }
    this.passing.add(passing)
    client.on('data', (bytes: Buffer) => (passing.question ? passing.question(bytes) : server.write(bytes)))
    server.on('data', (bytes: Buffer) => (passing.answer ? passing.answer(bytes) : client.write(bytes)))
    const end = () => {
      if (!this.passing.delete(passing)) return
      client.destroy()
      server.destroy()
    }
    client.once('close', end)
    server.once('close', end)
  }

  /** From now on connections go to another address. */
  aim(target: string): void {
    this.target = new URL(target)
  }

  /** Nobody gets through any more, and who was through is cut off. */
  shut(): void {
    this.refusing = true
    for (const { client, server } of this.passing) {
      client.destroy()
      server.destroy()
    }
  }

  reopen(): void {
    this.refusing = false
  }

  /**
   * On the connections there are now, a question with `word` in it reaches the server, and its answer nobody: once there
   * is one, the client is cut off.
   */
  loseAnswers(word: string): void {
    for (const passing of this.passing) {
      passing.question = (bytes) => {
        if (bytes.includes(word)) passing.answer = () => setTimeout(() => passing.client.destroy(), GRACE_MS)
        passing.server.write(bytes)
      }
    }
  }

  /**
   * On the connections there are now, a question with `word` in it reaches the server, and its answer nobody.
   * @returns resolves with the first answer that was withheld: by then what was asked is done
   */
  withholdAnswers(word: string): Promise<void> {
    return new Promise((done) => {
      for (const passing of this.passing) {
        passing.question = (bytes) => {
          if (bytes.includes(word)) passing.answer = () => done()
          passing.server.write(bytes)
        }
      }
    })
  }

  /**
   * On the connections there are now, whoever asks a question with `word` in it is cut off, and the question kept until
   * `release` lets it go to the server after all.
   */
  holdQuestions(word: string): { readonly held: Promise<void>; readonly release: () => Promise<void> } {
    const released: (() => Promise<void>)[] = []
    const held = new Promise<void>((done) => {
      for (const passing of this.passing) {
        const { client, server } = passing
        const kept: Buffer[] = []
        passing.question = (bytes) => {
          if (kept.length === 0 && !bytes.includes(word)) {
            server.write(bytes)
            return
          }
          if (kept.push(bytes) > 1) return
          this.passing.delete(passing)
          released.push(() => finish(server, Buffer.concat(kept)))
          setTimeout(() => {
            client.destroy()
            done()
          }, GRACE_MS)
        }
      }
    })
    return {
      held,
      async release() {
        await Promise.all(released.map((release) => release()))
      },
    }
  }

  async close(): Promise<void> {
    this.shut()
    await new Promise((done) => this.listener.close(done))
  }
}

/** Sends the last bytes, and waits until the server has dealt with them and hung up. */
function finish(server: Socket, bytes: Buffer): Promise<void> {
  return new Promise((done) => {
    server.once('close', () => done())
    server.resume()
    server.end(bytes)
  })
}
