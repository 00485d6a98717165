import type { ServerResponse } from 'node:http'

/** Aborts once nobody waits for the answer any more, or it is complete. */
export function goneSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  return gone.signal
}

/** NDJSON in chunks of some size: a write per line would cost more than the line. */
export async function* linesOf(values: AsyncIterable<unknown>): AsyncGenerator<string> {
  let chunk = ''
  for await (const value of values) {
    chunk += `${JSON.stringify(value)}\n`
    if (chunk.length < CHUNK_CHARACTERS) continue
    yield chunk
    chunk = ''
  }
  if (chunk !== '') yield chunk
}

const CHUNK_CHARACTERS = 64 * 1024
/** Comments that keep idle connections open through proxies. */
const HEARTBEAT_MS = 15_000

/** Server-sent events, one per value that comes, and a sign of life while none does. */
export async function* eventStream<T extends { readonly seq: number }>(
  values: AsyncIterable<T>,
  heartbeatMs = HEARTBEAT_MS,
): AsyncGenerator<string> {
  const source = values[Symbol.asyncIterator]()
  try {
    yield 'retry: 1000\n\n'
    for (let next = source.next(); ;) {
      const came = await within(next, heartbeatMs)
      if (came === undefined) {
        yield ': still here\n\n'
        continue
      }
      if (came.done === true) return
      yield `id: ${came.value.seq}\nevent: entry\ndata: ${JSON.stringify(came.value)}\n\n`
      next = source.next()
    }
  } finally {
    await source.return?.()
  }
}

/** @returns undefined when the time is up first */
async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, ms, undefined)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
