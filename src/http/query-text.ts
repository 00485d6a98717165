import type { FastifyInstance, FastifyRequest } from 'fastify'
import { DomainError } from '../errors.js'
import { pointerTo } from '../ledger/pointer.js'

/** Refuses parameters whose percent signs encode no UTF-8, on every route with parameters: decoded, they would be a guess. */
export function refuseUndecodable(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    if (route.schema?.querystring === undefined) return
    route.preValidation = [
      (request: FastifyRequest, _reply: unknown, done: () => void) => {
        checkQuery(request.url)
        done()
      },
      ...[route.preValidation ?? []].flat(),
    ]
  })
}

/** @throws DomainError REQUEST_INVALID */
function checkQuery(url: string): void {
  const start = url.indexOf('?')
  if (start < 0 || !url.includes('%', start)) return
  for (const pair of url.slice(start + 1).split('&')) {
    const [name = '', ...value] = pair.split('=')
    if (isText(name) && isText(value.join('='))) continue
    throw new DomainError('REQUEST_INVALID', `in the query: ${JSON.stringify(name)} is not percent-encoded UTF-8`, {
      pointer: pointerTo('', name),
    })
  }
}

function isText(encoded: string): boolean {
  try {
    decodeURIComponent(encoded)
    return true
  } catch {
    return false
  }
}
