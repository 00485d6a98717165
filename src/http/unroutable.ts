import type { Socket } from 'node:net'
import { DomainError } from '../errors.js'
import type { RouteAccess } from './authorize.js'
import { PROBLEM_TYPE, problemOf } from './problem.js'

const patterns = new Map<string, RegExp>()

/** The methods that an address takes; none where there is nothing. */
export function allowedMethods(routes: readonly RouteAccess[], path: string): string[] {
  const methods = routes.filter(({ url }) => patternOf(url).test(path)).map(({ method }) => method)
  return [...new Set(methods)].sort()
}

function patternOf(url: string): RegExp {
  let pattern = patterns.get(url)
  if (!pattern) {
    const parts = url.split('/').map((part) => {
      if (part.startsWith(':')) return '[^/]+'
      return part === '*' ? '.*' : part.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)
    })
    patterns.set(url, (pattern = new RegExp(`^${parts.join('/')}/?$`)))
  }
  return pattern
}

/** What never became a request is answered on the bare socket, with a problem document all the same. */
export function answerBrokenRequest(error: NodeJS.ErrnoException & { rawPacket?: unknown }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy()
    return
  }
  const problem = problemOf(refusalFor(error.code))
  const body = JSON.stringify(problem)
  socket.end(
    `HTTP/1.1 ${problem.status} ${STATUS[problem.status] ?? 'Bad Request'}\r\n` +
      `content-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}

const STATUS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
}

function refusalFor(code: string | undefined): DomainError {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new DomainError('REQUEST_TIMEOUT', 'the request did not arrive in time: send it at once')
  }
  if (code === 'HPE_HEADER_OVERFLOW') {
    return new DomainError('HEADERS_TOO_LARGE', 'the headers together are larger than the limit')
  }
  return new DomainError('REQUEST_MALFORMED', 'this is not HTTP/1.1 as it should be')
}
