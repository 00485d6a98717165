import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import { allows, checkPermission } from '../auth/permissions.js'
import type { Authenticator } from '../auth/queries.js'
import { DomainError } from '../errors.js'
import type { Principal } from '../principal.js'
import { DOCS } from './describe.js'
import type { Denials } from './denials.js'
import type { RateLimit } from './rate-limit.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a caller must have; a route without it must be marked public. */
    permission?: string
    public?: true
    /** A public route that is cheap and must answer whoever asks, however often. */
    unlimited?: true
    /** A permission that depends on the body, checked by `alsoNeeds`; `{…}` stands for what the body says. */
    alsoNeeds?: string
  }
  interface FastifyRequest {
    /** Who is calling; null on public routes. */
    caller: Principal | null
    /** The label of the route: method and pattern. */
    route: string
  }
}

export interface Gatekeeping {
  readonly authenticator: Authenticator
  readonly denials: Denials
  /** Per credential. */
  readonly rateLimit: RateLimit
  /** Per address, for who has no valid credential. */
  readonly anonymousRateLimit: RateLimit
  readonly publicUrl: string | undefined
}

export interface RouteAccess {
  readonly method: string
  readonly url: string
  /** Undefined for public routes. */
  readonly permission: string | undefined
}

/** The header in which a caller may name its tenant; it can only agree with the credential. */
export const TENANT_HEADER = 'countersign-tenant'

const guarded = Symbol('guarded')

/**
 * Puts a guard in front of every route registered from now on: credential, tenant, limit, permission, in this order and
 * before the body is read. A route that names no permission and is not marked public cannot be registered.
 * @returns the routes, as they are registered
 */
export function guardRoutes(app: FastifyInstance, keeping: Gatekeeping): RouteAccess[] {
  const routes: RouteAccess[] = []
  const lookingUp = new Set<string>()
  app.decorateRequest('caller', null)
  app.decorateRequest('route', '')
  app.addHook('onRoute', (route: RouteOptions & { [guarded]?: true }) => {
    // Pages that another package registers cannot say for themselves that they are public.
    if (route.url === DOCS || route.url.startsWith(`${DOCS}/`)) route.config = { ...route.config, public: true }
    const { permission, public: isPublic } = route.config ?? {}
    if ((permission === undefined) !== (isPublic === true)) {
      throw new Error(`${String(route.method)} ${route.url} must name its permission, or be marked public`)
    }
    if (permission !== undefined) checkPermission(permission)
    for (const method of [route.method].flat()) routes.push({ method, url: route.url, permission })
    // The HEAD route of a GET route comes with the GET route's guard.
    if (route[guarded]) return
    route[guarded] = true
    const label = `${String(route.method)} ${route.url}`
    const guard =
      permission === undefined
        ? openGuard(keeping, label, route.config?.unlimited === true)
        : guardOf(keeping, lookingUp, label, permission)
    route.onRequest = [guard, ...[route.onRequest ?? []].flat()]
  })
  return routes
}

/** Who is calling a route that is not public. */
export function callerOf(request: FastifyRequest): Principal {
  if (!request.caller) throw new Error('a public route has no caller')
  return request.caller
}

/**
 * Checks a permission that only the body tells; the denial goes on record under the route's own pattern.
 * @throws DomainError PERMISSION_MISSING
 */
export function alsoNeed(denials: Denials, request: FastifyRequest, permission: string): void {
  const caller = callerOf(request)
  if (allows(caller.permissions, permission)) return
  denials.record({
    by: caller,
    route: request.route,
    code: 'PERMISSION_MISSING',
    permission: request.routeOptions.config.alsoNeeds,
  })
  throw permissionMissing(permission)
}

/** Whether the token that a request came with still holds: for answers that take long. */
export async function stillAllowed(
  authenticator: Authenticator,
  request: FastifyRequest,
  permission: string,
): Promise<boolean> {
  const found = await authenticator.lookUp(bearerOf(request.headers.authorization) ?? '')
  return typeof found === 'object' && allows(found.permissions, permission)
}

type Hook = (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void) => void

function openGuard({ anonymousRateLimit }: Gatekeeping, label: string, unlimited: boolean): Hook {
  return (request, _reply, done) => {
    request.route = label
    const waitS = unlimited ? 0 : anonymousRateLimit.take(request.ip)
    if (waitS > 0) done(rateLimited(waitS))
    else done()
  }
}

/** @param lookingUp addresses that have spent their limit and are having one token looked up all the same */
function guardOf(keeping: Gatekeeping, lookingUp: Set<string>, label: string, permission: string): Hook {
  const { authenticator, denials, rateLimit, anonymousRateLimit, publicUrl } = keeping
  const publicHost = publicUrl === undefined ? undefined : new URL(publicUrl).host
  const suffix = publicHost === undefined ? undefined : `.${publicHost}`

  const refuse = (request: FastifyRequest, code: string, message: string): DomainError => {
    const waitS = anonymousRateLimit.take(request.ip)
    if (waitS > 0) return rateLimited(waitS)
    denials.record({ route: label, code })
    return new DomainError(code, message)
  }

  const admit = (request: FastifyRequest, caller: Principal): DomainError | undefined => {
    const waitS = rateLimit.take(caller.via)
    if (waitS > 0) return rateLimited(waitS)
    const other = otherTenant(request, caller.tenant, suffix)
    if (other !== undefined) {
      denials.record({ by: caller, route: label, code: 'TENANT_MISMATCH' })
      return new DomainError('TENANT_MISMATCH', `the credential is of another tenant than the one that ${other} names`)
    }
    if (!allows(caller.permissions, permission)) {
      denials.record({ by: caller, route: label, code: 'PERMISSION_MISSING', permission })
      return permissionMissing(permission)
    }
    request.caller = caller
    return undefined
  }

  const ask = async (request: FastifyRequest, token: string, done: (error?: Error) => void): Promise<void> => {
    let refusal: unknown
    try {
      const found = await authenticator.lookUp(token)
      refusal =
        typeof found === 'object'
          ? admit(request, found)
          : refuse(request, refusals[found].code, refusals[found].message)
    } catch (error) {
      refusal = error
    }
    done(refusal as Error | undefined)
  }

  return (request, _reply, done) => {
    request.route = label
    const token = bearerOf(request.headers.authorization)
    if (token === undefined) {
      done(refuse(request, 'TOKEN_MISSING', 'this needs a token: send Authorization: Bearer cs_<tenant>.<secret>'))
      return
    }
    const known = authenticator.recall(token)
    if (typeof known === 'object') {
      done(admit(request, known))
      return
    }
    // Guessing costs a look-up. Who was valid a moment ago is never kept out by who guesses from the same address, and
    // who comes anew gets in between the guesses: an address that has spent its limit has one look-up at a time.
    if (known === 'stale' || anonymousRateLimit.spent(request.ip) === 0) {
      void ask(request, token, done)
      return
    }
    const { ip } = request
    if (lookingUp.has(ip)) {
      done(rateLimited(1))
      return
    }
    lookingUp.add(ip)
    void ask(request, token, (error) => {
      lookingUp.delete(ip)
      done(error)
    })
  }
}

const refusals = {
  unknown: { code: 'TOKEN_INVALID', message: 'the token is not one of ours' },
  expired: { code: 'TOKEN_EXPIRED', message: 'the token has expired' },
  revoked: { code: 'TOKEN_REVOKED', message: 'the token was revoked' },
} as const

/** RFC 6750 §2.1; the scheme's case does not matter. Tokens in the query are never looked at. */
function bearerOf(header: string | undefined): string | undefined {
  if (header === undefined || header.length < 8 || header.charCodeAt(6) !== 0x20) return undefined
  return header.slice(0, 6).toLowerCase() === 'bearer' ? header.slice(7).trim() : undefined
}

/** What names another tenant than the credential's: header, path or host; undefined when all agree. */
function otherTenant(request: FastifyRequest, tenant: string, suffix: string | undefined): string | undefined {
  const header = request.headers[TENANT_HEADER]
  if (header !== undefined && header !== tenant) return `the header ${TENANT_HEADER}`
  const inPath = (request.params as { tenant?: string } | undefined)?.tenant
  if (inPath !== undefined && inPath !== tenant) return 'the path'
  const { host } = request.headers
  if (suffix !== undefined && host !== undefined && host.endsWith(suffix)) {
    if (host.slice(0, -suffix.length) !== tenant) return 'the host'
  }
  return undefined
}

function permissionMissing(permission: string): DomainError {
  return new DomainError(
    'PERMISSION_MISSING',
    `this needs the permission ${permission}, which the token and the roles of its principal do not both have`,
  )
}

function rateLimited(retryAfterS: number): DomainError {
  return new DomainError('RATE_LIMITED', 'more requests came than the limit allows', { retryAfterS })
}
