import { request as requestHttp, type ClientRequest, type IncomingMessage, type RequestOptions } from 'node:http'
import { request as requestHttps } from 'node:https'
import type { LookupFunction } from 'node:net'
import { DomainError, systemCode } from '../errors.js'
import type { Checked, Guard } from './guard.js'

/** Of an answer's body so much is taken off the line; nothing of it is kept. */
const ANSWER_BYTES = 64 * 1024
const ANSWER_HEADER_BYTES = 16 * 1024

export interface Post {
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
  /** For everything: name service, connecting, sending, the answer. */
  readonly timeoutMs: number
}

export interface Answer {
  readonly status: number
  /** Seconds for which the receiver asks to be left alone; absent where it says nothing that can be understood. */
  readonly retryAfterS?: number
}

/**
 * Sends one POST to an address that a tenant named, over a connection of its own to an address that was checked.
 * Redirects are not followed: where one leads has not been checked.
 * @throws DomainError WEBHOOK_TARGET_REFUSED, WEBHOOK_TARGET_UNRESOLVED, WEBHOOK_TIMEOUT, WEBHOOK_UNREACHABLE
 */
export async function post(guard: Guard, { target, headers, body, timeoutMs }: Post): Promise<Answer> {
  const deadline = AbortSignal.timeout(timeoutMs)
  const { url, addresses } = await before(deadline, guard.resolve(target))
  const options: RequestOptions = {
    method: 'POST',
    headers: { ...headers, 'content-length': body.length, connection: 'close' },
    // No agent: a connection is for one request, and nothing of the process's other requests.
    agent: false,
    lookup: pinned(addresses),
    maxHeaderSize: ANSWER_HEADER_BYTES,
    signal: deadline,
  }
  const request = url.protocol === 'https:' ? requestHttps(url, options) : requestHttp(url, options)
  try {
    return await answerOf(guard, request, body, deadline)
  } catch (error) {
    if (error instanceof DomainError) throw error
    if (deadline.aborted) throw tooSlow()
    throw new DomainError('WEBHOOK_UNREACHABLE', `the receiver could not be reached (${systemCode(error) ?? 'broken'})`)
  } finally {
    request.destroy()
  }
}

async function answerOf(
  guard: Guard,
  request: ClientRequest,
  body: Uint8Array,
  deadline: AbortSignal,
): Promise<Answer> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    // Never removed: a connection may break again while it is being torn down.
    request.on('error', reject)
    request.once('response', resolve)
    request.once('socket', (socket) => {
      socket.once('connect', () => {
        if (guard.permits(socket.remoteAddress)) return
        request.destroy(
          new DomainError('WEBHOOK_TARGET_REFUSED', 'the connection reached an address that is not public'),
        )
      })
    })
    request.end(body)
  })
  const wait = /^\d{1,7}$/.exec(response.headers['retry-after'] ?? '')?.[0]
  await drained(response, deadline)
  return { status: response.statusCode ?? 0, ...(wait !== undefined && { retryAfterS: Number(wait) }) }
}

/** Takes the answer's body off the line, as far as it is worth it: what counts is the status. */
async function drained(response: IncomingMessage, deadline: AbortSignal): Promise<void> {
  let bytes = 0
  await new Promise<void>((done) => {
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > ANSWER_BYTES) done()
    })
    response.once('close', done)
    response.once('end', done)
    response.on('error', () => done())
    deadline.addEventListener('abort', () => done(), { once: true })
  })
  response.destroy()
}

/** Answers with what was checked, whatever is asked: the name service is not asked again. */
function pinned(addresses: readonly Checked[]): LookupFunction {
  return (_name, options, callback) => {
    if (options.all === true) callback(null, [...addresses])
    else callback(null, addresses[0]?.address ?? '', addresses[0]?.family)
  }
}

async function before<T>(deadline: AbortSignal, work: Promise<T>): Promise<T> {
  return Promise.race([
    work,
    new Promise<never>((_, reject) => {
      deadline.addEventListener('abort', () => reject(tooSlow()), { once: true })
    }),
  ])
}

function tooSlow(): DomainError {
  return new DomainError('WEBHOOK_TIMEOUT', 'the receiver did not answer in time')
}
