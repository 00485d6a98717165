import { DomainError } from '../src/errors.js'

/** Lets a few callers work at once and a few more wait: a long report takes a processor and gigabytes. */
export class Turns {
  private readonly atOnce: number
  private readonly waiting: number
  private running = 0
  private readonly queue: (() => void)[] = []

  constructor(atOnce: number, waiting: number) {
    this.atOnce = atOnce
    this.waiting = waiting
  }

  /** @throws DomainError REPORTS_BUSY when too many wait already */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.running >= this.atOnce) {
      if (this.queue.length >= this.waiting) {
        throw new DomainError('REPORTS_BUSY', 'too many reports are being made: try again later', { retryAfterS: 30 })
      }
      await new Promise<void>((resolve) => this.queue.push(resolve))
    } else this.running += 1
    try {
      return await work()
    } finally {
      // The place goes to the next in line, so nobody slips in between.
      const next = this.queue.shift()
      if (next) next()
      else this.running -= 1
    }
  }
}
